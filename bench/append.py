"""Measures the cost of one append to `payments` in PostgreSQL, with guards and without.

`python -m bench.append` starts a separate PostgreSQL and creates a database for each schema. It
appends the same events to all of them in turns: each event in a transaction by itself, then many
with one COPY. It prints CPU microseconds per row. Because of the turns, other load on the machine
disturbs all schemas alike.
"""

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

from bench.figures import Figure, show, write
from bench.load import decide_all
from bench.run import RESULTS
from marketplace.market import Marketplace, MarketplaceSettings
from operations.console import say, wide_console
from operations.own_stack import own_stack
from schemas.events import NewEvent
from schemas.runtime import entry_point
from stack.endpoints import Endpoints
from stack.postgres import OWNER
from writer.migrate import migrate
from writer.postgres import PostgresStore, open_pool

WITHOUT, WITH = "no guards", "guards"
WARM_UP_ROWS = 500  # every partition's guard is compiled and planned once per session
ROWS_PER_TURN = 250
PAYMENTS_PER_SECOND = 200.0
ROWS_PER_PAYMENT_LEAST = 4  # on average; about eight in a marketplace

_DROP_GUARDS = """
DO $$
DECLARE
    item record;
BEGIN
    FOR item IN SELECT DISTINCT tgrelid::regclass AS place, tgname AS name FROM pg_trigger
        WHERE tgname = 'payments_guard' AND tgparentid = 0
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', item.name, item.place);
    END LOOP;
END
$$
"""


@dataclass(slots=True, kw_only=True)
class Subject:
    """One schema under measurement: CPU seconds of its server process and of this process."""

    name: str
    pool: ConnectionPool[psycopg.Connection[tuple[Any, ...]]]
    store: PostgresStore
    single_seconds: float = 0.0
    client_seconds: float = 0.0
    copy_seconds: float = 0.0
    server: psutil.Process = field(init=False)

    def __post_init__(self) -> None:
        with self.pool.connection() as connection:
            self.server = psutil.Process(connection.info.backend_pid)

    def append(self, events: Sequence[NewEvent]) -> None:
        """Append each event in a separate transaction."""
        server, client = _cpu(self.server), time.process_time()
        for event in events:
            self.store.append([event])
        self.single_seconds += _cpu(self.server) - server
        self.client_seconds += time.process_time() - client

    def copy(self, events: Sequence[NewEvent]) -> None:
        """Append all events in one transaction, with COPY."""
        server = _cpu(self.server)
        self.store.append_many(events)
        self.copy_seconds += _cpu(self.server) - server


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _events(count: int, seed: int) -> list[NewEvent]:
    """Events of a marketplace in the order in which they would be appended."""
    settings = MarketplaceSettings(payments_per_second=PAYMENTS_PER_SECOND, mean_step_seconds=1.0)
    market = Marketplace(seed, datetime(2026, 1, 1, tzinfo=UTC), settings)
    steps = list(market.steps(count / PAYMENTS_PER_SECOND / ROWS_PER_PAYMENT_LEAST))
    events = [event for rows in decide_all(steps).values() for event in rows]
    assert len(events) >= count, len(events)
    return events[:count]  # the beginning of a legal history is a legal history


@contextmanager
def _subject(endpoints: Endpoints, name: str) -> Iterator[Subject]:
    database = "append_" + name.replace(" ", "_")
    with psycopg.connect(endpoints.postgres_superuser_dsn, autocommit=True) as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(database), sql.Identifier(OWNER)
            )
        )
    owner = make_conninfo(endpoints.postgres_admin_dsn, dbname=database)
    migrate(owner)
    if name == WITHOUT:
        with psycopg.connect(owner) as session:
            session.execute(_DROP_GUARDS)
    with open_pool(make_conninfo(endpoints.postgres_dsn, dbname=database), 1) as pool:
        yield Subject(name=name, pool=pool, store=PostgresStore(pool))


def measure(endpoints: Endpoints, *, rows: int, copy_rows: int, seed: int) -> list[Subject]:
    """Append the same events to all schemas."""
    events = _events(WARM_UP_ROWS + rows + copy_rows, seed)
    single_end = WARM_UP_ROWS + rows
    with ExitStack() as stack:
        subjects = [stack.enter_context(_subject(endpoints, name)) for name in (WITHOUT, WITH)]
        for subject in subjects:
            subject.append(events[:WARM_UP_ROWS])
            subject.single_seconds = subject.client_seconds = 0.0
        for start in range(WARM_UP_ROWS, single_end, ROWS_PER_TURN):
            for subject in subjects:
                subject.append(events[start : min(start + ROWS_PER_TURN, single_end)])
        for subject in subjects:
            subject.copy(events[single_end:])
    return subjects


def figures(subjects: Sequence[Subject], rows: int, copy_rows: int) -> list[Figure]:
    """CPU per row, and its ratio to the same load without guards."""
    found = []
    for section, attribute, count in (
        ("a transaction per row: PostgreSQL", "single_seconds", rows),
        ("a transaction per row: the writer", "client_seconds", rows),
        ("COPY: PostgreSQL", "copy_seconds", copy_rows),
    ):
        baseline = getattr(subjects[0], attribute)
        found += [
            Figure(
                section=section,
                name=f"CPU, {subject.name}",
                value=1e6 * getattr(subject, attribute) / count,
                unit="µs/row",
                baseline=subjects[0].name,
                ratio=getattr(subject, attribute) / baseline if baseline else None,
            )
            for subject in subjects
        ]
    return found


@entry_point
def main() -> None:
    """Measure on a separate PostgreSQL, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=4_000, help="rows with one transaction each")
    parser.add_argument("--copy-rows", type=int, default=20_000, help="rows of one COPY")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with own_stack("bench-append") as stack:
        stack.up(["postgres"])
        subjects = measure(
            stack.endpoints, rows=options.rows, copy_rows=options.copy_rows, seed=options.seed
        )
    measured = figures(subjects, options.rows, options.copy_rows)
    show(measured, wide_console())
    command = f"python -m bench.append --rows {options.rows} --copy-rows {options.copy_rows}"
    say(f"written to {write(measured, RESULTS, command)}")


if __name__ == "__main__":
    main()
