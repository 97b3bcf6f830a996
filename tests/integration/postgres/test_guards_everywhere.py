"""The guards hold on every way in, on every partition, in long payments, and after a migration."""

from itertools import chain

import psycopg
import pytest

from schemas.lifecycle import EventType as E
from schemas.postgres.generate import guards_sql
from schemas.postgres.migrations import Migration, load
from tests.integration.postgres.cases_of_rows import CHECKS
from tests.integration.postgres.database import Database, Refused, copy, insert, refusal
from tests.integration.postgres.histories import Case, paid
from tests.integration.postgres.rows import Book, Row
from writer.migrate import migrate

pytestmark = pytest.mark.integration

ORDERS = tuple(f"order-{number}" for number in range(1, 41))
"""More than the rows of a payment that the guards look for without the index of long payments."""


@pytest.mark.parametrize("case", CHECKS, ids=lambda case: case.name)
def test_a_replica_cannot_copy_a_row_that_is_wrong_by_itself(
    case: Case, database: Database
) -> None:
    with psycopg.connect(database.superuser) as session:
        session.execute("SET session_replication_role = replica")
        with pytest.raises(psycopg.errors.CheckViolation) as caught:
            copy(session, case.rows)
    assert caught.value.diag.constraint_name == case.why


def test_a_broken_rule_is_told_with_its_field_and_what_to_do(writer: psycopg.Connection) -> None:
    row = Book().create() | {"seller_id": "a b"}
    with pytest.raises(psycopg.errors.CheckViolation) as caught, writer.transaction():
        insert(writer, row)
    diagnosis = caught.value.diag
    assert diagnosis.message_primary == (
        "seller_id: must be 1 to 128 printable ASCII characters without spaces"
    )
    assert (diagnosis.column_name, diagnosis.table_name) == ("seller_id", "payments")
    assert diagnosis.message_hint is not None


def test_every_partition_has_a_guard_that_always_fires(owner: psycopg.Connection) -> None:
    guards = owner.execute(
        "SELECT relname, proname, tgenabled::text FROM pg_inherits"
        " JOIN pg_class ON pg_class.oid = inhrelid"
        " LEFT JOIN pg_trigger ON tgrelid = inhrelid AND tgname = 'payments_guard'"
        " LEFT JOIN pg_proc ON pg_proc.oid = tgfoid"
        " WHERE inhparent = 'public.payments'::regclass ORDER BY 1"
    ).fetchall()
    names = [f"payments_p{number:02}" for number in range(16)]
    assert guards == [(name, f"{name}_guard", "A") for name in names]


def _long_payment(*events: tuple[E, int | None]) -> tuple[Book, list[Row]]:
    """A payment of many orders of 1000 (100 commission, 50 logistics), each event for all.

    The rows of an event have one key, as those of a command have: together they are one request.
    """
    book = Book()
    rows = [book.create(order) for order in ORDERS]
    for number, (event, amount) in enumerate(events):
        key = {"idempotency_key": f"command-{number}"}
        rows += [book.event(event, order, amount) | key for order in ORDERS]
    return book, rows


def test_a_long_payment_is_accepted(writer: psycopg.Connection) -> None:
    _, rows = _long_payment(
        (E.AUTHORIZED, None), (E.CAPTURED, 400), (E.CAPTURED, 600), (E.RELEASED, 300)
    )
    assert refusal(writer, *rows) is None


def test_captures_in_several_parts_are_accepted(writer: psycopg.Connection) -> None:
    _, rows = _long_payment(
        (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 400), (E.CAPTURED, 400),
        (E.CAPTURE_REQUESTED, 300), (E.CAPTURE_FAILED, None), (E.CAPTURE_REQUESTED, 600),
        (E.REFUNDED, 100), (E.CAPTURED, 600),
    )  # fmt: skip
    assert refusal(writer, *rows) is None


def test_requests_and_strays_of_a_long_payment_are_accepted(writer: psycopg.Connection) -> None:
    _, rows = _long_payment(
        (E.CANCEL_REQUESTED, None), (E.CANCEL_FAILED, None), (E.AUTHORIZED, 900),
        (E.CAPTURE_REQUESTED, 900), (E.CAPTURE_FAILED, None), (E.CAPTURE_REQUESTED, 800),
        (E.EXPIRED, None), (E.STRAY_CAPTURED, 1000), (E.HONOURED, 1000), (E.DISPUTE_OPENED, 700),
        (E.DISPUTE_LOST, None),
    )  # fmt: skip
    assert refusal(writer, *rows) is None


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[-1]], ids=["early", "late"])
@pytest.mark.parametrize(
    ("event", "amount", "why"),
    [
        (E.CAPTURE_REQUESTED, 100, "PU014"),
        (E.CANCEL_FAILED, None, "PU015"),
    ],
)
def test_a_wrong_request_of_a_long_payment_is_refused(
    writer: psycopg.Connection, order: str, event: E, amount: int | None, why: str
) -> None:
    book, rows = _long_payment((E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 400))
    wrong = book.event(event, order, amount)
    assert refusal(writer, *rows) is None
    assert refusal(writer, wrong) == Refused(why=why, field="event_type")


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[-1]], ids=["early", "late"])
def test_money_in_suspense_is_each_order_s_own(writer: psycopg.Connection, order: str) -> None:
    book, rows = _long_payment((E.FAILED, None), (E.STRAY_CAPTURED, 400))
    wrong = book.event(E.HONOURED, order, 401)
    assert refusal(writer, *rows) is None
    assert refusal(writer, wrong) == Refused(why="PU016", field="amount_minor")


def test_a_payment_goes_on_where_it_was_after_strays_elsewhere(
    writer: psycopg.Connection,
) -> None:
    book = Book()
    rows = [
        book.create("order-1"),
        book.create("order-2"),
        book.event(E.UNKNOWN, "order-1"),
        book.event(E.UNKNOWN, "order-2"),
        book.event(E.ATTEMPTED, "order-1", psp="adyen", method="wallet"),
        book.event(E.ATTEMPTED, "order-2"),
        book.event(E.STRAY_CAPTURED, "order-1", psp="stripe", method="card"),
        book.event(E.STRAY_CAPTURED, "order-2", psp="stripe", method="card"),
        book.event(E.CAPTURED, "order-1"),
        book.event(E.STRAY_REFUNDED, "order-2", psp="stripe", method="card"),
        book.event(E.CAPTURED, "order-2"),
    ]
    assert refusal(writer, *rows) is None


@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[-1]], ids=["early", "late"])
@pytest.mark.parametrize(
    ("event", "amount", "shares", "why"),
    [
        (E.CAPTURED, 100, (61, 5, 34), "PU010"),
        (E.CAPTURED, 100, (10, 31, 59), "PU010"),
        (E.REFUNDED, 400, (41, 20, 339), "PU011"),
        (E.REFUNDED, 400, (40, 19, 341), "PU011"),
        (E.CREATED, 1000, (100, 50, 850), "PU008"),
    ],
)
def test_a_wrong_row_of_a_long_payment_is_refused(
    writer: psycopg.Connection,
    order: str,
    event: E,
    amount: int,
    shares: tuple[int, int, int],
    why: str,
) -> None:
    book, rows = _long_payment((E.CAPTURED, 400))
    wrong = book.event(event, order, amount, shares=shares)
    assert refusal(writer, *rows) is None
    refused = refusal(writer, wrong)
    assert refused is not None, "it was accepted"
    assert refused.why == why


def test_an_order_cannot_be_created_twice_in_a_long_payment(writer: psycopg.Connection) -> None:
    book, rows = _long_payment()
    assert refusal(writer, *rows) is None
    for order in (ORDERS[0], ORDERS[-2]):
        twice = book.create(order)
        book.seq -= 1
        assert refusal(writer, twice) == Refused(why="PU003", field="event_type")


def test_the_guards_can_be_applied_again_on_a_full_table(empty_database: Database) -> None:
    """As they will be when the lifecycle changes: the same file under the next number."""
    migrate(empty_database.owner)
    histories = [paid(E.SHIPPED, E.DELIVERED) for _ in range(20)]
    with psycopg.connect(empty_database.writer) as writer:
        insert(writer, *chain.from_iterable(rows[:-1] for rows in histories))
    again = Migration.of("0098_guards", guards_sql())
    assert migrate(empty_database.owner, [*load(), again]) == ["0098_guards"]
    with psycopg.connect(empty_database.writer) as writer:
        for rows in histories:
            wrong = rows[-1] | {"captured_minor": 1}
            assert refusal(writer, wrong) == Refused(why="PU005", field="captured_minor")
            assert refusal(writer, rows[-1]) is None


def test_no_rule_is_a_constraint(owner: psycopg.Connection) -> None:
    """PostgreSQL would read it anew for each statement."""
    left = owner.execute(
        "SELECT conname FROM pg_constraint"
        " WHERE conrelid = 'public.payments'::regclass AND contype = 'c'"
    ).fetchall()
    assert left == []
