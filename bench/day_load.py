"""Loads a day of payments into PostgreSQL and ClickHouse, past the pipeline between them.

The rows are those of `bench.generated`, all of one UTC day, from its beginning until now. Each
chunk is generated in ClickHouse, copied into PostgreSQL and then inserted into the views. After
that both hold the same events, and `purser verify` of the day says EQUAL.

PostgreSQL's guards would check each row and overwrite `recorded_at`, and Debezium would send it to
Kafka. So one transaction takes the guards and the table's publication away, copies the chunk, and
puts both back. No other session ever sees the table without them. Logical decoding looks at the
publication as it was when a row was written, so it leaves the rows out. This is for a temporary
stack of a benchmark only.
"""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day

import psycopg
from clickhouse_connect.driver.client import Client
from psycopg import sql

from bench.generated import STAGING, Generator, Shape, complete_totals
from bench.servers import TopicEnd, wait_until
from marketplace.baskets import CURRENCIES
from operations.health.checkup import examine
from schemas.clickhouse.totals import SETTLED_SECONDS
from schemas.errors import ServiceUnavailable
from schemas.events import COLUMNS
from schemas.topics import PUBLICATION, REPLICATION_SLOT
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.endpoints import Endpoints
from stack.topology import SERVER_NAMES

SELLERS = 10_000
SKEW = 2.5
SELLER = "seller-%04d"
"""Sellers' numbers, sizes and names are those of the marketplace, whose traffic comes on top."""

CHUNK_PAYMENTS = 100_000
COPY_BYTES = 1 << 20
QUERY_SECONDS = 900
SETTLE_SECONDS = 600.0
DAY_SECONDS_LEAST = 60.0
MARGIN_SECONDS = 1.0
"""Between the last of the day's rows and now."""

_NULLABLE = ("buyer_id", "psp_reference")
_ROWS = f"""
SELECT {", ".join(f"nullIf({name}, '')" if name in _NULLABLE else name for name in COLUMNS)}
FROM {STAGING} ORDER BY recorded_at, payment_id, seq
"""
_GUARDED = """
SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'payments'::regclass ORDER BY 1
"""
_PASSED = """
SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s
"""
# Ten digits: the finer totals of an hour, or of six.
_OVER = """
SELECT DISTINCT partition FROM system.parts
WHERE database = currentDatabase() AND table = 'totals_raw' AND active AND length(partition) = 10
    AND partition NOT IN (toString(toYYYYMMDD(now('UTC')) * 100 + toHour(now('UTC'))),
        toString(toYYYYMMDD(now('UTC')) * 100 + 30 + intDiv(toHour(now('UTC')), 6)))
"""
_MERGES = "SELECT count() FROM system.merges WHERE database = currentDatabase()"


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """A UTC day, and how many of its microseconds the payments are spread over."""

    date: date
    microseconds: int

    @classmethod
    def until(cls, now: datetime) -> "Day":
        """The day of `now`, from its beginning until a moment before `now`."""
        midnight = datetime.combine(now.astimezone(UTC).date(), time_of_day(), UTC)
        passed = now - midnight - timedelta(seconds=MARGIN_SECONDS)
        return cls(date=midnight.date(), microseconds=passed // timedelta(microseconds=1))

    def shape(self, payments: int) -> Shape:
        """So many payments, each with all of its events in the day.

        Payments arrive during the first nine tenths. What follows from one takes less than a tenth.
        """
        hundredth = self.microseconds // 100
        jitters = (hundredth // 10, hundredth // 10, hundredth // 5, hundredth, hundredth)
        return Shape(
            first_day=self.date,
            sellers=SELLERS,
            skew=SKEW,
            seller=SELLER,
            currencies=[name for name, weight in CURRENCIES.items() for _ in range(weight)],
            gap=max(1, 90 * hundredth // payments),
            delays=(0, hundredth // 20, hundredth // 5, hundredth, 4 * hundredth),
            jitters=[max(1, jitter) for jitter in jitters],
            payout_delay=6 * hundredth,
            placed=False,
        )


def begun_day() -> Day:
    """Today, once a minute of it has passed."""
    while True:
        day = Day.until(datetime.now(UTC))
        missing = DAY_SECONDS_LEAST - day.microseconds / 1e6
        if missing <= 0:
            return day
        time.sleep(missing)


@dataclass(frozen=True, slots=True, kw_only=True)
class DayLoad:
    """Loads days of payments into the servers of a temporary stack."""

    endpoints: Endpoints
    topic: TopicEnd
    say: Callable[[str], None]

    def load(self, day: Day, payments: int, seed: int) -> None:
        """Load the payments, and wait until the servers are as calm as before.

        Nothing else may append meanwhile. Raises ServiceUnavailable if an event of the load reached
        the topic, or if something is unhealthy afterwards.
        """
        settings = ClickHouseSettings.load(self.endpoints.clickhouse_url).model_copy(
            update={"clickhouse_request_seconds": QUERY_SECONDS}
        )
        with (
            closing(connect(settings)) as client,
            psycopg.connect(self.endpoints.postgres_admin_dsn, autocommit=True) as session,
        ):
            session.execute("SET TimeZone = 'UTC'")
            wait_for_slot(session)
            topic_before = self.topic.offsets()
            generator = Generator(
                client=client, total=payments, seed=seed, shape=day.shape(payments)
            )
            for first in range(0, payments, CHUNK_PAYMENTS):
                count = min(CHUNK_PAYMENTS, payments - first)
                generator.payments(first, count, lambda: copy_staged(client, session))
                wait_for_slot(session)
                self.say(f"loaded {first + count:,} of {payments:,} payments")
            self.say("computing the totals")
            complete_totals(settings)
            rolled_up = time.monotonic()
            # As if the day had come by and by: the partitions of hours that are over are one part.
            for (partition,) in client.query(_OVER).result_rows:
                client.command(f"OPTIMIZE TABLE totals_raw PARTITION ID '{partition}' FINAL")
            self.say("waiting until both databases are calm")
            session.execute("VACUUM (ANALYZE) payments")
            wait_for_slot(session)
            wait_until(
                lambda: client.query(_MERGES).result_rows == [(0,)],
                "ClickHouse did not finish its merges",
                seconds=SETTLE_SECONDS,
            )
        # Until then readers add up the entries of the whole day.
        time.sleep(max(0.0, rolled_up + SETTLED_SECONDS + 1 - time.monotonic()))
        self._check(topic_before)

    def _check(self, topic_before: int) -> None:
        if sent := self.topic.offsets() - topic_before:
            raise ServiceUnavailable(f"{sent} records reached the topic while the day was loaded")
        if problems := examine(self.endpoints, SERVER_NAMES).problems:
            raise ServiceUnavailable(f"unhealthy after the load: {problems[0].text}")


def copy_staged(client: Client, session: psycopg.Connection) -> None:
    """Append the staged events to `payments`, past its guards and its publication."""
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    guarded = [sql.Identifier(name) for (name,) in session.execute(_GUARDED).fetchall()]
    publication = sql.Identifier(PUBLICATION)

    def change(statement: str, *names: sql.Identifier) -> None:
        session.execute(sql.SQL(statement).format(*names))

    with session.transaction():
        change("ALTER PUBLICATION {} DROP TABLE public.payments", publication)
        for partition in guarded:
            change("ALTER TABLE {} DISABLE TRIGGER payments_guard", partition)
        with (
            session.cursor() as cursor,
            cursor.copy(sql.SQL("COPY public.payments ({}) FROM STDIN").format(columns)) as copy,
            closing(client.raw_stream(_ROWS, fmt="TabSeparated")) as rows,
        ):
            while block := rows.read(COPY_BYTES):
                copy.write(block)
        for partition in guarded:
            change("ALTER TABLE {} ENABLE ALWAYS TRIGGER payments_guard", partition)
        change("ALTER PUBLICATION {} ADD TABLE public.payments", publication)


def wait_for_slot(session: psycopg.Connection) -> None:
    """Wait until Debezium has confirmed everything that PostgreSQL's log holds now."""
    row = session.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
    assert row is not None
    wait_until(
        lambda: session.execute(_PASSED, [row[0], REPLICATION_SLOT]).fetchone() == (True,),
        "Debezium did not read PostgreSQL's log",
        seconds=SETTLE_SECONDS,
    )
