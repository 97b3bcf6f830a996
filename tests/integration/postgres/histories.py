"""Short legal histories whose last row a test makes illegal."""

from dataclasses import dataclass
from typing import Any

from schemas.lifecycle import Direction
from schemas.lifecycle import EventType as E
from tests.integration.postgres.rows import Book, Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The last row of `rows` is refused, for `why`, at `field` (None: the constraint tells)."""

    name: str
    rows: list[Row]
    why: str
    field: str | None = None


def created(**changes: Any) -> list[Row]:
    """A payment's first row, changed."""
    return [Book().create() | changes]


def paid(*events: E, last: dict[str, Any] | None = None) -> list[Row]:
    """An order created and captured, then `events` with their whole amounts; the last one changed.

    The last row's own amounts follow from the events, `last` overrides single fields of it.
    """
    book = Book()
    rows = [book.create(), *(book.event(event) for event in (E.CAPTURED, *events))]
    return [*rows[:-1], rows[-1] | (last or {})]


def history(*events: tuple[E, int | None], last: dict[str, Any] | None = None) -> list[Row]:
    """An order of 1000 (100 commission, 50 logistics) created, then events with amounts."""
    book = Book()
    rows = [book.create(), *(book.event(event, amount=amount) for event, amount in events)]
    return [*rows[:-1], rows[-1] | (last or {})]


def story(*events: tuple[E, dict[str, Any]], last: dict[str, Any] | None = None) -> list[Row]:
    """As `history`, with any fields of `Book.event`."""
    book = Book()
    rows = [book.create(), *(book.event(event, **fields) for event, fields in events)]
    return [*rows[:-1], rows[-1] | (last or {})]


def with_shares(*events: tuple[E, int, tuple[int, int, int]]) -> list[Row]:
    """As `history`, with (commission, logistics fee, seller's share) of each event."""
    book = Book()
    rows = [book.create()]
    rows += [book.event(event, amount=amount, shares=shares) for event, amount, shares in events]
    return rows


def funded(seller_id: str = "seller-1", currency: str = "EUR") -> list[Row]:
    """A seller with 850 to be paid."""
    book = Book(currency=currency)
    rows = [book.create(seller_id=seller_id), book.event(E.CAPTURED)]
    return [*rows, book.event(E.RELEASED, amount=850)]


def payout(*events: E, amount: int = 850, last: dict[str, Any] | None = None) -> list[Row]:
    """A seller with 850, a payout of `amount`, then `events`; the last row changed."""
    book = Book(direction=Direction.OUT)
    rows = [*funded(), book.request(amount=amount), *(book.event(event) for event in events)]
    return [*rows[:-1], rows[-1] | (last or {})]


def two_orders(**changes: Any) -> list[Row]:
    """Two orders of one payment, then the second one authorized, with changes."""
    book = Book()
    rows = [book.create("order-1"), book.create("order-2", seller_id="seller-2")]
    return [*rows, book.event(E.AUTHORIZED, "order-2") | changes]


def two_captures(*between: E, same_request: bool = False) -> list[Row]:
    """A capture of the first order requested, events of it, then a capture of the second one."""
    book = Book()
    rows = [book.create("order-1"), book.create("order-2")]
    rows += [book.event(E.AUTHORIZED, order_id) for order_id in ("order-1", "order-2")]
    rows += [book.event(event, "order-1", amount=amount) for event, amount in (
        (E.CAPTURE_REQUESTED, 100), *((event, None) for event in between)
    )]  # fmt: skip
    last = book.event(E.CAPTURE_REQUESTED, "order-2", amount=100)
    key = {"idempotency_key": rows[-1]["idempotency_key"]} if same_request else {}
    return [*rows, last | key]


def late_order() -> list[Row]:
    """A second order that joins after the first one was authorized."""
    book = Book()
    return [book.create(), book.event(E.AUTHORIZED), book.create("order-2")]


def forked(first: E, second: E) -> list[Row]:
    """Two events that both follow the first row of a payment."""
    one = Book()
    rows = [one.create(), one.event(first)]
    other = Book(payment_id=one.payment_id)
    other.create()
    return [*rows, other.event(second)]


def created_twice() -> list[Row]:
    """An order that is created again."""
    book = Book()
    return [book.create(), book.create()]


def second_order_of_payout() -> list[Row]:
    """A payout for which a second order is requested."""
    book = Book(direction=Direction.OUT)
    rows = [*funded(), book.request(amount=100)]
    return [*rows, book.event(E.REQUESTED, amount=100) | {"order_id": "order-2"}]


def one_more(rows: list[Row], field: str, by: int) -> list[Row]:
    """The rows, the last one's `field` changed by `by`."""
    return [*rows[:-1], rows[-1] | {field: rows[-1][field] + by}]
