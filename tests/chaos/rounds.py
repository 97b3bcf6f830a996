"""One round of chaos: import and live traffic run while servers are killed, then all must agree.

    python -m tests.chaos --kills 20 --seed 7     the long round, on a stack of its own

A round is driven by its seed: which process dies, and when. Whatever was acknowledged to the
traffic must be in PostgreSQL once, and `verify` must find ClickHouse equal.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from bench.survival import Acknowledged, kill, verify_stack, wait_all_ready
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, TrafficReport, run_in_background
from operations.verify import Report
from stack.native import Stack
from stack.settings import CHECKOUT
from writer.append import Writer
from writer.postgres import open_store

HISTORY = CHECKOUT / "data" / "online-retail-slice.jsonl.gz"
PAUSE_SECONDS = (2.0, 6.0)
# A killed PostgreSQL is back in seconds; the traffic sends again for as long as it takes.
IMPORT_TRIES_MAX = 20


@dataclass(kw_only=True)
class Outcome:
    """What a round saw."""

    killed: list[str] = field(default_factory=list)
    import_runs: int = 0
    traffic: TrafficReport
    acknowledged: int
    lost: int
    report: Report


def play(
    stack: Stack,
    targets: Sequence[str],
    *,
    seed: int,
    rate: float = 30.0,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Kill the targets one after the other under load, and see what is left."""
    random = Random(seed)
    endpoints = stack.endpoints
    acknowledged = Acknowledged()
    market = Marketplace(seed, datetime.now(UTC), MarketplaceSettings(payments_per_second=rate))
    killed: list[str] = []
    with open_store(endpoints.postgres_dsn) as store, _Import(stack) as history:
        traffic = Traffic(Writer(store), market.steps(86_400), on_appended=acknowledged.add)
        finish = run_in_background(traffic)
        try:
            for target in targets:
                time.sleep(random.uniform(*PAUSE_SECONDS))
                wait_all_ready(stack)
                say(f"kill -9 {target} ({traffic.report.events:,} events appended)")
                kill(stack, target)
                killed.append(target)
                history.go_on()
            time.sleep(PAUSE_SECONDS[0])
        finally:
            wait_all_ready(stack)
            report = finish()
        history.finish()
    return Outcome(
        killed=killed,
        import_runs=history.runs,
        traffic=report,
        acknowledged=len(acknowledged),
        lost=acknowledged.lost(endpoints.postgres_reader_dsn),
        report=verify_stack(stack),
    )


def check(outcome: Outcome) -> None:
    """Assert that nothing was lost, nothing doubled, and everything agrees."""
    assert outcome.lost == 0
    assert outcome.acknowledged == outcome.traffic.events
    assert not outcome.traffic.rejections, outcome.traffic.rejections
    assert outcome.report.exit_status == 0, outcome.report.to_json()


class _Import:
    """`purser import` as a process, run again as an operator would when a server went away."""

    def __init__(self, stack: Stack) -> None:
        self._environment = {**os.environ, **stack.endpoints.environment()}
        self._log = (stack.home.path / "import.log").open("wb")
        self.runs = 0
        self._process = self._start()

    def __enter__(self) -> "_Import":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _start(self) -> subprocess.Popen[bytes]:
        self.runs += 1
        assert self.runs <= IMPORT_TRIES_MAX, Path(self._log.name).read_text()
        return subprocess.Popen(
            [sys.executable, "-m", "cli.main", "import", str(HISTORY)],
            env=self._environment,
            stdout=self._log,
            stderr=self._log,
        )

    def go_on(self) -> None:
        """Run it again if it gave up; a whole import run again changes nothing."""
        if self._process.poll() is not None:
            self._process = self._start()

    def finish(self) -> None:
        """Until it says that every line is in."""
        while self._process.wait() != 0:
            time.sleep(1)
            self._process = self._start()
