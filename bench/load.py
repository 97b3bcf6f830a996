"""A process that appends events at a fixed rate and looks for them in ClickHouse.

`python -m bench.load --rate 208 --seconds 30` prints a line when it begins to measure, and then one
JSON object. All events are decided before the clock starts, as a payment service on another machine
would do. So it measures the path from PostgreSQL's commit to the visible row, and not the decisions
of the load itself. What is due at about the same time is appended in groups, as the writer of a
service at that rate does it.
"""

import argparse
import json
import os
import sys
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from operator import attrgetter
from queue import SimpleQueue
from typing import Any

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from tenacity import Retrying, stop_after_attempt

from marketplace.freshness import FreshnessProbe, quantile
from marketplace.market import Marketplace, MarketplaceSettings, Step
from marketplace.traffic import Traffic
from schemas.errors import ConfigurationError, Rejection
from schemas.events import Event, NewEvent
from schemas.runtime import entry_point
from writer.append import Answer, Appended, Writer
from writer.commands import AnyCommand
from writer.group import ROWS_MAX, lock_order
from writer.lanes import LANES, Lanes
from writer.memory import MemoryStore
from writer.postgres import PostgresStore, configure_session

SETTLE_SECONDS = 30.0
MEAN_STEP_SECONDS = 1.0
SELLERS = 200
WARM_UP_SEED = 1_000_000
DRAIN_SECONDS = 2.0
"""By then the events of the warm-up are in the views."""
MEASURING = "measuring"
"""The line printed when measuring begins, so that the reader can take the servers' CPU time."""
NAME = b"append"
"""Of the prepared statement."""
_PLACE = attrgetter("place")


class _Recorder(MemoryStore):
    """Remembers the events that each command appended."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: tuple[NewEvent, ...] = ()

    def append(self, events):  # type: ignore[no-untyped-def]
        self.rows = tuple(events)
        return super().append(events)


class _Statements:
    """Replaces the store's pool and records what the store would have sent."""

    def __init__(self) -> None:
        self._sent: list[tuple[bytes, Sequence[str]]] = []
        self._rows = 0

    @contextmanager
    def connection(self) -> Iterator["_Statements"]:
        yield self

    def execute(self, statement: bytes, values: Sequence[str]) -> "_Statements":
        self._sent.append((statement, values))
        return self

    def fetchall(self) -> list[tuple[datetime]]:
        return [(datetime.now(UTC),)] * self._rows

    def of(self, rows: Sequence[NewEvent]) -> tuple[bytes, str, tuple[Event, ...]]:
        """The statement of one append, its one parameter, and the events that it returns."""
        self._sent.clear()
        self._rows = len(rows)
        store = PostgresStore(self)  # type: ignore[arg-type]
        events = store.append(rows)
        ((statement, (text,)),) = self._sent
        return statement, text, events


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """What one command adds to the statement of its group, and its answer."""

    place: tuple[Any, ...]  # among the rows of a group: see `lock_order`
    text: bytes  # its rows in JSON, with commas between them
    events: tuple[Event, ...]
    answer: Appended


class PreparedWriter:
    """Appends what was decided before, in place of `Writer`: in the same groups, by the same lanes.

    A group is one statement, that of `PostgresStore`, prepared on the server as psycopg does. It
    reads nothing, as `Writer` does for callers that hand in the stream. The parts of the statements
    are made before the run, because a payment service does that on another machine.
    """

    def __init__(self, dsn: str, decided: Mapping[str, Sequence[NewEvent]]) -> None:
        statements = _Statements()
        self._prepared = {key: _prepare(statements, rows) for key, rows in decided.items()}
        self._connections: SimpleQueue[psycopg.Connection] = SimpleQueue()
        for _ in range(LANES):
            connection = psycopg.connect(dsn, autocommit=True)
            configure_session(connection)
            statement, _text, _events = statements.of(())
            _check(connection.pgconn, connection.pgconn.prepare(NAME, _numbered(statement)))
            self._connections.put(connection)
        self._lanes: Lanes[_Prepared, Answer] = Lanes(
            self._append,
            retrying=Retrying(stop=stop_after_attempt(1), reraise=True),
            key=lambda prepared: prepared.events[0].payment_id,
        )

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        """Append a command's rows with those of others that wait.

        The future has the answer after the commit, or a ConfigurationError if PostgreSQL refuses.
        """
        return self._lanes.submit(self._prepared[command.idempotency_key])

    def group_sizes(self) -> Counter[int]:
        """Commands that were appended together -> how many such groups there were so far."""
        return self._lanes.sizes()

    def close(self) -> None:
        """Wait until everything is appended."""
        self._lanes.close()
        while not self._connections.empty():
            self._connections.get().close()

    def _append(self, group: Sequence[_Prepared]) -> list[Answer | None]:
        taken, text = joined(group)
        connection = self._connections.get()
        try:
            server = connection.pgconn
            _check(server, server.exec_prepared(NAME, [text]))
        finally:
            self._connections.put(connection)
        return [prepared.answer for prepared in group[:taken]] + [None] * (len(group) - taken)


def joined(group: Sequence[_Prepared], rows_max: int = ROWS_MAX) -> tuple[int, bytes]:
    """How many of a group fit into one transaction, and the one parameter of its statement."""
    ends = [*accumulate(len(prepared.events) for prepared in group)]
    taken = max(1, bisect_right(ends, rows_max))
    pieces = [prepared.text for prepared in sorted(group[:taken], key=_PLACE)]
    return taken, b"[%b]" % b",".join(pieces)


def _prepare(statements: _Statements, rows: Sequence[NewEvent]) -> _Prepared:
    _statement, text, events = statements.of(rows)
    return _Prepared(
        place=lock_order(rows[0]),
        text=text.removeprefix("[").removesuffix("]").encode(),
        events=events,
        answer=Appended(events),
    )


def _numbered(statement: bytes) -> bytes:
    """As the server wants it; psycopg writes the parameter otherwise."""
    assert statement.count(b"%s") == 1, statement
    return statement.replace(b"%s", b"$1")


def _check(server: PGconn, result: PGresult) -> None:
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise ConfigurationError(f"PostgreSQL refuses the load: {server.get_error_message()}")


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


@entry_point
def main() -> None:
    """Run the load and print its measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, required=True, help="payments per second")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--warm-up", type=float, default=0.0, help="seconds of warm-up, not counted"
    )
    parser.add_argument("--sellers", type=int, default=SELLERS)
    options = parser.parse_args()
    settings = MarketplaceSettings(
        payments_per_second=options.rate,
        sellers=options.sellers,
        mean_step_seconds=MEAN_STEP_SECONDS,
    )
    now = datetime.now(UTC)
    # Marketplaces with two seeds have no payment and no key in common.
    before = list(Marketplace(options.seed + WARM_UP_SEED, now, settings).steps(options.warm_up))
    steps = list(Marketplace(options.seed, now, settings).steps(options.seconds))
    rows = decide_all(before) | decide_all(steps)
    with closing(PreparedWriter(os.environ["PURSER_POSTGRES_DSN"], rows)) as writer:
        Traffic(writer, before).run()
        time.sleep(DRAIN_SECONDS)
        sys.stdout.write(MEASURING + "\n")
        sys.stdout.flush()
        with FreshnessProbe(os.environ["PURSER_CLICKHOUSE_URL"]) as probe:
            traffic = Traffic(writer, steps, on_appended=probe.watch)
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
                **report.groups.to_json(),
            }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
