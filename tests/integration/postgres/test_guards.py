"""Everything illegal, tried as SQL, as the writer and as the owner.

Each case is a legal history whose last row is made illegal; the database must accept all rows but
the last and say why it refused that one.
"""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from schemas.errors import InputError
from schemas.events import COLUMNS, EARLIEST
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.lifecycle import EventType as E
from schemas.money import CURRENCY_ENDS, CURRENCY_EXPONENTS, MAX_AMOUNT_MINOR, check_currency
from schemas.postgres.guard_codes import GuardCode
from schemas.postgres.row_rules import ROW, ROW_RULES
from tests.integration.postgres.cases_of_histories import HISTORIES
from tests.integration.postgres.cases_of_rows import ROWS
from tests.integration.postgres.database import Database, Refused, insert, refusal
from tests.integration.postgres.histories import Case, paid
from tests.integration.postgres.rows import WRITTEN_COLUMNS, Book

ROLES = ("writer", "owner")
CASES = [*HISTORIES, *ROWS]


@pytest.mark.integration
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_illegal_row_is_refused(case: Case, role: str, request: pytest.FixtureRequest) -> None:
    connection: psycopg.Connection = request.getfixturevalue(role)
    *legal, illegal = case.rows
    for row in legal:
        insert(connection, row)
    refused = refusal(connection, illegal)
    assert refused is not None, "it was accepted"
    assert refused.why == case.why
    if case.field:
        assert refused.field == case.field


def test_every_refusal_is_tried() -> None:
    tried = {case.why for case in CASES}
    # These two are about more than one row: test_append_only.py and test_races.py.
    elsewhere = {GuardCode.APPEND_ONLY, GuardCode.PAYOUT_ISOLATION}
    assert tried >= (set(GuardCode) - elsewhere) | set(ROW_RULES)


@pytest.mark.integration
def test_a_refusal_says_what_is_wrong_and_what_to_do(writer: psycopg.Connection) -> None:
    rows = paid(E.REFUNDED, last={"refunded_minor": 7})
    insert(writer, *rows[:-1])
    with pytest.raises(psycopg.DatabaseError) as caught, writer.transaction():
        insert(writer, rows[-1])
    diagnosis = caught.value.diag
    assert diagnosis.message_primary == "refunded_minor: is 7; expected 1000"
    assert diagnosis.message_detail == (
        f"payment_id {rows[-1]['payment_id']}, seq 3, order_id order-1, event_type refunded"
    )
    assert diagnosis.message_hint is not None
    assert diagnosis.table_name == "payments"


@pytest.mark.integration
def test_limits_are_those_of_the_words(writer: psycopg.Connection) -> None:
    book = Book()
    longest = "!" * (MAX_ID_LENGTH - 1) + "~"
    row = book.create(longest, amount=MAX_AMOUNT_MINOR, seller_id=longest) | {
        "buyer_id": longest,
        "idempotency_key": "k" * MAX_IDEMPOTENCY_KEY_LENGTH,
        "psp_reference": None,
    }
    assert refusal(writer, row) is None


@pytest.mark.integration
def test_the_table_has_the_columns_of_the_event(writer: psycopg.Connection) -> None:
    rows = writer.execute(
        "SELECT attname, attnotnull FROM pg_attribute"
        " WHERE attrelid = 'public.payments'::regclass AND attnum > 0 ORDER BY attnum"
    ).fetchall()
    # In any order: a column that was added later stands last in the table.
    assert sorted(name for name, _ in rows) == sorted(COLUMNS)
    assert {name for name, not_null in rows if not not_null} == {"buyer_id", "psp_reference"}


@pytest.mark.integration
def test_recorded_at_is_the_database_s_word(writer: psycopg.Connection) -> None:
    row = Book().create() | {"recorded_at": "1999-01-01 00:00:00+00"}
    insert(writer, row)
    recorded = writer.execute(
        "SELECT recorded_at BETWEEN transaction_timestamp() AND clock_timestamp()"
        " FROM public.payments WHERE payment_id = %s",
        [row["payment_id"]],
    ).fetchone()
    assert recorded == (True,)


@pytest.mark.integration
def test_a_bad_row_in_the_middle_of_a_statement_refuses_it_whole(
    writer: psycopg.Connection,
) -> None:
    rows = paid(E.SHIPPED, E.DELIVERED)
    rows[2] = rows[2] | {"captured_minor": 1}
    assert refusal(writer, *rows) == Refused(why="PU005", field="captured_minor")
    assert _count(writer, rows[0]["payment_id"]) == 0
    assert refusal(writer, *paid(E.SHIPPED, E.DELIVERED)) is None


@pytest.mark.integration
def test_a_partition_written_directly_is_guarded_too(
    database: Database, owner: psycopg.Connection
) -> None:
    row = Book().create()
    (partition,) = _one(
        owner,
        "SELECT inhrelid::regclass::text FROM pg_inherits"
        " WHERE inhparent = 'public.payments'::regclass"
        " AND satisfies_hash_partition(inhparent, 16, right(inhrelid::regclass::text, 2)::int,"
        " %s::uuid)",
        [row["payment_id"]],
    )
    assert refusal(owner, row | {"seq": 2}, table=partition) == Refused(why="PU002", field="seq")
    assert refusal(owner, row, table=partition) is None
    with psycopg.connect(database.writer) as writer:
        assert refusal(writer, row, table=partition) == Refused(why="42501", field=None)


def _count(connection: psycopg.Connection, payment_id: UUID) -> int:
    (count,) = _one(
        connection, "SELECT count(*) FROM public.payments WHERE payment_id = %s", [payment_id]
    )
    return int(count)


def _one(connection: psycopg.Connection, query: str, values: list[Any]) -> tuple[Any, ...]:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row


def test_rows_are_complete() -> None:
    assert tuple(Book().create()) == WRITTEN_COLUMNS


@pytest.mark.integration
def test_the_guards_take_the_currencies_that_the_writer_takes(
    owner: psycopg.Connection,
) -> None:
    tried = {
        (code, end + timedelta(microseconds=shift))
        for code in (*CURRENCY_EXPONENTS, "XXX", "XTS", "XAU", "USN", "eur", "EU", "")
        for end in {CURRENCY_ENDS.get(code, EARLIEST), datetime(2026, 11, 29, tzinfo=UTC)}
        for shift in (-1, 0)
    }
    condition = ROW_RULES["payments_currency"].condition.replace(ROW, "tried.")
    owner.execute("SET LOCAL TIME ZONE 'Pacific/Kiritimati'")
    taken = owner.execute(
        f"SELECT currency, occurred_at FROM unnest(%s::text[], %s::timestamptz[])"
        f" AS tried (currency, occurred_at) WHERE {condition}",
        [[code for code, _ in tried], [at for _, at in tried]],
    ).fetchall()
    assert set(taken) == {(code, at) for code, at in tried if _is_taken(code, at)}


def _is_taken(currency: str, begins_at: datetime) -> bool:
    try:
        check_currency(currency, begins_at)
    except InputError:
        return False
    return True
