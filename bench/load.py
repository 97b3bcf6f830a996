"""A process that appends at a fixed rate and looks for what it appended in ClickHouse.

`python -m bench.load --rate 208 --seconds 30` prints one JSON object. Every event is decided before
the clock starts, as a payment service on another machine would have: what is measured is the way
from PostgreSQL's commit to the visible row, not the decisions of the load itself.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime

from connectors.simulator.freshness import FreshnessProbe, quantile
from connectors.simulator.marketplace import Marketplace, MarketplaceSettings, Step
from connectors.simulator.traffic import Traffic
from schemas.errors import Rejection
from schemas.events import NewEvent
from writer.append import Answer, Appended, Writer
from writer.commands import AnyCommand
from writer.memory import MemoryStore
from writer.postgres import open_store
from writer.store import EventStore

SETTLE_SECONDS = 30.0
MEAN_STEP_SECONDS = 1.0


class _Recorder(MemoryStore):
    """Remembers what each command appended."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[NewEvent, ...] = ()

    def append(self, events):  # type: ignore[no-untyped-def]
        self.rows = tuple(events)
        return super().append(events)


class _Decided:
    """Appends what was decided beforehand; stands in for `Writer`."""

    def __init__(self, store: EventStore, rows: dict[str, tuple[NewEvent, ...]]) -> None:
        self._store = store
        self._rows = rows

    def handle(self, command: AnyCommand) -> Answer:
        return Appended(self._store.append(self._rows[command.idempotency_key]))


def decide_all(steps: list[Step]) -> dict[str, tuple[NewEvent, ...]]:
    """Idempotency key -> rows, for every step; a rejection is a fault of the marketplace."""
    recorder = _Recorder()
    writer = Writer(recorder)
    decided = {}
    for step in steps:
        answer = writer.handle(step.command)
        if isinstance(answer, Rejection):
            raise answer
        decided[step.command.idempotency_key] = recorder.rows
    return decided


def main() -> None:
    """Run the load and print what it saw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="payments per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    settings = MarketplaceSettings(
        payments_per_second=options.rate, mean_step_seconds=MEAN_STEP_SECONDS
    )
    market = Marketplace(options.seed, datetime.now(UTC), settings)
    steps = list(market.steps(options.seconds))
    rows = decide_all(steps)
    with (
        open_store(os.environ["PURSER_POSTGRES_DSN"]) as store,
        FreshnessProbe(os.environ["PURSER_CLICKHOUSE_URL"]) as probe,
    ):
        traffic = Traffic(_Decided(store, rows), steps, on_appended=probe.watch)
        cpu = time.process_time()
        report = traffic.run()
        deadline = time.monotonic() + SETTLE_SECONDS
        while probe.pending() and time.monotonic() < deadline:
            time.sleep(0.05)
        result = {
            "payments": report.payments,
            "events": report.events,
            "seconds": report.seconds,
            "watched": len(probe.seconds),
            "never_seen": probe.pending(),
            "visible_p50": quantile(probe.seconds, 0.5),
            "visible_p99": quantile(probe.seconds, 0.99),
            "cpu_seconds": time.process_time() - cpu,
            "append_p50": quantile(report.append_seconds, 0.5),
            "append_p99": quantile(report.append_seconds, 0.99),
        }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
