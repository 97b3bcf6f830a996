"""Reads payments from PostgreSQL: the whole table, or what is new, without holding anything.

The memory of a worker that starts, or gets partitions, is built from here, and so is complete
whatever was lost before. Everything is read in short pages. Each is a statement of its own with a
time limit; it locks nothing and blocks nobody. The rows go through the same fold as those of the
topic, a payment's stream at once.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, TypeAlias
from uuid import UUID

import msgspec
import psycopg
from aiokafka.partitioner import murmur2

from payins.pending import OPENS
from payins.policies import QUESTIONS
from schemas.errors import ServiceUnavailable
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, EventType, Status

PAGE_ROWS = 5_000
STATEMENT_SECONDS = 10
CONNECT_SECONDS = 5
APPLICATION = "purser-payins"

STREAMS_AT_ONCE = 500
FIRST_SPAN = timedelta(minutes=5)
SHORTEST_SPAN = timedelta(seconds=1)
LONGEST_SPAN = timedelta(days=1)
FEW, MANY = 1_000, 10_000
"""Payments in a span of time: with fewer than these the next span is longer, with more shorter."""

_COLUMNS = (
    "payment_id, seq, direction, event_type, status, order_id, method, details::text, recorded_at"
)

# A page of the table in the order of its primary key.
_PAGE = f"""
SELECT {_COLUMNS} FROM public.payments
WHERE (payment_id, seq) > (%s, %s) ORDER BY payment_id, seq LIMIT %s
"""

# The streams of some payments. A join, because it looks into one partition for each.
_STREAMS = f"""
SELECT {_COLUMNS} FROM unnest(%s::uuid[]) AS asked (id)
JOIN public.payments ON payment_id = asked.id ORDER BY payment_id, seq
"""

# Payments in which rows of a time have left something open: an order whose last row there leaves a
# question, or a request, answered or not. The index payments_times finds the rows.
CHANGED = """
WITH fresh AS MATERIALIZED (
    SELECT payment_id, order_id, seq, event_type, status FROM public.payments
    WHERE recorded_at >= %(since)s AND recorded_at < %(until)s AND direction = 'in'
), last AS (
    SELECT DISTINCT ON (payment_id, order_id) payment_id, status
    FROM fresh ORDER BY payment_id, order_id, seq DESC
)
SELECT payment_id FROM last WHERE status = ANY(%(statuses)s)
UNION
SELECT payment_id FROM fresh WHERE event_type = ANY(%(requests)s)
"""
LEFT_OPEN = {
    "statuses": sorted(status.value for status in QUESTIONS),
    "requests": sorted(event_type.value for event_type in OPENS),
}
"""The words of that statement."""

# Which of these orders another payment has paid, or can still pay. The index payments_of_orders has
# all of these types.
_CLAIMED = """
SELECT order_id FROM public.payments
WHERE order_id = ANY(%(orders)s) AND payment_id <> %(payment)s
    AND event_type IN ('captured', 'honoured', 'stray_captured')
UNION
SELECT order_id FROM public.payments AS other
WHERE order_id = ANY(%(orders)s) AND payment_id <> %(payment)s AND event_type = 'created'
    AND (
        SELECT status FROM public.payments AS latest
        WHERE latest.payment_id = other.payment_id AND latest.order_id = other.order_id
        ORDER BY seq DESC LIMIT 1
    ) <> ALL(%(over)s)
"""
_OVER = sorted((Status.FAILED.value, Status.EXPIRED.value, Status.CANCELLED.value))

_NONE = UUID(int=0)


class Row(msgspec.Struct, frozen=True):
    """The columns that the memory reads."""

    payment_id: UUID
    seq: int
    direction: Direction
    event_type: EventType
    status: Status
    order_id: str
    method: str
    details: str
    recorded_at: datetime


Stream: TypeAlias = Sequence[Row]
"""All rows of a payment, the first one first; never empty."""


def partition_of(payment_id: UUID, partitions: int) -> int:
    """Return the partition of the payments topic in which a payment's events are.

    Debezium's key, and the partitioner of Kafka's Java clients.
    """
    key = f'{{"payment_id":"{payment_id}"}}'.encode()
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class Table:
    """Reads `payments`; connects for as long as it reads."""

    def __init__(self, dsn: str, *, page_rows: int = PAGE_ROWS) -> None:
        self._dsn = dsn
        self._page_rows = page_rows

    async def rows(self) -> AsyncIterator[Sequence[Row]]:
        """Yield the whole table in pages, in the order of the primary key.

        Raises ServiceUnavailable; read again from the start.
        """
        after: tuple[UUID, int] = (_NONE, 0)
        async with connect(self._dsn) as connection:
            while True:
                found = await self._page(connection, after)
                yield [row for each in found if (row := _row(each)) is not None]
                if len(found) < self._page_rows:
                    return
                after = (found[-1][0], found[-1][1])

    async def streams(self) -> AsyncIterator[Sequence[Stream]]:
        """Yield the whole table, some payments at a time; like `rows`."""
        held: Stream = ()
        async for page in self.rows():
            found = _by_payment(chain(held, page))
            held = found.pop() if found else ()  # the next page can have more of it
            yield found
        if held:
            yield [held]

    async def streams_of(self, payment_ids: Sequence[UUID]) -> AsyncIterator[Sequence[Stream]]:
        """Yield the streams of some payments; raises ServiceUnavailable."""
        async with connect(self._dsn) as connection:
            for start in range(0, len(payment_ids), STREAMS_AT_ONCE):
                some = list(payment_ids[start : start + STREAMS_AT_ONCE])
                cursor = await connection.execute(_STREAMS, [some])
                found = [_row(each) for each in await cursor.fetchall()]
                yield _by_payment(row for row in found if row is not None)

    async def left_open(self, since: datetime, until: datetime) -> AsyncIterator[Sequence[UUID]]:
        """Yield the payments in which rows recorded in that time have left something open.

        What earlier rows of these or of other payments left open is not asked. The time is cut
        into spans, each a statement: shorter ones where much happened. Raises ServiceUnavailable.
        """
        span = FIRST_SPAN
        async with connect(self._dsn) as connection:
            while since < until:
                end = min(since + span, until)
                try:
                    found = await _left_open(connection, since, end)
                except psycopg.errors.QueryCanceled:
                    if span <= SHORTEST_SPAN:
                        raise
                    span = max(SHORTEST_SPAN, span / 4)
                    continue
                yield found
                since = end
                if len(found) > MANY:
                    span = max(SHORTEST_SPAN, span / 2)
                elif len(found) < FEW:
                    span = min(LONGEST_SPAN, span * 2)

    async def claimed(self, payment_id: PaymentId, orders: frozenset[str]) -> frozenset[str]:
        """Return the orders that another payment has paid, or can still pay."""
        wanted = {"orders": sorted(orders), "payment": payment_id, "over": _OVER}
        async with connect(self._dsn) as connection:
            cursor = await connection.execute(_CLAIMED, wanted)
            return frozenset(order_id for (order_id,) in await cursor.fetchall())

    async def _page(
        self, connection: psycopg.AsyncConnection[Any], after: tuple[UUID, int]
    ) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(_PAGE, [*after, self._page_rows])
        return await cursor.fetchall()


@asynccontextmanager
async def connect(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    """Connect for short statements that use indexes; raises ServiceUnavailable, also within."""
    try:
        async with await psycopg.AsyncConnection.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name=APPLICATION
        ) as connection:
            await connection.execute(
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('timezone', 'UTC', false),"
                " set_config('enable_seqscan', 'off', false)",
                [f"{STATEMENT_SECONDS}s"],
            )
            yield connection
    except psycopg.Error as error:
        first = str(error).partition("\n")[0]
        raise ServiceUnavailable(f"PostgreSQL: {first}") from error


async def _left_open(
    connection: psycopg.AsyncConnection[Any], since: datetime, until: datetime
) -> list[UUID]:
    cursor = await connection.execute(CHANGED, {"since": since, "until": until, **LEFT_OPEN})
    return [payment_id for (payment_id,) in await cursor.fetchall()]


def _by_payment(rows: Iterable[Row]) -> list[Stream]:
    return [list(stream) for _, stream in groupby(rows, key=attrgetter("payment_id"))]


def _row(values: tuple[Any, ...]) -> Row | None:
    """Return a row; None for one of newer code, whose words this code does not know."""
    payment_id, seq, direction, event_type, status, order_id, method, details, at = values
    try:
        words = Direction(direction), EventType(event_type), Status(status)
    except ValueError:
        return None
    return Row(payment_id, seq, *words, order_id, method, details, at)
