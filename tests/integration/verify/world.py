"""A marketplace in PostgreSQL, and its views in ClickHouse filled straight from the table.

Instead of Debezium and Kafka a `Pump` reads committed rows, writes them as Debezium would, and
sends them through the fold and the sink: everything that `purser verify` can see is as in the real
pipeline, and a test can hold it back, repeat it, or break what it wrote.
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from clickhouse_connect.driver.client import Client
from pydantic import SecretStr

from operations.verify import Finding, Options, Report, VerifySettings, Window, verify
from schemas.events import COLUMNS
from schemas.lifecycle import Direction, EventType
from schemas.money import MAX_AMOUNT_MINOR
from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from schemas.views import PIPELINE_PROGRESS, RECENT_ENTRIES, TABLES, TOTALS
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from streams.decode import Record
from streams.fold import fold_batch
from tests.integration.postgres.database import Database, insert
from tests.integration.postgres.rows import Book, Row
from tests.totals import roll_up
from writer.importing.history import decide_line
from writer.postgres import open_store

PARTITIONS = 3
BATCH_ROWS = 500
DAY = datetime(2024, 3, 1, 10, tzinfo=UTC)
SELLERS = tuple(f"seller-{number}" for number in range(5))
LONG_AGO = datetime(2024, 4, 1, 10, tzinfo=UTC)
LARGEST_ORDERS = 9_500
"""So many orders of the largest amount that their sum is above 2**63."""

_ISO = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'


def _as_debezium_writes(column: str) -> str:
    if column.endswith("_at"):
        return f"to_char({column} AT TIME ZONE 'UTC', '{_ISO}')"
    return f"{column}::text" if column in ("payment_id", "details") else column


SELECT_EVENTS = (
    f"SELECT {', '.join(map(_as_debezium_writes, COLUMNS))},"
    # Debezium names the top-level transaction; writers that use savepoints note theirs.
    " coalesce((details ->> 'txid')::numeric, xmin::text::numeric) %% 4294967296,"
    " (extract(epoch FROM recorded_at) * 1000)::bigint"
    " FROM payments WHERE (payment_id, seq) IN (SELECT * FROM unnest(%s::uuid[], %s::int[]))"
    " ORDER BY recorded_at, seq"
)


def partition_of(payment_id: str) -> int:
    """The partition of the topic that the pump puts a payment in."""
    return UUID(payment_id).int % PARTITIONS


@dataclass(slots=True)
class Pump:
    """The pipeline in small: committed rows to records to rows of the views, each once."""

    reader_dsn: str
    sink: ClickHouseSink
    offsets: list[int] = field(default_factory=lambda: [0] * PARTITIONS)
    delivered: set[tuple[str, int]] = field(default_factory=set)
    batch_rows: int = BATCH_ROWS
    between_tables: Callable[[], None] = lambda: None
    parks: bool = False
    """Whether the test expects dead letters."""

    def pump(self, limit: int | None = None, *, op: str = "c") -> int:
        """Deliver what is committed and was not delivered yet; how many events."""
        with psycopg.connect(self.reader_dsn) as session:
            keys = [
                key
                for key in session.execute(
                    "SELECT payment_id::text, seq FROM payments ORDER BY recorded_at, seq"
                ).fetchall()
                if key not in self.delivered
            ][:limit]
            rows = session.execute(
                SELECT_EVENTS, [[key[0] for key in keys], [key[1] for key in keys]]
            ).fetchall()
        for start in range(0, len(rows), self.batch_rows):
            self.deliver(rows[start : start + self.batch_rows], op=op)
        self.delivered.update(keys)
        return len(keys)

    def deliver(self, rows: Iterable[tuple[Any, ...]], *, op: str = "c") -> None:
        """Write these events and what follows from them; the progress last, as the worker does."""
        batch = fold_batch(
            [self._record(row, op) for row in rows],
            consumer=VIEWS_CONSUMER,
            parked_at=datetime.now(UTC),
        )
        assert self.parks or not batch.dead_letters, batch.dead_letters[0]
        columns = dict(batch.columns)
        progress = columns.pop(PIPELINE_PROGRESS)
        for table, values in columns.items():
            self.sink.write({table: values})
            self.between_tables()
        self.sink.note_minutes(batch.minutes)
        self.between_tables()
        self.sink.write({PIPELINE_PROGRESS: progress})

    def _record(self, row: tuple[Any, ...], op: str) -> Record:
        *values, txid, committed_at_ms = row
        payment_id = str(values[0])
        partition = partition_of(payment_id)
        self.offsets[partition] += random.choice((1, 1, 1, 2))  # transaction markers leave gaps
        envelope = {
            "op": op,
            "source": {"txId": int(txid), "ts_ms": committed_at_ms, "lsn": 1},
            "after": dict(zip(COLUMNS, values, strict=True)),
        }
        return Record(
            PAYMENTS_TOPIC,
            partition,
            self.offsets[partition],
            committed_at_ms,
            msgspec.json.encode({"payment_id": payment_id}),
            msgspec.json.encode(envelope),
        )


@dataclass(slots=True, kw_only=True)
class World:
    """Both databases, what fills one from the other, and the command under test."""

    database: Database
    clickhouse_url: str
    client: Client
    pump: Pump

    @classmethod
    def of(cls, database: Database, clickhouse_url: str) -> "World":
        settings = ClickHouseSettings.load(clickhouse_url)
        return cls(
            database=database,
            clickhouse_url=clickhouse_url,
            client=connect(settings),
            pump=Pump(database.reader, ClickHouseSink(settings)),
        )

    @property
    def settings(self) -> VerifySettings:
        """Of the verification: the reader's DSN, nothing more."""
        return VerifySettings(
            postgres_reader_dsn=SecretStr(self.database.reader),
            clickhouse_url=SecretStr(self.clickhouse_url),
        )

    def verify(
        self,
        timeout: float = 60.0,
        rows: int = 20,
        window: Window | None = None,
        on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None,
    ) -> Report:
        """Run a verification."""
        options = Options(
            timeout_seconds=timeout,
            rows=rows,
            window=window or Window(),
            on_progress=on_progress,
        )
        return verify(self.settings, options)

    def run(self, sql: str) -> None:
        """Change ClickHouse behind the pipeline's back, and wait until it is done."""
        settings = {"mutations_sync": 2, "async_insert": 0} if sql.startswith("ALTER") else {}
        self.client.command(sql, settings=settings)

    def replace(self, table: str, columns: str, where: str) -> None:
        """Replace rows of a view by ones with other columns: of equal versions the later insert
        wins."""
        self.run(f"INSERT INTO {table}_raw {changed(table, columns, where)}")

    def move(self, table: str, columns: str, where: str) -> None:
        """Take rows away and put them back with other columns, also of the key."""
        rows = self.client.query(changed(table, columns, where))
        assert rows.result_rows
        self.remove(table, where)
        if table == "ledger_entries":  # what is put back is copied again
            self.run(f"ALTER TABLE {RECENT_ENTRIES} DELETE WHERE {where}")
        self.client.insert(f"{table}_raw", rows.result_rows, column_names=rows.column_names)

    def remove(self, table: str, where: str) -> None:
        """Delete rows."""
        self.run(f"ALTER TABLE {table}_raw DELETE WHERE {where}")

    def one(self, sql: str) -> Any:
        """One value."""
        return self.client.query(sql).result_rows[0][0]

    def clear(self) -> None:
        """Empty views, and a pump that starts again."""
        for table in (*(f"{name}_raw" for name in TABLES), RECENT_ENTRIES, TOTALS):
            self.run(f"TRUNCATE TABLE {table}")
        self.pump.delivered.clear()
        self.pump.offsets[:] = [0] * PARTITIONS

    def roll_up(self) -> None:
        """Roll up all totals that are over, as if some time ago."""
        assert roll_up(self.clickhouse_url).anything

    def close(self) -> None:
        """Let go of connections."""
        self.pump.sink.close()
        self.client.close()


def changed(table: str, columns: str, where: str) -> str:
    """SELECT of a view's rows with other columns; `where` is about the rows as they are."""
    return f"SELECT * REPLACE ({columns}) FROM (SELECT * FROM {table}_raw FINAL WHERE {where})"


def recorded_long_ago(database: Database) -> None:
    """Let all events be recorded long ago: their totals are rolled up by the day, from the ledger.

    They are all of one day, also if they were appended around midnight.
    """
    with psycopg.connect(database.superuser) as session:
        session.execute("ALTER TABLE payments DISABLE TRIGGER ALL")
        session.execute(
            "UPDATE payments SET recorded_at = recorded_at - (date_trunc('hour', now()) - %s)",
            [LONG_AGO],
        )
        session.execute("ALTER TABLE payments ENABLE TRIGGER ALL")


def finding(report: Report, check: str) -> Finding:
    """The first finding of a check, which must have diverged."""
    result = next(result for result in report.checks if result.name == check)
    assert result.verdict == "diverged", report.to_json()
    return result.findings[0]


def marketplace(payments: int, seed: int) -> list[list[Row]]:
    """Rows of a small marketplace, one list per transaction; payouts come last."""
    rng = random.Random(seed)
    transactions, released = [], 0
    for number in range(payments):
        rows, seller = _payment(rng, number)
        released += sum(row["available_delta_minor"] for row in rows if seller == SELLERS[0])
        transactions.append(rows)
    transactions += [_timed(rows, DAY + timedelta(days=5)) for rows in _strange(rng)]
    book = Book(direction=Direction.OUT, payment_id=_uuid(rng))
    payout = [book.request(amount=max(1, released // 2), seller_id=SELLERS[0])]
    payout += [book.event(EventType.SUBMITTED), book.event(EventType.PAID)]
    return [*transactions, _timed(payout, DAY + timedelta(days=9))]


def _uuid(rng: random.Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)


def _payment(rng: random.Random, number: int) -> tuple[list[Row], str]:
    seller = SELLERS[number % len(SELLERS)]
    book = Book(payment_id=_uuid(rng), currency="EUR" if number % 5 == 0 else "JPY")
    orders = [f"order-{number}-{index}" for index in range(rng.randint(1, 3))]
    rows = [
        book.create(order, amount=1000 + rng.randrange(9000), seller_id=seller) for order in orders
    ]
    for order in orders:
        rows.append(book.event(EventType.AUTHORIZED, order))
        rows.append(book.event(EventType.CAPTURED, order))
        if rng.random() < 0.5:
            rows.append(book.event(EventType.SHIPPED, order))
        if rng.random() < 0.6 or seller == SELLERS[0]:
            rows.append(book.event(EventType.RELEASED, order, book.orders[order].pending // 2))
        if rng.random() < 0.4:
            rows.append(book.event(EventType.REFUNDED, order, book.orders[order].amount // 3))
        if rng.random() < 0.2:
            rows.append(book.event(EventType.DISPUTE_OPENED, order, 50))
            rows.append(book.event(EventType.DISPUTE_LOST, order, 50))
    return _timed(rows, DAY + timedelta(days=number % 9, seconds=number)), seller


def _strange(rng: random.Random) -> list[list[Row]]:
    """Payments whose money the rules have no place for, and one that moved to another PSP."""
    late, above, moved = (Book(payment_id=_uuid(rng)) for _ in range(3))
    seller = SELLERS[1]
    return [
        [
            late.create("order-late", seller_id=seller),
            late.event(EventType.EXPIRED),
            late.event(EventType.STRAY_CAPTURED, amount=1200),
            late.event(EventType.HONOURED),
            late.event(EventType.STRAY_REFUNDED, amount=200),
        ],
        [
            above.create("order-above", seller_id=seller),
            above.event(EventType.AUTHORIZED, amount=900),
            above.event(EventType.CAPTURE_REQUESTED, amount=900),
            above.event(EventType.CAPTURED, amount=900),
            above.event(EventType.DISPUTE_OPENED, amount=900, excess=50),
            above.event(EventType.DISPUTE_WON),
            above.event(EventType.REFUNDED, amount=300),
            above.event(EventType.DISPUTE_OPENED, amount=600, excess=345),
            above.event(EventType.DISPUTE_LOST),
            # Every second row has a reference; what comes back has that with which it went.
            above.event(EventType.STRAY_DISPUTED, amount=40),
            above.event(EventType.DISPUTE_REVERSED),
            above.event(EventType.STRAY_DISPUTE_WON, amount=40),
            above.event(EventType.REFUND_RETURNED, amount=300),
        ],
        [
            moved.create("order-moved", seller_id=seller),
            moved.event(EventType.AUTHORIZED, amount=10),
            moved.event(EventType.UNKNOWN),
            moved.event(EventType.ATTEMPTED, psp="adyen", method="wallet"),
            moved.event(EventType.CAPTURED),
            moved.event(EventType.STRAY_CAPTURED, amount=70, psp="stripe", method="card"),
            moved.event(EventType.SHIPPED),
        ],
    ]


def _timed(rows: list[Row], start: datetime) -> list[Row]:
    for index, row in enumerate(rows):
        row["occurred_at"] = start + timedelta(minutes=index, microseconds=index * 7)
        row["details"] = msgspec.json.encode({"n": index, "text": "ünïcode | \\ '"}).decode()
        row["psp_reference"] = row["psp_reference"] if index % 2 else None
    return rows


def append(dsn: str, transactions: Iterable[list[Row]]) -> None:
    """Append, one transaction each."""
    with psycopg.connect(dsn, autocommit=True) as session:
        for rows in transactions:
            with session.transaction():
                for row in rows:
                    insert(session, row)


def append_largest(dsn: str) -> None:
    """Append `LARGEST_ORDERS` orders of the largest amount of one seller, captured and released."""
    at = DAY.isoformat()
    with open_store(dsn) as store:
        for first in range(0, LARGEST_ORDERS, BATCH_ROWS):
            store.append_many(
                [
                    row
                    for number in range(first, first + BATCH_ROWS)
                    for row in decide_line(_largest(f"largest-{number}", at), psp="imported")
                ]
            )


def _largest(key: str, at: str) -> bytes:
    """A line of history: one order of the largest amount, captured and released whole."""
    order = {"order_id": key, "seller_id": SELLERS[0], "amount_minor": MAX_AMOUNT_MINOR}
    return msgspec.json.encode(
        {
            "idempotency_key": key,
            "buyer_id": "buyer-1",
            "currency": "IRR",
            "method": "card",
            "created_at": at,
            "orders": [order | {"commission_minor": 0, "logistics_fee_minor": 0}],
            "events": [{"type": "captured", "at": at}, {"type": "released", "at": at}],
        }
    )
