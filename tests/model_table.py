"""Models of the table as the worker of payments in reads it, for tests of its checkpoints.

In `ModelTable` rows are recorded first and become visible later, in another order. Every answer
takes its time, in which others go on. `SimulatedTable` is for the simulation of payments in.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from payins.catch_up import CLOCK_MAY_STEP
from payins.checkpoints import Checkpoint
from payins.pending import Seen
from payins.rebuild import LEFT_OPEN, Row, Stream
from schemas.events import Event
from schemas.lifecycle import Direction, EventType, Status

PAYMENTS = [UUID(int=number) for number in range(1, 9)]
START = datetime(2026, 1, 1, tzinfo=UTC)

_E, _S = EventType, Status
_FIRST = ('{"flow": "direct"}', '{"flow": "confirm_later"}', "{}")
_WORDS = (
    (_E.UNKNOWN, _S.UNKNOWN),
    (_E.PROCESSING, _S.PROCESSING),
    (_E.AUTHORIZED, _S.AUTHORIZED),
    (_E.CAPTURE_REQUESTED, _S.AUTHORIZED),
    (_E.CAPTURE_FAILED, _S.AUTHORIZED),
    (_E.CANCEL_REQUESTED, _S.AUTHORIZED),
    (_E.CAPTURED, _S.CAPTURED),
    (_E.CAPTURED, _S.CAPTURED),
    (_E.FAILED, _S.FAILED),
    (_E.REFUND_REQUESTED, _S.CAPTURED),
    (_E.REFUNDED, _S.CAPTURED),
    (_E.REFUND_FAILED, _S.CAPTURED),
    (_E.STRAY_CAPTURED, _S.FAILED),
)
"""Any order of these: more histories than the rules allow."""


@dataclass
class ModelTable:
    """The table, its clock, the transactions that are under way, the topic and the checkpoints."""

    random: random.Random
    clock: datetime = START
    latest: datetime = START
    visible: dict[UUID, list[Row]] = field(default_factory=dict)
    under_way: list[list[Row]] = field(default_factory=list)
    topic: list[Row] = field(default_factory=list)
    saved: dict[int, Checkpoint] = field(default_factory=dict)
    saves: int = 0

    async def pause(self) -> None:
        """Let others go on, often for long."""
        for _ in range(self.random.choice((0, 1, 1, 3, 30))):
            await asyncio.sleep(0)

    def append(self) -> None:
        """A transaction records rows of a payment; nobody sees them yet."""
        payment_id = self.random.choice(PAYMENTS)
        if any(rows[0].payment_id == payment_id for rows in self.under_way):
            return
        before = self.visible.get(payment_id, [])
        rows = []
        for number in range(self.random.choice((1, 1, 2))):
            self.tick()
            rows.append(self._row(payment_id, len(before) + number + 1))
        self.under_way.append(rows)

    def _row(self, payment_id: UUID, seq: int) -> Row:
        event_type, status = self.random.choice(_WORDS) if seq > 1 else (_E.CREATED, _S.CREATED)
        return Row(
            payment_id=payment_id,
            seq=seq,
            direction=Direction.IN,
            event_type=event_type,
            status=status,
            order_id=self.random.choice("AB"),
            method="card",
            details=self.random.choice(_FIRST) if seq == 1 else "{}",
            recorded_at=self.clock,
        )

    def commit(self) -> None:
        """Some transaction ends."""
        if self.under_way:
            rows = self.under_way.pop(self.random.randrange(len(self.under_way)))
            if self.random.random() < 0.9:
                self.visible.setdefault(rows[0].payment_id, []).extend(rows)
                self.topic += rows

    def tick(self) -> None:
        """Time passes; now and then the clock is set back, as far as it may be."""
        self.clock += timedelta(seconds=self.random.choice((0.001, 1, 20)))
        self.latest = max(self.latest, self.clock)
        if self.random.random() < 0.05:
            self.clock = self.latest - CLOCK_MAY_STEP * self.random.random()

    # -- what a worker reads and writes

    async def streams(self) -> AsyncIterator[Sequence[Stream]]:
        for payment_id in PAYMENTS:
            if payment_id in self.visible:
                async for page in self.streams_of([payment_id]):
                    yield page

    async def streams_of(self, payment_ids: Sequence[UUID]) -> AsyncIterator[Sequence[Stream]]:
        for payment_id in payment_ids:
            await self.pause()
            found = list(self.visible[payment_id])
            await self.pause()  # until it arrives, more can happen
            yield [found]

    async def left_open(self, since: datetime, until: datetime) -> AsyncIterator[Sequence[UUID]]:
        await self.pause()
        yield [payment_id for payment_id, rows in self.visible.items() if left(rows, since, until)]

    async def now(self) -> tuple[datetime, bool]:
        at, before = self.clock, [id(rows) for rows in self.under_way]
        await self.pause()
        return at, not any(id(rows) in before for rows in self.under_way)

    async def load(self, partitions: Iterable[int]) -> dict[int, Checkpoint]:
        await self.pause()
        return {each: self.saved[each] for each in partitions if each in self.saved}

    async def save(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        for partition, each in checkpoints.items():
            await self.pause()
            before = self.saved.get(partition)
            if before is None or before.complete_to < each.complete_to:
                self.saved[partition] = each
                self.saves += 1


def left(rows: Sequence[Seen], since: datetime, until: datetime) -> bool:
    """What the statement in SQL asks of the rows of a payment."""
    fresh = [row for row in rows if since <= row.recorded_at < until]
    last = {row.order_id: row.status for row in fresh}
    return any(status in LEFT_OPEN["statuses"] for status in last.values()) or any(
        row.event_type in LEFT_OPEN["requests"] for row in fresh
    )


class SimulatedTable:
    """What was appended, as the worker reads it, and the checkpoints; calls crash like others."""

    def __init__(
        self,
        records: Sequence[Event],
        clock: Callable[[], datetime],
        point: Callable[[], Awaitable[None]],
    ) -> None:
        self._records = records
        self._clock = clock
        self._point = point
        self._saved: dict[int, Checkpoint] = {}

    def _streams(self) -> dict[UUID, list[Event]]:
        found: dict[UUID, list[Event]] = {}
        for event in self._records:
            found.setdefault(event.payment_id, []).append(event)
        return found

    async def streams(self) -> AsyncIterator[Sequence[Sequence[Event]]]:
        async for page in self.streams_of(list(self._streams())):
            yield page

    async def streams_of(
        self, payment_ids: Sequence[UUID]
    ) -> AsyncIterator[Sequence[Sequence[Event]]]:
        for payment_id in payment_ids:
            await self._point()
            yield [self._streams()[payment_id]]

    async def left_open(self, since: datetime, until: datetime) -> AsyncIterator[Sequence[UUID]]:
        await self._point()
        streams = self._streams()
        yield [each for each, events in streams.items() if left(events, since, until)]

    async def now(self) -> tuple[datetime, bool]:
        return self._clock(), True

    async def load(self, partitions: Iterable[int]) -> dict[int, Checkpoint]:
        await self._point()
        return {each: self._saved[each] for each in partitions if each in self._saved}

    async def save(self, checkpoints: Mapping[int, Checkpoint]) -> None:
        await self._point()
        self._saved |= checkpoints
        await self._point()
