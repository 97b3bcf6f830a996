"""What the worker does again and again: visit what is due, take over partitions, read events.

A payment is visited only by the worker that reads its partition. When partitions come or go, the
memory follows: it forgets those that went, and catches up with those that came. Two workers
that visit a payment at once, while partitions move, are still safe: keys make both calls one.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from payins.catch_up import CatchUp
from payins.journal import Store
from payins.metrics import WorkerMetrics
from payins.notices import EventsPoll
from payins.pending import PendingMemory
from payins.poller import Poller
from payins.rebuild import partition_of
from payins.retries import Retry
from payins.settings import PayInsSettings
from schemas.errors import ProcessorError, ServiceUnavailable
from schemas.ids import PaymentId

LOOK_SECONDS = 0.2
TIDY_SECONDS = 1.0
GAUGE_SECONDS = 5.0
AGAIN_SECONDS = 5.0
EVENTS_OWNER = 0
"""The worker that reads this partition also reads the processors' lists of events."""

_log = logging.getLogger("purser.payins")


@dataclass(kw_only=True)
class Rounds:
    """The tasks of a worker; `owned` are the partitions that it reads now."""

    memory: PendingMemory
    poller: Poller
    catch_up: CatchUp
    retries: Store[Retry]
    events: EventsPoll
    psps: Sequence[str]
    partitions: int
    owned: Callable[[], frozenset[int]]
    metrics: WorkerMetrics
    settings: PayInsSettings
    clock: Callable[[], datetime]
    _owned_since: dict[int, datetime] = field(default_factory=dict)
    _unread: set[int] = field(default_factory=set)
    _visits: set["asyncio.Task[None]"] = field(default_factory=set)
    _stopping: bool = False

    def tasks(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run side by side until the worker stops."""
        return [
            self._visit_due(),
            self._read_table(),
            self._read_events(),
            self._tidy(),
            self._measure(),
        ]

    async def drain(self) -> None:
        """Begin no more visits, and wait for those in progress."""
        self._stopping = True
        if self._visits:
            await asyncio.wait(self._visits)

    # -- visits

    async def _visit_due(self) -> None:
        while not self._stopping:
            self.follow()
            free = self.settings.visits_at_once - len(self._visits)
            for payment_id in self.memory.take_due(self.clock(), free):
                task = asyncio.create_task(self._visit(payment_id))
                self._visits.add(task)
                task.add_done_callback(self._visits.discard)
            await asyncio.sleep(LOOK_SECONDS)

    async def _visit(self, payment_id: PaymentId) -> None:
        entry = self.memory.get(payment_id)
        since = self._owned_since.get(entry.partition) if entry is not None else None
        await self.poller.visit(payment_id, since or self.clock())

    # -- partitions

    def follow(self) -> None:
        """Take up the partitions that came, and forget those that went."""
        now_owned, known = self.owned(), self._owned_since.keys()
        if now_owned == known:
            return
        came, went = now_owned - known, known - now_owned
        for partition in went:
            del self._owned_since[partition]
        if went:
            self.memory.keep_partitions(now_owned)
            self.catch_up.forget(went)
        for partition in came:
            self._owned_since[partition] = self.clock()
        self._unread = (self._unread | came) & now_owned
        self._remember_retries(came)
        _log.info("visiting the pending payments of partitions %s", sorted(now_owned))

    def _remember_retries(self, came: frozenset[int]) -> None:
        """What is in the queue is known at once; the rest follows from the table."""
        for retry in list(self.retries.items.values()):
            partition = partition_of(retry.payment_id, self.partitions)
            if partition in came:
                self.memory.remember(
                    PaymentId(retry.payment_id),
                    partition,
                    method="",
                    since=retry.first_at,
                    due_at=retry.not_before,
                )

    async def _tidy(self) -> None:
        """Keep in the queue only what is tried again; not while the memory lacks something."""
        while not self._stopping:
            await asyncio.sleep(TIDY_SECONDS)
            if self.memory.overflowed or self._unread:
                continue
            try:
                await self.poller.tidy(self._is_ours)
            except ServiceUnavailable as error:
                _log.warning("the retry queue cannot be tidied: %s", error)

    def _is_ours(self, payment_id: UUID) -> bool:
        return partition_of(payment_id, self.partitions) in self._owned_since

    async def _read_table(self) -> None:
        """Read what partitions that came have pending, and what had no room; then what is new."""
        looked_at = self.clock()
        while not self._stopping:
            if self.memory.overflowed and self.memory.has_room:
                self.memory.overflowed = False
                self.catch_up.forget(self._owned_since)
                self._unread |= self._owned_since.keys()
            if self._unread:
                await self._start_with(frozenset(self._unread))
                looked_at = self.clock()
            elif (self.clock() - looked_at).total_seconds() >= self.settings.checkpoint_seconds:
                looked_at = self.clock()
                await self._go_on()
            await asyncio.sleep(LOOK_SECONDS)

    async def _start_with(self, wanted: frozenset[int]) -> None:
        self.metrics.rebuilding.set(1)
        try:
            was_read = await self.catch_up.start(wanted)
        except ServiceUnavailable as error:
            _log.warning("the pending payments cannot be read yet: %s", error)
            await asyncio.sleep(AGAIN_SECONDS)
            return
        self._unread -= was_read
        self.metrics.rebuilding.set(float(bool(self._unread)))
        _log.info("the table was read; %d payments may be pending", len(self.memory))

    async def _go_on(self) -> None:
        """Write checkpoints; not while the memory lacks something."""
        owned = frozenset(self._owned_since)
        if not owned or self.memory.overflowed:
            return
        try:
            await self.catch_up.go_on(owned)
        except ServiceUnavailable as error:
            _log.warning("no checkpoint could be written: %s", error)

    # -- events and measurements

    async def _read_events(self) -> None:
        while not self._stopping:
            await asyncio.sleep(self.settings.events_poll_seconds)
            if EVENTS_OWNER not in self._owned_since:
                continue
            for psp in self.psps:
                try:
                    await self.events.poll(psp)
                except (ProcessorError, ServiceUnavailable) as error:
                    _log.warning("the events of %s cannot be read now: %s", psp, error)

    async def _measure(self) -> None:
        while not self._stopping:
            self.metrics.show_pending(self.memory.counts(), self.clock())
            self.metrics.retries.set(len(self.retries.items))
            self.metrics.show_complete_to(self.catch_up.complete_to(), self.clock())
            await asyncio.sleep(GAUGE_SECONDS)
