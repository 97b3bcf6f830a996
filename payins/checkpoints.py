"""Checkpoints: what was pending up to a time, so that a start reads what is new, not what is old.

A checkpoint is a statement about `payments`: what is open in a payment of this partition is open in
a payment of the list, or a row recorded after `complete_to` has opened it. It stays true whatever
happens later, whoever wrote it and however late. So workers need no lock: the newest statement
counts, and an older one that arrives after it is dropped. They are in a table of the same database:
a backup that brings back old payments brings back checkpoints of the same time.

A row can become visible long after it was recorded: when its transaction commits. So a time counts
as complete only when every transaction has ended that could have recorded something before it.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import psycopg

from payins.pending import CLOSES, OPENS
from payins.policies import QUESTIONS
from payins.rebuild import connect
from schemas.lifecycle import EventType, Status

LOOKS = 50
LOOK_SECONDS = 0.1
"""So often and so far apart it is looked whether transactions have ended: five seconds."""

RULES_VERSION = 1
"""To be increased if code finds something open that it did not before, by the same tables."""

# Who may have appended rows that nobody sees yet: an INSERT holds this lock to the end of its
# transaction, and has it before the row's time is read from the clock.
_APPENDING = """
SELECT DISTINCT virtualtransaction FROM pg_catalog.pg_locks
WHERE locktype = 'relation' AND mode = 'RowExclusiveLock'
    AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
    AND relation IN (SELECT relid FROM pg_catalog.pg_partition_tree('public.payments'))
"""

_LOAD = """
SELECT partition, complete_to, pending FROM public.payins_checkpoints
WHERE rules = %s AND partitions = %s AND partition = ANY(%s)
"""

# The newest statement counts: a worker that was frozen may still write an old one.
_SAVE = """
INSERT INTO public.payins_checkpoints AS mine (rules, partitions, partition, complete_to, pending)
VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (rules, partitions, partition) DO UPDATE
SET complete_to = excluded.complete_to, pending = excluded.pending
WHERE mine.complete_to < excluded.complete_to
"""


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Which payments of a partition were pending when every row up to `complete_to` was read."""

    complete_to: datetime
    pending: Sequence[UUID]


def rules() -> str:
    """Return a name of the tables by which the memory decides; other tables, another name."""
    tables = (
        RULES_VERSION,
        sorted(EventType),
        sorted(Status),
        sorted(QUESTIONS.items()),
        sorted(OPENS.items()),
        sorted(CLOSES.items()),
    )
    return hashlib.sha256(repr(tables).encode()).hexdigest()[:16]


class Checkpoints:
    """The checkpoints in PostgreSQL; connects for each call."""

    def __init__(self, dsn: str, partitions: int) -> None:
        self._dsn = dsn
        self._place = (rules(), partitions)

    async def now(self) -> tuple[datetime, bool]:
        """Return the database's time, and whether all rows recorded before it can be seen.

        Waits a little for transactions that append. Raises ServiceUnavailable.
        """
        async with connect(self._dsn) as connection:
            cursor = await connection.execute("SELECT clock_timestamp()")
            [(at,)] = await cursor.fetchall()
            unseen = await _appending(connection)
            for _ in range(LOOKS):
                if not unseen:
                    break
                await asyncio.sleep(LOOK_SECONDS)
                unseen &= await _appending(connection)
            return at, not unseen

    async def load(self, partitions: Iterable[int]) -> dict[int, Checkpoint]:
        """Return what is known of these partitions; raises ServiceUnavailable."""
        async with connect(self._dsn) as connection:
            cursor = await connection.execute(_LOAD, [*self._place, sorted(partitions)])
            return {
                partition: Checkpoint(complete_to=complete_to, pending=pending)
                for partition, complete_to, pending in await cursor.fetchall()
            }

    async def save(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        """Keep these, partition by partition, unless newer ones are there.

        Raises ServiceUnavailable; some can have been kept.
        """
        async with connect(self._dsn) as connection:
            for partition, each in checkpoints.items():
                values = [*self._place, partition, each.complete_to, list(each.pending)]
                await connection.execute(_SAVE, values)


async def _appending(connection: psycopg.AsyncConnection[Any]) -> set[str]:
    cursor = await connection.execute(_APPENDING)
    return {transaction for (transaction,) in await cursor.fetchall()}
