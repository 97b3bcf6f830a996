"""Reads pending payments from PostgreSQL: in short pages by primary key, without holding anything.

The memory of a worker that starts, or gets partitions, is built from here, and so is complete
whatever was lost before. Each page is a statement of its own with a time limit; it locks nothing
and blocks nobody. The rows go through the same fold as those of the topic.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg
from aiokafka.partitioner import murmur2

from schemas.errors import ServiceUnavailable
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, EventType, Status

PAGE_ROWS = 5_000
STATEMENT_SECONDS = 10
CONNECT_SECONDS = 5
APPLICATION = "purser-payins"

# A page of the table in the order of its primary key.
_PAGE = """
SELECT payment_id, seq, direction, event_type, status, order_id, method, details::text, recorded_at
FROM public.payments WHERE (payment_id, seq) > (%s, %s) ORDER BY payment_id, seq LIMIT %s
"""

# Which of these orders another payment has paid.
_PAID = """
SELECT DISTINCT order_id FROM public.payments
WHERE order_id = ANY(%s) AND event_type IN ('captured', 'honoured') AND payment_id <> %s
"""

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
        async with self._connection() as connection:
            while True:
                found = await self._page(connection, after)
                yield [row for each in found if (row := _row(each)) is not None]
                if len(found) < self._page_rows:
                    return
                after = (found[-1][0], found[-1][1])

    async def paid_elsewhere(self, payment_id: PaymentId, orders: frozenset[str]) -> frozenset[str]:
        """Return the orders that another payment has paid."""
        async with self._connection() as connection:
            cursor = await connection.execute(_PAID, [sorted(orders), payment_id])
            return frozenset(order_id for (order_id,) in await cursor.fetchall())

    async def _page(
        self, connection: psycopg.AsyncConnection[Any], after: tuple[UUID, int]
    ) -> list[tuple[Any, ...]]:
        cursor = await connection.execute(_PAGE, [*after, self._page_rows])
        return await cursor.fetchall()

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
        try:
            async with await psycopg.AsyncConnection.connect(
                self._dsn,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                application_name=APPLICATION,
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


def _row(values: tuple[Any, ...]) -> Row | None:
    """Return a row; None for one of newer code, whose words this code does not know."""
    payment_id, seq, direction, event_type, status, order_id, method, details, at = values
    try:
        words = Direction(direction), EventType(event_type), Status(status)
    except ValueError:
        return None
    return Row(payment_id, seq, *words, order_id, method, details, at)
