"""Brings the memory of pending payments up to date with the table, and keeps checkpoints of it.

For partitions that came, it reads the payments of their checkpoints and what was left open since;
without a checkpoint, all of `payments`. Now and then it does the same for what this worker holds,
from its last reading on, and writes the checkpoints of that. So what a start costs follows what is
pending and what is new, and a gap in the topic is closed by the table.

A checkpoint is written only if every row up to its time was visible when the reading began, and
everything had room in the memory. Whatever is open of those rows is then in the memory: it was at
the last reading, or a later row opened it, and this reading has found it. From there it leaves the
memory only with a newer row that ends it, or after a look at the stream.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias
from uuid import UUID

from payins.checkpoints import Checkpoint
from payins.pending import PendingMemory, Seen
from payins.rebuild import partition_of

Page: TypeAlias = Sequence[Sequence[Seen]]
"""Whole streams of some payments."""

CLOCK_MAY_STEP = timedelta(seconds=60)
"""The database's clock may be set back by so much, as after a switch to another server."""

_log = logging.getLogger("purser.payins")


class Streams(Protocol):
    """What is read of `payments`; see `payins.rebuild.Table`."""

    def streams(self) -> AsyncIterator[Page]: ...
    def streams_of(self, payment_ids: Sequence[UUID]) -> AsyncIterator[Page]: ...
    def left_open(self, since: datetime, until: datetime) -> AsyncIterator[Sequence[UUID]]: ...


class CheckpointStore(Protocol):
    """Where checkpoints are kept; see `payins.checkpoints.Checkpoints`."""

    async def now(self) -> tuple[datetime, bool]: ...
    async def load(self, partitions: Iterable[int]) -> dict[int, Checkpoint]: ...
    async def save(self, checkpoints: Mapping[int, Checkpoint]) -> None: ...


@dataclass(kw_only=True)
class CatchUp:
    """Reads for one memory; `partitions` is how many the topic has. One reading at a time."""

    memory: PendingMemory
    table: Streams
    checkpoints: CheckpointStore
    partitions: int
    _complete_to: dict[int, datetime] = field(default_factory=dict)
    _gone: set[int] = field(default_factory=set)

    def forget(self, partitions: Iterable[int]) -> None:
        """The memory has forgotten these partitions, or not all of them had room."""
        for partition in partitions:
            self._complete_to.pop(partition, None)
            self._gone.add(partition)

    def complete_to(self) -> datetime | None:
        """Return up to when the memory is known to be complete; None if that is not known."""
        return min(self._complete_to.values(), default=None)

    async def start(self, wanted: frozenset[int]) -> frozenset[int]:
        """Read partitions that came; return those that did not go again meanwhile.

        Raises ServiceUnavailable; start again.
        """
        self._gone.clear()
        now, is_final = await self.checkpoints.now()
        return await self._read(wanted, now, is_final)

    async def go_on(self, owned: frozenset[int]) -> None:
        """Read what is new of partitions that were read before, and write their checkpoints.

        Raises ServiceUnavailable.
        """
        self._gone.clear()
        now, is_final = await self.checkpoints.now()
        if is_final:
            await self._read(owned, now, is_final)
        else:
            _log.warning("no checkpoint: a transaction that appends payments does not end")

    async def _read(self, wanted: frozenset[int], now: datetime, is_final: bool) -> frozenset[int]:
        stored = await self.checkpoints.load(wanted - self._complete_to.keys())
        known = {partition: each.complete_to for partition, each in stored.items()}
        known |= {each: at for each, at in self._complete_to.items() if each in wanted}
        since = min(known.values(), default=now)
        if known.keys() == wanted and since <= now:
            pending = [each for checkpoint in stored.values() for each in checkpoint.pending]
            await self._take(self.table.streams_of(pending), wanted)
            since, until = since - CLOCK_MAY_STEP, now + CLOCK_MAY_STEP
            async for payment_ids in self.table.left_open(since, until):
                mine = [each for each in payment_ids if self._partition(each) in wanted]
                await self._take(self.table.streams_of(mine), wanted)
        else:
            _log.info("reading all payments: there is no checkpoint for them")
            known = {}
            await self._take(self.table.streams(), wanted)
        kept = wanted - self._gone
        if self.memory.overflowed:
            self._complete_to.clear()
        elif is_final:
            await self._write(kept, now)
        else:
            self._complete_to |= {each: at for each, at in known.items() if each in kept}
        return kept

    def _partition(self, payment_id: UUID) -> int:
        return partition_of(payment_id, self.partitions)

    async def _take(self, pages: AsyncIterator[Page], wanted: frozenset[int]) -> None:
        async for page in pages:
            for stream in page:
                partition = self._partition(stream[0].payment_id)
                if partition in wanted and partition not in self._gone:
                    self.memory.apply_stream(stream, partition)
            await asyncio.sleep(0)  # a long page must not hold up the visits

    async def _write(self, kept: frozenset[int], now: datetime) -> None:
        pending = self.memory.by_partition()
        self._complete_to |= dict.fromkeys(kept, now)
        await self.checkpoints.save(
            {
                partition: Checkpoint(complete_to=now, pending=pending.get(partition, ()))
                for partition in kept
            }
        )
