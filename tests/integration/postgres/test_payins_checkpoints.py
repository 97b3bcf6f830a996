"""Checkpoints in PostgreSQL: a start reads what is new, misses nothing, and trusts no late row."""

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import msgspec
import psycopg
import pytest

from payins.catch_up import CatchUp
from payins.checkpoints import Checkpoint, Checkpoints
from payins.pending import PendingMemory
from payins.rebuild import Row, Table
from schemas.lifecycle import EventType, Status
from stack.endpoints import Endpoints
from tests.integration.postgres.database import Database, insert, new_database
from tests.integration.postgres.rows import Book
from tests.model_table import ModelTable, left
from writer.migrate import migrate

pytestmark = pytest.mark.integration

PARTITIONS = 4
EVERY = frozenset(range(PARTITIONS))
LONG_AGO = datetime(2025, 1, 1, tzinfo=UTC)

# Rows as they are after years; only a superuser can say when a row was recorded.
_INSERT = """
INSERT INTO public.payments
SELECT payment_id, seq, event_type, status, 'open', 'none', direction, order_id, 'seller', 'buyer',
    'EUR', 500, 0, 0, 500, 500, 500, 0, 0, 0, 0, 0, 0, 'stripe', 'pi_1', method, 'key', 1,
    details::jsonb, at, at
"""
_OLD = f"""
{_INSERT}
FROM generate_series(%(first)s::int, %(last)s::int) AS number,
    LATERAL (SELECT %(at)s::timestamptz + number * interval '1 second' AS at,
        md5(number::text)::uuid AS payment_id, 'in' AS direction, 'order' AS order_id,
        'card' AS method, '{{"flow": "direct"}}' AS details) AS payment,
    unnest(%(events)s::text[], %(statuses)s::text[])
        WITH ORDINALITY AS event (event_type, status, seq)
"""
_ROW = f"""
{_INSERT}
FROM (VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)) AS row (payment_id, seq, direction, event_type,
    status, order_id, method, details, at)
"""
# The guards fire always, and overwrite the time; the owner of the triggers can turn them off.
_GUARDS = """
DO $$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN
        SELECT relid FROM pg_partition_tree('public.payments') WHERE isleaf
    LOOP
        EXECUTE format('ALTER TABLE %s {} TRIGGER payments_guard', partition);
    END LOOP;
END
$$
"""
PAID = [(EventType.CREATED, Status.CREATED), (EventType.CAPTURED, Status.CAPTURED)]
OPEN = PAID[:1]


@pytest.fixture
def database(endpoints: Endpoints) -> Iterator[Database]:
    """A database of a test's own: the tests look at the whole table."""
    with new_database(endpoints) as database:
        migrate(database.owner)
        yield database


@contextmanager
def unguarded(database: Database) -> Iterator[psycopg.Connection]:
    """A transaction without guards."""
    with psycopg.connect(database.superuser) as session:
        session.execute(_GUARDS.replace("{}", "DISABLE").encode())
        yield session
        session.execute(_GUARDS.replace("{}", "ENABLE ALWAYS").encode())


def old_payments(
    database: Database,
    first: int,
    last: int,
    rows: Sequence[tuple[EventType, Status]],
    at: datetime = LONG_AGO,
) -> set[UUID]:
    """Payments of the past; return their ids."""
    events, statuses = ([each.value for each in words] for words in zip(*rows, strict=True))
    values = {"at": at, "first": first, "last": last, "events": events, "statuses": statuses}
    with unguarded(database) as session:
        session.execute(_OLD, values)
        found = session.execute(
            "SELECT md5(number::text)::uuid FROM generate_series(%s::int, %s::int) AS number",
            [first, last],
        ).fetchall()
    return {payment_id for (payment_id,) in found}


def new_payment(database: Database) -> UUID:
    """A payment that is pending now, past the guards."""
    book = Book()
    with psycopg.connect(database.writer) as writer:
        insert(writer, {**book.create(), "details": '{"flow": "direct"}'})
    return book.payment_id


def start(database: Database, *, limit: int = 10_000) -> set[UUID]:
    """A worker's start; return what it remembers."""
    memory = PendingMemory(limit)
    catch_up = CatchUp(
        memory=memory,
        table=Table(database.writer),
        checkpoints=Checkpoints(database.writer, PARTITIONS),
        partitions=PARTITIONS,
    )
    assert asyncio.run(catch_up.start(EVERY)) == EVERY
    return {UUID(str(each)) for found in memory.by_partition().values() for each in found}


def blocks(database: Database) -> int:
    """Blocks of the table that anyone has read so far."""
    with psycopg.connect(database.superuser, autocommit=True) as session:
        session.execute("SELECT pg_stat_force_next_flush()")
        [(count,)] = session.execute(
            "SELECT sum(heap_blks_read + heap_blks_hit)::bigint FROM pg_statio_user_tables"
            " WHERE relname LIKE 'payments\\_p%%'",
            [],
        ).fetchall()
        return int(count)


def test_the_second_start_reads_what_is_new_and_not_what_is_old(database: Database) -> None:
    old = old_payments(database, 1, 5, OPEN)
    old_payments(database, 6, 80_000, PAID)
    with psycopg.connect(database.superuser, autocommit=True) as session:
        session.execute("VACUUM public.payments")  # it also summarizes the index of times
    before = blocks(database)
    assert start(database) == old
    first_start = blocks(database) - before
    assert first_start > 80_000
    new = {new_payment(database) for _ in range(3)}
    before = blocks(database)
    assert start(database) == old | new
    second_start = blocks(database) - before
    assert second_start < first_start / 20, (first_start, second_start)


def test_without_the_checkpoints_everything_is_read_again(database: Database) -> None:
    old = old_payments(database, 1, 5, OPEN)
    assert start(database) == old
    older = old_payments(database, 6, 7, OPEN)  # nobody can append these; a full read finds them
    assert start(database) == old
    with psycopg.connect(database.superuser) as session:
        session.execute("TRUNCATE public.payins_checkpoints")
    assert start(database) == old | older


def test_a_memory_without_room_claims_nothing(database: Database) -> None:
    old = old_payments(database, 1, 20, OPEN)
    assert len(start(database, limit=10)) == 10
    assert start(database) == old


def test_a_week_of_outage_is_read_completely(database: Database) -> None:
    """In spans of time, each a statement: longer ones where little happened."""
    week_ago = datetime.now(UTC) - timedelta(days=7)
    old = old_payments(database, 1, 5, OPEN)
    assert start(database) == old
    with psycopg.connect(database.superuser) as session:
        session.execute("UPDATE public.payins_checkpoints SET complete_to = %s", [week_ago])
    missed = old_payments(database, 100, 5_000, OPEN, at=week_ago)
    for hour in range(10, 168, 20):
        number = 100_000 + hour
        at = week_ago + timedelta(hours=hour, seconds=-number)
        missed |= old_payments(database, number, number, OPEN, at=at)
    assert start(database, limit=50_000) == old | missed


def test_what_rows_of_a_time_left_open_is_asked_of_the_table(database: Database) -> None:
    """The statement finds what the model of the property tests finds."""
    model = ModelTable(random.Random(1))
    for _ in range(400):
        model.append()
        model.commit()
    rows = [row for stream in model.visible.values() for row in stream]
    with unguarded(database) as session:
        for row in rows:
            session.execute(_ROW, msgspec.structs.astuple(row))
    table = Table(database.writer)

    async def found(since: datetime, until: datetime) -> set[UUID]:
        return {each async for some in table.left_open(since, until) for each in some}

    times = sorted(row.recorded_at for row in rows)
    for since, until in zip(times[::20], times[5::20], strict=False):
        expected = {each for each, stream in model.visible.items() if left(stream, since, until)}
        assert asyncio.run(found(since, until)) == expected
    streams = asyncio.run(whole(table))
    assert streams == {each: list(stream) for each, stream in model.visible.items()}


async def whole(table: Table) -> dict[UUID, Sequence[Row]]:
    return {stream[0].payment_id: stream async for page in table.streams() for stream in page}


def test_streams_are_whole_wherever_a_page_ends(database: Database) -> None:
    old = old_payments(database, 1, 10, PAID)
    for page_rows in (1, 3, 20, 21):
        streams = asyncio.run(whole(Table(database.writer, page_rows=page_rows)))
        assert streams.keys() == old
        assert {len(stream) for stream in streams.values()} == {2}


# -- what is kept


def test_the_newest_statement_counts_and_other_topics_have_their_own(database: Database) -> None:
    checkpoints = Checkpoints(database.writer, PARTITIONS)
    late = Checkpoint(complete_to=LONG_AGO, pending=[uuid4()])
    newer = Checkpoint(complete_to=LONG_AGO + timedelta(seconds=1), pending=[uuid4(), uuid4()])
    empty = Checkpoint(complete_to=LONG_AGO, pending=[])

    async def save_and_load() -> dict[int, Checkpoint]:
        await checkpoints.save({0: newer, 1: empty})
        await checkpoints.save({0: late})
        assert await Checkpoints(database.writer, PARTITIONS + 1).load(EVERY) == {}
        return await checkpoints.load(EVERY)

    assert asyncio.run(save_and_load()) == {0: newer, 1: empty}


# -- when a time counts as complete


def now_is_final(database: Database) -> bool:
    _, is_final = asyncio.run(Checkpoints(database.writer, PARTITIONS).now())
    return is_final


def test_a_transaction_that_has_appended_holds_the_time_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("payins.checkpoints.LOOKS", 2)
    book = Book()
    assert now_is_final(database)
    with psycopg.connect(database.writer) as session:
        insert(session, book.create())
        assert not now_is_final(database)
        session.commit()
        assert now_is_final(database)
        [(partition,)] = session.execute(
            "SELECT tableoid::regclass::text FROM public.payments"
        ).fetchall()
    with psycopg.connect(database.owner) as session:
        insert(session, book.event(EventType.AUTHORIZED), table=partition)
        assert not now_is_final(database)
        session.rollback()
        assert now_is_final(database)


def test_a_reader_does_not_hold_the_time_up(database: Database) -> None:
    with psycopg.connect(database.reader) as session:
        session.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM public.payments")
        assert now_is_final(database)
