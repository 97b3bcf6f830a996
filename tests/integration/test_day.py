"""A small day is loaded past the pipeline, and both databases hold the same of it."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, time

import psycopg
import pytest

from bench.day_load import SELLERS, Day, DayLoad, begun_day
from bench.generated import EVENTS_PER_PAYMENT, EVENTS_PER_PAYOUT, PAYMENTS_PER_PAYOUT
from bench.servers import TopicEnd
from connectors.debezium.publication import read_publication
from operations.verify import Options, Verdict, VerifySettings, Window, verify
from operations.verify.checks import NAMES
from schemas.events import COLUMNS
from schemas.topics import PUBLICATION
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.endpoints import Endpoints
from tests.integration.postgres.database import copy, new_database
from tests.integration.test_debezium import append_payment, records_of
from tests.payments_stack import GUARDS
from tests.whole_stack import whole_stack
from writer.migrate import migrate

pytestmark = pytest.mark.integration

PAYMENTS = 3_000
PAYOUTS = PAYMENTS // PAYMENTS_PER_PAYOUT
APPENDED = 2
EVENTS = PAYMENTS * EVENTS_PER_PAYMENT + PAYOUTS * EVENTS_PER_PAYOUT + APPENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A stack with a day in it, and a payment that was appended afterwards.

    `records` had the topic before that payment.
    """

    endpoints: Endpoints
    day: Day
    at: datetime
    records: int
    payment: str
    guards_before: list[tuple[str, str]]
    said: list[str]


@pytest.fixture(scope="module")
def loaded() -> Iterator[Loaded]:
    """Its own stack, because the tests of others would find the day's payments in theirs."""
    with whole_stack() as stack:
        endpoints = stack.endpoints
        said: list[str] = []
        day = begun_day()
        guards_before = guards(endpoints)
        with closing(TopicEnd(endpoints.kafka_bootstrap)) as topic:
            DayLoad(endpoints=endpoints, topic=topic, say=said.append).load(day, PAYMENTS, seed=1)
            records = topic.offsets()
        payment = append_payment(endpoints)
        yield Loaded(
            endpoints=endpoints,
            day=day,
            at=datetime.now(UTC),
            records=records,
            payment=payment,
            guards_before=guards_before,
            said=said,
        )


def guards(endpoints: Endpoints) -> list[tuple[str, str]]:
    with psycopg.connect(endpoints.postgres_reader_dsn) as session:
        return sorted(session.execute(GUARDS).fetchall())


def test_verify_says_equal(loaded: Loaded) -> None:
    settings = VerifySettings.load(
        postgres_reader_dsn=loaded.endpoints.postgres_reader_dsn,
        clickhouse_url=loaded.endpoints.clickhouse_url,
        kafka_bootstrap=loaded.endpoints.kafka_bootstrap,
    )
    report = verify(settings, Options(window=Window(since=loaded.day.date)))
    assert report.verdict is Verdict.EQUAL, report.to_json()
    assert report.postgres_events == report.clickhouse_events == EVENTS
    assert {check.name: check.verdict for check in report.checks} == dict.fromkeys(
        NAMES, Verdict.EQUAL
    )
    assert all(check.compared for check in report.checks), report.to_json()


def test_all_of_it_is_of_today_and_nothing_is_of_the_future(loaded: Loaded) -> None:
    midnight = datetime.combine(loaded.day.date, time(), UTC)
    with psycopg.connect(loaded.endpoints.postgres_reader_dsn) as session:
        row = session.execute(
            "SELECT min(occurred_at), max(recorded_at), bool_and(recorded_at > occurred_at),"
            " count(DISTINCT currency) FROM payments"
        ).fetchone()
    assert row is not None
    first, last, in_order, currencies = row
    passed = loaded.at - midnight
    assert midnight <= first < midnight + passed / 50
    assert midnight + passed / 2 < last < loaded.at
    assert in_order
    assert currencies == 6


def test_few_sellers_sell_much_and_most_sell_little(loaded: Loaded) -> None:
    with connect(ClickHouseSettings.load(loaded.endpoints.clickhouse_url)) as client:
        found = client.query(
            "SELECT seller_id, sum(capture_count) AS sold FROM seller_revenue"
            " GROUP BY seller_id ORDER BY sold DESC, seller_id"
        ).result_rows
    assert sum(sold for _, sold in found) == PAYMENTS
    assert found[0][0] == "seller-0000"
    assert found[0][1] > PAYMENTS / 100
    assert 500 < len(found) < min(SELLERS, PAYMENTS)
    assert found[len(found) // 2][1] <= 2


def test_the_guards_accept_every_row_as_it_is(loaded: Loaded) -> None:
    columns = ", ".join(COLUMNS)
    with psycopg.connect(loaded.endpoints.postgres_reader_dsn) as session:
        session.execute("SET TimeZone = 'UTC'")
        answer = session.execute(
            f"SELECT {columns.replace('details', 'details::text')} FROM payments"
            " ORDER BY occurred_at, payment_id, seq".encode()
        )
        rows = [dict(zip(COLUMNS, row, strict=True)) for row in answer]
    assert len(rows) == EVENTS
    with new_database(loaded.endpoints) as database:
        migrate(database.owner)
        with psycopg.connect(database.owner) as session:
            copy(session, rows)


def test_nothing_reached_the_topic_and_what_is_appended_later_does(loaded: Loaded) -> None:
    assert loaded.records == 0
    assert loaded.said[0] == f"loaded {PAYMENTS:,} of {PAYMENTS:,} payments"
    assert not read_publication(loaded.endpoints.postgres_reader_dsn, PUBLICATION).problems()
    assert loaded.guards_before == guards(loaded.endpoints)
    assert len(loaded.guards_before) > 16
    found = records_of(loaded.endpoints, loaded.payment, count=APPENDED)
    assert [row["seq"] for _, row in found] == [1, 2]
