"""One round of chaos: imports and live traffic run while servers are killed, then all must agree.

    python -m tests.chaos --kills 300 --seed 7     a long round, on a stack of its own

The seed decides which process dies, and when. Whatever was acknowledged to the traffic or to an
import must be in PostgreSQL once, and `verify` must find ClickHouse equal.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from bench.lag import wait_until_newer
from bench.survival import (
    VERIFY_SECONDS,
    Acknowledged,
    Presence,
    kill,
    verify_stack,
    wait_all_ready,
)
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.verify import Verdict
from schemas.errors import PurserError
from stack.disk import check_free_space
from stack.native import Stack
from tests.chaos.imports import Imports
from tests.chaos.outcome import Killed, Outcome
from tests.chaos.plan import Kill
from writer.append import open_writer

TRAFFIC_SECONDS = 7 * 86_400
"""Longer than any round; the traffic ends when it is stopped."""
VISIBLE_SECONDS_MAX = 180.0
MEANWHILE_SECONDS = 60.0


class Lost(PurserError):  # noqa: N818 - named for what it found
    """Something acknowledged is gone, or the views are not equal."""


def play(
    stack: Stack,
    kills: Sequence[Kill],
    *,
    seed: int,
    rate: float = 30.0,
    verify_every: int = 50,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Kill the targets one after the other under load, and see what is left.

    Ends at once when something is lost or does not come back (`Outcome.problem`). Ctrl-C ends it
    early, with the checks of the end.
    """
    played = _Round(stack, seed=seed, rate=rate, planned=len(kills), say=say)
    outcome = played.outcome
    try:
        played.run(kills, verify_every)
        played.check(final=True)
        outcome.unknown = played.present.events - outcome.acknowledged
        answered = outcome.traffic.events + outcome.imported_events
        outcome.doubled = answered - outcome.acknowledged
    except PurserError as error:
        outcome.problem = f"{played.at}, seed {seed}: {error}"
    return outcome


class _Round:
    """A round while it is played."""

    def __init__(
        self, stack: Stack, *, seed: int, rate: float, planned: int, say: Callable[[str], None]
    ) -> None:
        self.outcome = Outcome(seed=seed, rate=rate, planned=planned)
        self.present = Presence(events=0, lost=0)
        self.at = "before the first kill"
        self._stack = stack
        self._say = say
        self._acknowledged = Acknowledged()
        self._began = time.monotonic()

    def run(self, kills: Sequence[Kill], verify_every: int) -> None:
        """Kill under load; at its end every command and every import is acknowledged."""
        seed = self.outcome.seed
        settings = MarketplaceSettings(payments_per_second=self.outcome.rate)
        steps = Marketplace(seed, datetime.now(UTC), settings).steps(TRAFFIC_SECONDS)
        endpoints = self._stack.endpoints
        with (
            open_writer(endpoints.postgres_dsn) as writer,
            Imports(self._stack, seed, self._acknowledged.add) as imports,
        ):
            traffic = Traffic(writer, steps, on_appended=self._acknowledged.add)
            self.outcome.traffic = traffic.report
            finish = run_in_background(traffic)
            try:
                self._kill_all(kills, verify_every, imports)
            except KeyboardInterrupt:
                self.outcome.interrupted = True
                self._say("interrupted: finishing what was begun, then the checks of the end")
            finally:
                finish()
                self._count(imports)
            wait_all_ready(self._stack)
            imports.finish()
            self._count(imports)

    def check(self, *, final: bool) -> None:
        """Everything acknowledged must be there, and the views equal; raises Lost.

        Totals that change all the time can remain undecided under traffic, so only the check of the
        end (`final`) insists on a decision.
        """
        outcome = self.outcome
        check_free_space(self._stack.home.path, "PURSER_HOME")
        self.present = self._acknowledged.presence(self._stack.endpoints.postgres_reader_dsn)
        outcome.lost = self.present.lost
        outcome.report = verify_stack(self._stack, VERIFY_SECONDS if final else MEANWHILE_SECONDS)
        verdict = outcome.report.verdict
        outcome.verdicts[verdict] += 1
        self._say(
            f"after {len(outcome.killed)} kills: {outcome.acknowledged:,} events acknowledged,"
            f" {outcome.lost} lost; verify {verdict} in {outcome.report.seconds:.0f} s"
            f" {outcome.report.reason}".rstrip()
        )
        allowed = (Verdict.EQUAL,) if final else (Verdict.EQUAL, Verdict.UNDECIDED)
        if outcome.lost or verdict not in allowed:
            raise Lost(f"{outcome.lost} events lost, verify {verdict}: {outcome.report.reason}")

    def _kill_all(self, kills: Sequence[Kill], verify_every: int, imports: Imports) -> None:
        for number, one in enumerate(kills):
            imports.go_on()
            time.sleep(one.pause_seconds)
            self.at = f"kill {number + 1} of {len(kills)} ({one.target})"
            next_is_early = number + 1 < len(kills) and kills[number + 1].early
            self.outcome.killed.append(
                self._kill(one, importing=imports.running, watch=not next_is_early)
            )
            self._count(imports)
            self._say(f"{datetime.now(UTC):%H:%M:%S} {self.outcome.line()}")
            if (number + 1) % verify_every == 0 and number + 1 < len(kills):
                self.check(final=False)

    def _kill(self, one: Kill, *, importing: bool, watch: bool) -> Killed:
        kill(self._stack, one.target)
        killed_at, moment = time.monotonic(), datetime.now(UTC)
        with ThreadPoolExecutor(1, thread_name_prefix="visible") as pool:
            visible = watch and pool.submit(
                wait_until_newer, self._stack.endpoints.clickhouse_url, moment, VISIBLE_SECONDS_MAX
            )
            wait_all_ready(self._stack)
            ready_at = time.monotonic()
            return Killed(
                kill=one,
                ready_seconds=ready_at - killed_at,
                visible_seconds=visible.result() - killed_at if visible else None,
                importing=importing,
            )

    def _count(self, imports: Imports) -> None:
        outcome = self.outcome
        outcome.imports, outcome.import_runs = imports.finished, imports.runs
        outcome.imported_events = imports.events
        outcome.acknowledged = len(self._acknowledged)
        outcome.seconds = time.monotonic() - self._began
