"""Nothing in `payments` is ever changed, by nobody, whichever way it is tried."""

from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from schemas.lifecycle import EventType as E
from schemas.postgres.guard_codes import GuardCode
from tests.integration.postgres.database import Database, Refused, insert
from tests.integration.postgres.rows import Book

pytestmark = pytest.mark.integration

REFUSED = Refused(why=GuardCode.APPEND_ONLY, field=None)
NOT_PERMITTED = Refused(why="42501", field=None)
PARTITIONS = tuple(f"payments_p{number:02}" for number in range(16))
FIRST_PARTITION = PARTITIONS[0]

STATEMENTS = {
    "update": "UPDATE public.{table} SET amount_minor = 1",
    "update of nothing": "UPDATE public.{table} SET amount_minor = 1 WHERE false",
    "update to the same": "UPDATE public.{table} SET amount_minor = amount_minor",
    "delete": "DELETE FROM public.{table}",
    "delete of nothing": "DELETE FROM public.{table} WHERE seq < 0",
    "truncate": "TRUNCATE public.{table}",
    "truncate cascade": "TRUNCATE public.{table} RESTART IDENTITY CASCADE",
    "merge update": (
        "MERGE INTO public.{table} old USING (SELECT 1) one ON true"
        " WHEN MATCHED THEN UPDATE SET amount_minor = 1"
    ),
    "merge delete": (
        "MERGE INTO public.{table} old USING (SELECT 1) one ON true WHEN MATCHED THEN DELETE"
    ),
    "upsert": (
        "INSERT INTO public.{table} SELECT * FROM public.{table}"
        " ON CONFLICT (payment_id, seq) DO UPDATE SET amount_minor = 1"
    ),
}


@pytest.fixture(scope="module", autouse=True)
def some_rows(database: Database) -> Iterator[None]:
    """Every partition has rows."""
    with psycopg.connect(database.writer) as session:
        for _ in range(200):
            book = Book()
            insert(session, book.create(), book.event(E.AUTHORIZED))
    with psycopg.connect(database.owner) as session:
        for partition in PARTITIONS:
            query = sql.SQL("SELECT FROM public.{} LIMIT 1").format(sql.Identifier(partition))
            assert session.execute(query).fetchone() is not None
    yield


def _refusal(dsn: str, statement: str, table: str, *, replica: bool = False) -> Refused | None:
    with psycopg.connect(dsn) as session:
        if replica:
            session.execute("SET session_replication_role = replica")
        try:
            session.execute(sql.SQL(statement).format(table=sql.Identifier(table)))
        except psycopg.Error as error:
            return Refused.of(error)
        session.rollback()
    return None


@pytest.mark.parametrize("name", STATEMENTS)
@pytest.mark.parametrize("table", ["payments", FIRST_PARTITION])
def test_a_change_is_refused(database: Database, name: str, table: str) -> None:
    assert _refusal(database.owner, STATEMENTS[name], table) == REFUSED
    assert _refusal(database.superuser, STATEMENTS[name], table) == REFUSED
    assert _refusal(database.writer, STATEMENTS[name], table) == NOT_PERMITTED


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_session_that_calls_itself_a_replica_is_refused(database: Database, name: str) -> None:
    assert _refusal(database.superuser, STATEMENTS[name], "payments", replica=True) == REFUSED
    assert _refusal(database.superuser, STATEMENTS[name], FIRST_PARTITION, replica=True) == REFUSED


@pytest.mark.parametrize("partition", PARTITIONS)
def test_every_partition_is_kept(database: Database, partition: str) -> None:
    for name in ("update", "delete", "truncate"):
        assert _refusal(database.owner, STATEMENTS[name], partition) == REFUSED


def test_a_replica_cannot_bring_rows_past_the_guard(database: Database) -> None:
    with psycopg.connect(database.superuser) as session:
        session.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.DatabaseError) as caught:
            insert(session, Book().create() | {"seq": 2})
    assert caught.value.sqlstate == GuardCode.SEQ_GAP


def test_a_conflict_that_does_nothing_is_no_change(writer: psycopg.Connection) -> None:
    row = Book().create()
    insert(writer, row)
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    cursor = writer.execute(
        sql.SQL("INSERT INTO public.payments ({}) VALUES ({}) ON CONFLICT DO NOTHING").format(
            names, sql.SQL(", ").join([sql.Placeholder()] * len(row))
        ),
        list(row.values()),
    )
    assert cursor.rowcount == 0
