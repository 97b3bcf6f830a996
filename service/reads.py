"""Handlers of lists and figures: what buyers, sellers and finance read.

Lists of payments come from PostgreSQL as they are now; figures come from ClickHouse with `as_of`,
the time up to which they provably hold everything.
"""

from collections.abc import Callable, Sequence
from datetime import date
from itertools import groupby
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from clickhouse_connect.driver.client import Client
from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from schemas.errors import InputError
from schemas.events import Event
from schemas.ids import check_id
from schemas.lifecycle import Direction
from service import answers, cursors, render
from service.listing import PAGE_MOST, Page, Wanted
from service.parts import caller_of, id_of, parts_of
from service.permissions import Operation, Reach, check_owner, directions, reach
from service.times import FIRST, LAST, days_between, period
from sinks import queries_figures as queries

LINES_MOST = 1_000
LIMIT_DEFAULT = 50

PaymentStatus = Literal[
    "created", "action_required", "processing", "unknown", "authorized", "captured", "failed",
    "cancelled", "expired",
]  # fmt: skip
TransactionStatus = Literal[
    "created", "action_required", "processing", "unknown", "authorized", "captured", "failed",
    "cancelled", "expired", "requested", "submitted", "paid", "returned",
]  # fmt: skip
_Row = TypeVar("_Row")


def _whole(text: object) -> object:
    """Refuse what Pydantic takes for a whole number beside plain digits, such as `1_0`."""
    if isinstance(text, str) and not (text.isascii() and text.isdecimal()):
        raise ValueError("give a whole number in digits")
    return text


_WHOLE = BeforeValidator(_whole)
_When = Annotated[str | None, Field(description="a day, or an RFC 3339 time")]


class Parameters(BaseModel):
    """Base of query parameters: unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @property
    def filters(self) -> list[tuple[str, object]]:
        """What a cursor belongs to."""
        return sorted(self.model_dump(exclude={"cursor", "limit"}).items())


class Period(Parameters):
    """A period of time: `from` is included, `to` too if it is a day."""

    from_: _When = Field(None, alias="from")
    to: _When = None


class PageOf(Parameters):
    """A page of a list."""

    limit: Annotated[int, Field(ge=1, le=PAGE_MOST), _WHOLE] = LIMIT_DEFAULT
    cursor: str | None = None


class PaymentsQuery(Period, PageOf):
    """Filters of a list of payments."""

    buyer_id: str | None = None
    seller_id: str | None = None
    status: PaymentStatus | None = None


class TransactionsQuery(Period, PageOf):
    """Filters of a user's transactions."""

    status: TransactionStatus | None = None
    direction: Literal["in", "out"] | None = None


class StatementQuery(Period):
    """A period of a statement, and a page of its lines."""

    limit: Annotated[int, Field(ge=1, le=LINES_MOST), _WHOLE] = LINES_MOST
    cursor: str | None = None


async def list_payments(request: Request, query: Annotated[PaymentsQuery, Query()]) -> Response:
    """List payments, newest first."""
    caller, listing = caller_of(request), parts_of(request).listing
    buyer_id = query.buyer_id
    for name, value in (("buyer_id", buyer_id), ("seller_id", query.seller_id)):
        if value is not None:
            id_of(value, name, "query")
    if reach(Operation.LIST_PAYMENTS, caller) is Reach.OWN:
        buyer_id = buyer_id or caller.subject
        check_owner(Operation.LIST_PAYMENTS, caller, buyer_id, "buyer_id")

    def keep(stream: Sequence[Event]) -> bool:
        return (query.status is None or render.status_of(stream) == query.status) and (
            query.seller_id is None or any(e.seller_id == query.seller_id for e in stream)
        )

    is_filtered = query.status is not None or (buyer_id is not None and query.seller_id is not None)
    filters = [("buyer", buyer_id), *query.filters]
    wanted = _wanted(query, filters, keep, is_filtered=is_filtered)
    if buyer_id is not None:
        page = await listing.of_buyer(buyer_id, wanted)
    else:
        page = await listing.of_all(query.seller_id, wanted)
    return _page_answer(page, [render.payment(stream) for stream in page.streams], filters)


async def user_transactions(
    request: Request, user_id: str, query: Annotated[TransactionsQuery, Query()]
) -> Response:
    """List what a user has paid and what was paid out to it, newest first."""
    caller = caller_of(request)
    check_owner(Operation.USER_TRANSACTIONS, caller, user_id, "user_id")
    id_of(user_id, "user_id", "path")
    allowed = directions(Operation.USER_TRANSACTIONS, caller)
    shown = [each for each in Direction if each in allowed and query.direction in (None, each)]

    def keep(stream: Sequence[Event]) -> bool:
        return query.status is None or render.transaction(stream)["status"] == query.status

    filters = [("user", user_id), *query.filters]
    wanted = _wanted(query, filters, keep, is_filtered=query.status is not None)
    page = await parts_of(request).listing.of_user(user_id, shown, wanted)
    return _page_answer(page, [render.transaction(stream) for stream in page.streams], filters)


def _wanted(query: Any, filters: object, keep: Any, *, is_filtered: bool) -> Wanted:
    lower, upper = period(query.from_, query.to)
    after = cursors.decode_position(query.cursor, filters) if query.cursor is not None else None
    return Wanted(
        lower=lower, upper=upper, after=after, limit=query.limit, keep=keep, is_filtered=is_filtered
    )


def _page_answer(page: Page, data: list[dict[str, Any]], filters: object) -> Response:
    following = cursors.encode_position(page.after, filters) if page.after is not None else None
    return answers.json({"data": data, "next_cursor": following})


async def buyer_orders(
    request: Request, buyer_id: str, query: Annotated[PageOf, Query()]
) -> Response:
    """List a buyer's orders, as the views have them."""
    check_owner(Operation.BUYER_ORDERS, caller_of(request), buyer_id, "buyer_id")
    id_of(buyer_id, "buyer_id", "path")
    parts = parts_of(request)
    filters = [("orders of", buyer_id)]
    after = ("", UUID(int=0))
    if query.cursor is not None:
        order_id, payment_id = cursors.decode(query.cursor, filters, (str, str))
        after = (_text(order_id), _uuid(payment_id))
    as_of = await parts.as_of.now()
    found = await parts.views.ask(
        lambda client: queries.orders_of(client, buyer_id, after, query.limit + 1)
    )
    shown, following = _page(
        found, query.limit, filters, lambda last: [last.order_id, str(last.payment_id)]
    )
    data = [order._asdict() for order in shown]
    return answers.json(
        {"buyer_id": buyer_id, "as_of": as_of, "data": data, "next_cursor": following}
    )


async def seller_revenue(
    request: Request, seller_id: str, query: Annotated[Period, Query()]
) -> Response:
    """What a seller earned in a period, by currency and day."""
    check_owner(Operation.SELLER_REVENUE, caller_of(request), seller_id, "seller_id")
    id_of(seller_id, "seller_id", "path")
    parts = parts_of(request)
    lower, upper = period(query.from_, query.to)
    first, last = days_between(lower, upper)
    as_of = await parts.as_of.now()
    days = await parts.views.ask(lambda client: queries.revenue_of(client, seller_id, first, last))
    currencies = [
        _revenue_in(currency, list(rows))
        for currency, rows in groupby(days, key=lambda day: day.currency)
    ]
    return answers.json({"seller_id": seller_id, "as_of": as_of, "data": currencies})


_SUMS = tuple(name for name in queries.RevenueOfDay._fields if name not in ("currency", "day"))


def _revenue_in(currency: str, days: Sequence[queries.RevenueOfDay]) -> dict[str, Any]:
    sums = {name: sum(getattr(day, name) for day in days) for name in _SUMS}
    shown = [
        {name: value for name, value in day._asdict().items() if name != "currency"} for day in days
    ]
    return {"currency": currency, **sums, "days": shown}


async def seller_balance(request: Request, seller_id: str) -> Response:
    """What we owe a seller now, by currency."""
    check_owner(Operation.SELLER_BALANCE, caller_of(request), seller_id, "seller_id")
    id_of(seller_id, "seller_id", "path")
    parts = parts_of(request)
    as_of = await parts.as_of.now()
    found = await parts.views.ask(lambda client: queries.balances_of(client, seller_id))
    data = [balance._asdict() for balance in found]
    return answers.json({"seller_id": seller_id, "as_of": as_of, "data": data})


async def seller_statement(
    request: Request, seller_id: str, query: Annotated[StatementQuery, Query()]
) -> Response:
    """A seller's balances before and after a period, and what changed them."""
    check_owner(Operation.SELLER_STATEMENT, caller_of(request), seller_id, "seller_id")
    id_of(seller_id, "seller_id", "path")
    parts = parts_of(request)
    lower, upper = period(query.from_, query.to)
    first, last = days_between(lower, upper)
    filters = [("statement of", seller_id), *query.filters]
    after = (date(1970, 1, 1), "", UUID(int=0), 0)
    if query.cursor is not None:
        after = _line_position(cursors.decode(query.cursor, filters, (str, str, str, int)))

    def ask(
        client: Client,
    ) -> tuple[list[queries.StatementSums], list[queries.StatementLine]]:
        return (
            queries.statement_sums(client, seller_id, first, last),
            queries.statement_lines(client, seller_id, first, last, after, query.limit + 1),
        )

    as_of = await parts.as_of.now()
    sums, lines = await parts.views.ask(ask)
    shown, following = _page(
        lines,
        query.limit,
        filters,
        lambda last: [str(last.day), last.currency, str(last.payment_id), last.seq],
    )
    return answers.json(
        {
            "seller_id": seller_id,
            "as_of": as_of,
            "balances": [each._asdict() for each in sums],
            "data": [line._asdict() for line in shown],
            "next_cursor": following,
        }
    )


def _page(
    found: Sequence[_Row], limit: int, filters: object, place: Callable[[_Row], list[int | str]]
) -> tuple[Sequence[_Row], str | None]:
    """The rows to show, and the cursor of the next page; `found` has one more if there is one."""
    shown = found[:limit]
    return shown, cursors.encode(place(shown[-1]), filters) if len(found) > limit else None


def _line_position(parts: Sequence[int | str]) -> tuple[date, str, UUID, int]:
    day, currency, payment_id, seq = parts
    try:
        found = date.fromisoformat(str(day))
    except ValueError:
        raise cursors.not_ours() from None
    if not FIRST.date() <= found < LAST.date() or not 0 <= int(seq) < 2**32:
        raise cursors.not_ours()
    return found, _text(currency), _uuid(payment_id), int(seq)


def _text(part: int | str) -> str:
    """An id in a cursor, which anybody can make up."""
    try:
        return check_id("cursor", str(part))
    except InputError:
        raise cursors.not_ours() from None


def _uuid(text: int | str) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise cursors.not_ours() from None
