"""Lists of payments and payouts, newest first, a page at a time.

PostgreSQL has the truth and finds rows by payment and by time; ClickHouse finds the payments of a
buyer and the payouts of a seller, except the newest. So a list of one party asks ClickHouse for ids
and PostgreSQL for those since `as_of`, and any other goes back in time through PostgreSQL, window
by window. Either way the pages' contents are read from
PostgreSQL, and a position is `(recorded_at, payment_id)` of a payment's first row, which never
changes: payments that are added meanwhile shift nothing.

A page does a limited amount of work. It may have fewer items than asked for, even none, and a
cursor all the same: then the list goes on there.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from clickhouse_connect.driver.client import Client

from schemas.events import Event
from schemas.ids import PaymentId
from schemas.lifecycle import Direction
from service.as_of import TRANSACTION_MOST, AsOf
from service.cursors import Position
from service.database import Database
from service.problems import Problem, unavailable
from service.views import Views
from sinks import queries_figures as queries
from writer.append import AsyncReader
from writer.store import TookTooLong

PAGE_MOST = 100
CANDIDATES_MOST = 500
"""Payments whose streams one page reads, to find those with the status asked for."""
ROWS_MOST = 10_000
"""Rows after which a page ends: payments of many orders would make an answer of many megabytes."""
STREAMS_AT_ONCE = 10
BEHIND_MOST = timedelta(hours=1)
"""How far back PostgreSQL is asked for what the views lack; views further behind hide payments."""
WINDOW, WINDOW_GROWS = timedelta(minutes=1), 8
"""Each window is eight times as long as the one before: the ninth reaches beyond ten years."""

_OF_IDS = """
SELECT payment_id, recorded_at FROM payments
WHERE payment_id = ANY(%(ids)s) AND seq = 1
    AND recorded_at >= %(lower)s AND recorded_at < %(upper)s
    AND (recorded_at, payment_id) < (%(at)s, %(id)s)
ORDER BY recorded_at DESC, payment_id DESC
LIMIT %(limit)s
"""
# Time and the block index find the newest rows; only these are looked through for one party.
_NEWEST = """
SELECT payment_id FROM payments
WHERE recorded_at >= %(since)s AND seq = 1 AND direction = ANY(%(directions)s)
    AND CASE direction WHEN 'in' THEN buyer_id ELSE seller_id END = %(user)s
"""
_OF_TIME = """
SELECT payment_id, recorded_at FROM payments
WHERE recorded_at >= %(lower)s AND recorded_at < %(upper)s
    AND seq = 1 AND direction = 'in'
    AND (recorded_at, payment_id) < (%(at)s, %(id)s)
ORDER BY recorded_at DESC, payment_id DESC
LIMIT %(limit)s
"""
_OF_SELLER = """
SELECT first.payment_id, first.recorded_at FROM payments AS first
WHERE first.recorded_at >= %(lower)s AND first.recorded_at < %(upper)s
    AND first.seq = 1 AND first.direction = 'in'
    AND (first.recorded_at, first.payment_id) < (%(at)s, %(id)s)
    AND (first.seller_id = %(seller)s OR EXISTS (
        SELECT FROM payments AS other
        WHERE other.payment_id = first.payment_id AND other.event_type = 'created'
            AND other.seller_id = %(seller)s))
ORDER BY first.recorded_at DESC, first.payment_id DESC
LIMIT %(limit)s
"""


class Found(NamedTuple):
    """A payment or payout by its first row."""

    payment_id: UUID
    recorded_at: datetime

    @property
    def position(self) -> Position:
        """Where it is in the list."""
        return Position(self.recorded_at, self.payment_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Streams, newest first; `after` is where the next page begins, None at the end."""

    streams: Sequence[tuple[Event, ...]]
    after: Position | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a list is of. `keep` judges a whole stream."""

    lower: datetime
    upper: datetime
    after: Position | None
    limit: int
    keep: Callable[[Sequence[Event]], bool] = lambda _: True
    is_filtered: bool = False
    """Whether `keep` refuses some."""


_FIRST_ID, _LAST_ID = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Candidates, newest first. `after`: the search can go on there; None if there are no more."""

    found: Sequence[Found]
    after: Position | None


class Listing:
    """Finds pages. It shares no connection and no thread with what is asked about one payment."""

    def __init__(self, database: Database, views: Views, as_of: AsOf, reader: AsyncReader) -> None:
        self._database = database
        self._views = views
        self._as_of = as_of
        self._reader = reader

    async def of_buyer(self, buyer_id: str, wanted: Wanted) -> Page:
        """The payments of one buyer."""
        return await self.of_user(buyer_id, [Direction.IN], wanted)

    async def of_user(self, user_id: str, directions: Sequence[Direction], wanted: Wanted) -> Page:
        """The payments of a buyer and the payouts of a seller who is the same user."""
        ids = await self._ids_of(user_id, directions) if directions else []
        return await self._page(await self._search_ids(ids, wanted), wanted)

    async def of_all(self, seller_id: str | None, wanted: Wanted) -> Page:
        """The payments of everybody, or those with an order of one seller, back in time."""
        return await self._page(await self._search_time(seller_id, wanted), wanted)

    async def _ids_of(self, user_id: str, directions: Sequence[Direction]) -> Collection[UUID]:
        """What the views have, and from PostgreSQL what they may not have yet.

        The views are proven to hold what was committed before `as_of`. A row is recorded a while
        before its commit, so that much more is looked through.
        """

        def known(client: Client) -> list[UUID]:
            found = []
            if Direction.IN in directions:
                found += queries.payments_of_buyer(client, user_id)
            if Direction.OUT in directions:
                found += queries.payouts_of_seller(client, user_id)
            return found

        as_of = await self._as_of.now()  # before the view is asked
        ids = await self._views.ask(known)
        since = await self._now() - BEHIND_MOST
        if as_of is not None:
            since = max(since, as_of - TRANSACTION_MOST)
        parameters = {"since": since, "user": user_id, "directions": [*directions]}
        try:
            newest = await self._database.rows(_NEWEST, parameters)
        except TookTooLong as error:
            raise too_slow() from error
        return {*ids, *(payment_id for (payment_id,) in newest)}

    async def _search_ids(self, ids: Collection[UUID], wanted: Wanted) -> Search:
        if not ids:
            return Search(found=(), after=None)
        most, more = _candidates(wanted), {"ids": list(ids)}
        try:
            found = await self._found(_OF_IDS, wanted, wanted.lower, wanted.upper, most, more)
        except TookTooLong as error:
            raise too_slow() from error
        return Search(found=found, after=found[-1].position if len(found) == most else None)

    async def _search_time(self, seller_id: str | None, wanted: Wanted) -> Search:
        statement = _OF_TIME if seller_id is None else _OF_SELLER
        most, more = _candidates(wanted), {"seller": seller_id}
        upper = min(wanted.upper, await self._now())
        if wanted.after is not None:
            upper = min(upper, wanted.after.recorded_at + timedelta(microseconds=1))
        found: list[Found] = []
        length = WINDOW
        while upper > wanted.lower:
            # Not a subtraction: it could leave the range of datetime.
            lower = wanted.lower if upper - wanted.lower <= length else upper - length
            try:
                found += await self._found(statement, wanted, lower, upper, most - len(found), more)
            except TookTooLong as error:
                if length == WINDOW:
                    raise too_slow() from error
                return Search(found=found, after=Position(upper, _FIRST_ID))
            if len(found) >= most:
                return Search(found=found, after=found[-1].position)
            upper, length = lower, length * WINDOW_GROWS
        return Search(found=found, after=None)

    async def _now(self) -> datetime:
        [(now,)] = await self._database.rows("SELECT clock_timestamp()", {})
        later: datetime = now + timedelta(seconds=1)
        return later

    async def _found(
        self,
        statement: str,
        wanted: Wanted,
        lower: datetime,
        upper: datetime,
        limit: int,
        more: Mapping[str, object],
    ) -> list[Found]:
        after = wanted.after or Position(upper, _LAST_ID)
        parameters = {
            "lower": lower,
            "upper": upper,
            "at": after.recorded_at,
            "id": after.payment_id,
            "limit": limit,
            **more,
        }
        rows = await self._database.rows(statement, parameters)
        return [Found(*row) for row in rows]

    async def _page(self, search: Search, wanted: Wanted) -> Page:
        """Read streams until the page is full; what is left begins the next one."""
        streams: list[tuple[Event, ...]] = []
        last: Found | None = None
        rows = 0
        for begin in range(0, len(search.found), STREAMS_AT_ONCE):
            if rows >= ROWS_MOST:
                return Page(streams=streams, after=search.found[begin - 1].position)
            part = search.found[begin : begin + STREAMS_AT_ONCE]
            # Loads at the same time are one question to PostgreSQL.
            loaded = await asyncio.gather(
                *(self._reader.load(PaymentId(each.payment_id)) for each in part)
            )
            rows += sum(map(len, loaded))
            for each, stream in zip(part, loaded, strict=True):
                if not wanted.keep(stream):
                    continue
                if len(streams) == wanted.limit:
                    assert last is not None
                    return Page(streams=streams, after=last.position)
                streams.append(stream)
                last = each
        return Page(streams=streams, after=search.after)


def too_slow() -> Problem:
    """The problem of a list that PostgreSQL cannot give in time, now or a second later."""
    return unavailable("this list takes too long; ask for a shorter period, with from and to")


def _candidates(wanted: Wanted) -> int:
    """How many payments to find: one more than the page, or enough for some to be kept."""
    return CANDIDATES_MOST if wanted.is_filtered else wanted.limit + 1
