"""A process that appends events at a fixed rate and looks for them in ClickHouse.

`python -m bench.load --rate 208 --seconds 30` prints a line when it begins to measure, and then one
JSON object. All events are decided before the clock starts, as a payment service on another machine
would do. So it measures the path from PostgreSQL's commit to the visible row, and not the decisions
of the load itself.
"""

import argparse
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from marketplace.freshness import FreshnessProbe, quantile
from marketplace.market import Marketplace, MarketplaceSettings, Step
from marketplace.traffic import Traffic
from schemas.errors import ConfigurationError, Rejection
from schemas.events import Event, NewEvent
from schemas.runtime import entry_point
from writer.append import Answer, Appended, Writer
from writer.commands import AnyCommand
from writer.memory import MemoryStore
from writer.postgres import PostgresStore, configure_session

SETTLE_SECONDS = 30.0
MEAN_STEP_SECONDS = 1.0
WARM_UP_SEED = 1_000_000
DRAIN_SECONDS = 2.0
"""By then the events of the warm-up are in the views."""
MEASURING = "measuring"
"""The line printed when measuring begins, so that the reader can take the servers' CPU time."""


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
        self._sent: list[tuple[bytes, Sequence[object]]] = []
        self._rows = 0

    @contextmanager
    def connection(self) -> Iterator["_Statements"]:
        yield self

    def execute(self, statement: bytes, values: Sequence[object]) -> "_Statements":
        self._sent.append((statement, values))
        return self

    def fetchall(self) -> list[tuple[datetime]]:
        return [(datetime.now(UTC),)] * self._rows

    def of(self, rows: Sequence[NewEvent]) -> tuple[bytes, Sequence[object], tuple[Event, ...]]:
        """The statement of one append, its values, and the events that it returns."""
        self._sent.clear()
        self._rows = len(rows)
        store = PostgresStore(self)  # type: ignore[arg-type]
        events = store.append(rows)
        ((statement, values),) = self._sent
        return statement, values, events


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prepared:
    """One append, ready to send: statement, parameters in PostgreSQL's format, and the answer."""

    statement: bytes
    parameters: Sequence[Any]
    formats: Sequence[Any]
    events: tuple[Event, ...]


class _Sender:
    """Sends prepared appends, in place of `Writer`, with one connection per thread.

    The statements are those of `PostgresStore`, prepared on the server as psycopg does. Building
    them is not part of the run, because a payment service does that on another machine.
    """

    def __init__(self, dsn: str, decided: Mapping[str, Sequence[NewEvent]]) -> None:
        self._dsn = dsn
        self._threads = threading.local()
        self._connections: list[psycopg.Connection] = []
        with psycopg.connect(dsn) as connection:
            self._prepared = {key: _prepare(connection, rows) for key, rows in decided.items()}

    def handle(self, command: AnyCommand) -> Answer:
        """Append and wait for the commit; raises ServiceUnavailable if it was refused."""
        append = self._prepared[command.idempotency_key]
        connection, names = self._connection()
        server = connection.pgconn
        name = names.get(append.statement)
        if name is None:
            name = names[append.statement] = f"append_{len(names)}".encode()
            # As text with the columns' types, so that one statement serves amounts of any size.
            _check(server, server.prepare(name, append.statement))
        _check(server, server.exec_prepared(name, append.parameters, append.formats))
        return Appended(append.events)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _connection(self) -> tuple[psycopg.Connection, dict[bytes, bytes]]:
        if not hasattr(self._threads, "own"):
            connection = psycopg.connect(self._dsn, autocommit=True)
            configure_session(connection)
            self._connections.append(connection)
            self._threads.own = connection, {}
        own: tuple[psycopg.Connection, dict[bytes, bytes]] = self._threads.own
        return own


def _prepare(connection: psycopg.Connection, rows: Sequence[NewEvent]) -> _Prepared:
    statement, values, events = _Statements().of(rows)
    numbers = count(1)
    text = re.sub(b"%s", lambda _: b"$%d" % next(numbers), statement)
    transformer = Transformer(connection)
    parameters = transformer.dump_sequence(values, [PyFormat.TEXT] * len(values))
    return _Prepared(
        statement=text,
        parameters=parameters,
        formats=transformer.formats or (),
        events=events,
    )


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
    options = parser.parse_args()
    settings = MarketplaceSettings(
        payments_per_second=options.rate, mean_step_seconds=MEAN_STEP_SECONDS
    )
    now = datetime.now(UTC)
    # Marketplaces with two seeds have no payment and no key in common.
    before = list(Marketplace(options.seed + WARM_UP_SEED, now, settings).steps(options.warm_up))
    steps = list(Marketplace(options.seed, now, settings).steps(options.seconds))
    rows = decide_all(before) | decide_all(steps)
    with closing(_Sender(os.environ["PURSER_POSTGRES_DSN"], rows)) as sender:
        Traffic(sender, before).run()
        time.sleep(DRAIN_SECONDS)
        sys.stdout.write(MEASURING + "\n")
        sys.stdout.flush()
        with FreshnessProbe(os.environ["PURSER_CLICKHOUSE_URL"]) as probe:
            traffic = Traffic(sender, steps, on_appended=probe.watch)
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
