"""A marketplace's traffic on a real PostgreSQL, by the writer and by the benchmarks' load."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest

from bench.load import PreparedWriter, decide_all
from bench.survival import Acknowledged
from marketplace.groups import appended_since
from marketplace.market import Marketplace, MarketplaceSettings, Step
from marketplace.traffic import Traffic, run_in_background
from schemas.errors import ConfigurationError
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from stack.native import Stack
from tests.integration.postgres.database import Database
from tests.waiting import wait_until
from tests.whole_stack import empty_stack
from writer.append import open_writer
from writer.migrate import migrate
from writer.postgres import PostgresStore

RATE = 150.0
SECONDS = 2.0
KILLS = 2
EVENTS_BETWEEN = 300


@pytest.fixture
def own_postgres() -> Iterator[Stack]:
    """PostgreSQL alone, migrated: the test kills it."""
    with empty_stack() as stack:
        stack.up(("postgres",))
        migrate(stack.endpoints.postgres_admin_dsn)
        yield stack


def market(seed: int, seconds: float, mean_step_seconds: float = 0.3) -> Iterator[Step]:
    settings = MarketplaceSettings(payments_per_second=RATE, mean_step_seconds=mean_step_seconds)
    return Marketplace(seed, datetime.now(UTC), settings).steps(seconds)


def _new(event: Event) -> NewEvent:
    return NewEvent(**{name: getattr(event, name) for name in NewEvent.__struct_fields__})


@pytest.mark.parametrize("by", ["the writer", "the load"])
def test_traffic_is_appended_in_groups_as_it_was_decided(
    database: Database, postgres_store: PostgresStore, by: str
) -> None:
    steps = [*market(len(by), SECONDS)]
    decided = decide_all(steps)
    heard: list[Event] = []
    began = datetime.now(UTC)
    if by == "the writer":
        with open_writer(database.writer) as writer:
            report = Traffic(writer, steps, on_appended=heard.extend).run()
    else:
        with closing(PreparedWriter(database.writer, decided)) as prepared:
            report = Traffic(prepared, steps, on_appended=heard.extend).run()
    expected: dict[PaymentId, list[NewEvent]] = {}
    for rows in decided.values():
        expected.setdefault(PaymentId(rows[0].payment_id), []).extend(rows)
    stored = postgres_store.load_many([*expected])
    assert {key: [*map(_new, stream)] for key, stream in stored.items()} == expected
    assert {(each.payment_id, each.seq) for each in heard} == {
        (row.payment_id, row.seq) for rows in decided.values() for row in rows
    }
    assert (report.commands, report.events) == (len(steps), len(heard))
    assert not report.rejections
    assert report.groups.groups < len(steps), "they were not appended together"
    assert appended_since(database.reader, began) == report.groups


def test_a_load_that_the_database_refuses_ends(database: Database) -> None:
    steps = [*market(7, 0.2)]
    with closing(PreparedWriter(database.writer, decide_all(steps))) as prepared:
        Traffic(prepared, steps).run()
        with pytest.raises(ConfigurationError, match="PostgreSQL refuses the load"):
            Traffic(prepared, steps).run()  # every place is taken


def test_a_killed_server_costs_a_marketplace_nothing_but_time(own_postgres: Stack) -> None:
    endpoints, acknowledged = own_postgres.endpoints, Acknowledged()
    with open_writer(endpoints.postgres_dsn) as writer:
        steps = market(5, 86_400, mean_step_seconds=1.0)
        finish = run_in_background(Traffic(writer, steps, on_appended=acknowledged.add))
        try:
            for number in range(KILLS + 1):
                wait_until(
                    lambda number=number: len(acknowledged) > EVENTS_BETWEEN * (number + 1),  # type: ignore[misc]
                    "traffic flows",
                )
                if number < KILLS:
                    own_postgres.kill("postgres")
                    wait_until(lambda: own_postgres.pid("postgres"), "PostgreSQL is started again")
                    own_postgres.wait_ready("postgres")
        finally:
            report = finish()
    found = acknowledged.presence(endpoints.postgres_reader_dsn)
    assert (found.events, found.lost) == (len(acknowledged), 0)
    assert report.events == len(acknowledged)
    assert not report.rejections
