"""Replays everything under live traffic, while a simulated analyst queries the views.

The views must equal PostgreSQL before, during and after the replay. The totals of past days must
never change. After the traffic has ended, a second replay of the topic must give tables
bit-identical to those that were swapped in and then kept up to date by the live worker.
"""

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from threading import Thread
from typing import Any

from bench.analyst import Analyst
from bench.figures import Figure, at_least, at_most
from bench.sections import WORKER, Bench, warm_up
from bench.servers import wait_quiet
from bench.survival import verify_stack
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, run_in_background
from operations.console import say
from operations.verify import Report
from schemas.errors import ServiceUnavailable
from writer.append import open_writer

TRAFFIC_RATE = 10.0
"""Live payments per second: low enough to leave the replay its share of the machine."""
REPLAY_SECONDS = 1_800.0
HISTORY_ENDS = "2026-11-01"
"""The history of `bench.orders` ends before this day, and the live traffic begins after it."""
SECTION = "replay under live traffic"


def rebuild(bench: Bench) -> list[Figure]:
    """Import `--events` of history, then replay all views under live traffic."""
    warm_up(bench, bench.events, bench.seed + 10)
    wait_quiet(
        bench.stack, WORKER
    )  # totals follow their rows, and the analyst's history must be complete
    analyst = Analyst(bench.stack.endpoints.clickhouse_url, day=HISTORY_ENDS, rest_seconds=0.5)
    market = Marketplace(
        bench.seed, datetime.now(UTC), MarketplaceSettings(payments_per_second=TRAFFIC_RATE)
    )
    reports: list[Report] = []
    with open_writer(bench.stack.endpoints.postgres_dsn) as writer:
        finish = run_in_background(Traffic(writer, market.steps(86_400)))
        try:
            with analyst.asking():
                reports.append(verify_stack(bench.stack))
                replaying = _Replaying(bench)
                reports.append(verify_stack(bench.stack))
                replayed = replaying.wait()
                reports.append(verify_stack(bench.stack))
        finally:
            traffic = finish()
    identical = _identical(bench)
    for wrong in analyst.wrong[:3]:
        say(f"wrong: {wrong}")
    rate = replayed["records"] / max(replayed["bulk_seconds"], 0.001)
    equal = [report.exit_status == 0 for report in reports]
    equal += [
        replayed[when]["verdict"] == "equal" for when in ("verify_before_swap", "verify_after_swap")
    ]
    wrong_goal, wrong_met = at_most(0, len(analyst.wrong))
    equal_goal, equal_met = at_least(len(equal), sum(equal))
    same_goal, same_met = at_least(len(identical), sum(identical.values()))
    return [
        _figure("records read in bulk", replayed["records"], "records"),
        _figure("bulk", rate, "records/s"),
        _figure("from start to done", replayed["seconds"], "s"),
        _figure("live events meanwhile", traffic.events, "events"),
        _figure("the analyst's questions", analyst.answers, "rounds"),
        _figure("wrong answers", len(analyst.wrong), "", wrong_goal, wrong_met),
        _figure("verify equal, before to after", sum(equal), "times", equal_goal, equal_met),
        _figure(
            "tables the same to the bit as another replay's",
            sum(identical.values()),
            "tables",
            same_goal,
            same_met,
        ),
    ]


class _Replaying:
    """`purser replay` at work, as an operator runs it."""

    def __init__(self, bench: Bench) -> None:
        self._outcome: list[dict[str, Any] | Exception] = []
        self._thread = Thread(target=self._run, args=(bench,), name="replay")
        self._thread.start()

    def _run(self, bench: Bench) -> None:
        try:
            self._outcome.append(_purser_replay(bench))
        except Exception as error:  # noqa: BLE001 - raised by `wait`
            self._outcome.append(error)

    def wait(self) -> dict[str, Any]:
        """Its output; raises ServiceUnavailable if it failed."""
        self._thread.join()
        (outcome,) = self._outcome
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _identical(bench: Bench) -> dict[str, bool]:
    """Table -> whether another replay without traffic gives the identical table."""
    wait_quiet(bench.stack, WORKER)
    _purser_replay(bench, "--cleanup")
    _purser_replay(bench)
    live, old = _purser_replay(bench, "--digest")["databases"].values()
    return {name: live[name] == old[name] for name in live}


def _purser_replay(bench: Bench, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "replay", *arguments, "--json"],
        env={
            **os.environ,
            **bench.stack.endpoints.environment(),
            "PURSER_HOME": str(bench.stack.home.path),
        },
        capture_output=True,
        text=True,
        timeout=REPLAY_SECONDS,
        check=False,
    )
    if done.returncode:
        raise ServiceUnavailable(
            f"purser replay {' '.join(arguments)} failed: {done.stdout[-2000:]}"
        )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _figure(name: str, value: float, unit: str, goal: str = "", met: bool | None = None) -> Figure:
    return Figure(section=SECTION, name=name, value=value, unit=unit, goal=goal, met=met)
