"""What a processor tells by itself: events from webhooks and from its list become evidence.

An event is a hint to look at a charge. If it holds the charge and that says nothing new, nothing is
asked; else the charge is looked at as it is now. Handling an event twice, or an old one, does
nothing.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from connectors.charges import Charge, EventKind, ProcessorEvent
from payins.evidence import commands
from payins.journal import Store
from payins.ledger import Ledger
from payins.metrics import PayInsMetrics
from payins.plan import holds_in_vain
from payins.poller import UNEXPECTED, Poller
from payins.processors import Processors
from payins.resolve import Resolver
from schemas.errors import ProcessorError, ProcessorRefused, ServiceUnavailable, Unreadable
from schemas.ids import PaymentId
from writer.state import fold

Reader = Callable[[bytes], ProcessorEvent]
"""Parses a webhook's body, which was verified before; raises InputError."""

_log = logging.getLogger("purser.payins")


class Notices:
    """Acts on events."""

    def __init__(
        self,
        ledger: Ledger,
        processors: Processors,
        resolver: Resolver,
        poller: Poller,
        metrics: PayInsMetrics,
    ) -> None:
        self._ledger = ledger
        self._processors = processors
        self._resolver = resolver
        self._poller = poller
        self._metrics = metrics
        self.told_of: dict[str, datetime] = {}
        """Processor -> the time of the newest event that came by webhook."""

    async def told(self, event: ProcessorEvent) -> None:
        """Act on an event that came by webhook; raises as `handle`."""
        await self.handle(event)
        self.told_of[event.psp] = max(event.at, self.told_of.get(event.psp, event.at))

    async def handle(self, event: ProcessorEvent) -> None:
        """Act on one event.

        What can never be acted on becomes a dead letter, so that the others have their turn.

        Raises:
            ProcessorError: the processor cannot be asked now; handle the event again.
            ServiceUnavailable: PostgreSQL or Kafka cannot; handle it again.
        """
        about = event.reference or event.object_id
        try:
            result = await self._handled(event)
        except (ProcessorRefused, Unreadable) as error:
            # There is no such charge, or it cannot be read: asking again does not help.
            await self._poller.refused(event.psp, about, error)
            result = error.code
        except (ProcessorError, ServiceUnavailable):
            raise
        except Exception as error:  # noqa: BLE001 - reported
            _log.exception("event %s of %s cannot be handled", event.event_id, event.psp)
            await self._poller.unexpected(event.psp, about, error)
            result = UNEXPECTED
        self._metrics.webhooks.labels(result=result).inc()

    async def _handled(self, event: ProcessorEvent) -> str:
        if event.kind is not EventKind.CHARGE:
            if event.kind is EventKind.UNKNOWN:
                _log.warning(
                    "%s sends events of type %s, which this code does not know",
                    event.psp,
                    event.event_type,
                )
            return event.kind.value
        if event.charge is not None:
            if event.charge.payment_id is None:
                return "not_ours"
            if await self._is_known(PaymentId(event.charge.payment_id), event.charge):
                return "nothing_new"
        charges = await self._charges(event)
        for charge in charges:
            facts = await self._resolver.observe(charge)
            payment_id = PaymentId(charge.payment_id) if charge.payment_id else None
            await self._poller.report(facts, charge.psp, payment_id)
        return "observed" if charges else "not_found"

    async def _is_known(self, payment_id: PaymentId, charge: Charge) -> bool:
        """Whether the stream has everything that the charge says, and nothing is held in vain."""
        events = await self._ledger.load(payment_id)
        state = fold(events)
        if state is None or commands(state, charge):
            return False
        return not holds_in_vain(charge, events)

    async def _charges(self, event: ProcessorEvent) -> tuple[Charge, ...]:
        reference, payment_id = event.reference, event.payment_id
        if reference is not None:
            charge = await self._processors.call(
                event.psp, "retrieve", lambda p: p.retrieve(reference)
            )
            return (charge,)
        if payment_id is None:
            return ()
        found = await self._processors.call(
            event.psp, "find", lambda p: p.find(payment_id, event.at)
        )
        return found.charges


@dataclass(frozen=True, slots=True, kw_only=True)
class PollLimits:
    """How far back the list of events is read, beyond the cursor or without one; in what steps."""

    overlap: timedelta = timedelta(minutes=10)
    lookback: timedelta = timedelta(days=7)
    slice: timedelta = timedelta(minutes=10)
    at_once: int = 16
    """Events that are handled at the same time."""


REMEMBERED_MOST = 100_000
"""Ids that a poll remembers, so that it does not handle an event or a charge again. Forgetting one
costs a look at a charge."""


class _Ids:
    """The ids that were seen last."""

    def __init__(self) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()

    def __contains__(self, each: str) -> bool:
        return each in self._ids

    def add(self, each: str) -> None:
        self._ids[each] = None
        if len(self._ids) > REMEMBERED_MOST:
            self._ids.popitem(last=False)


class EventsPoll:
    """Reads a processor's list of events since the last time, so that no webhook has to arrive.

    The cursor is kept outside of the process. While webhooks arrive, only events are read that were
    not delivered: the inbox has the others. If none has arrived of an event since the last reading,
    nobody may be telling us, and everything is read. Of `PollLimits`, `overlap` covers events that
    a processor lists late, and `lookback` a missing cursor.
    """

    def __init__(
        self,
        notices: Notices,
        processors: Processors,
        cursors: Store[datetime],
        clock: Callable[[], datetime],
        limits: PollLimits,
    ) -> None:
        self._notices = notices
        self._processors = processors
        self._cursors = cursors
        self._clock = clock
        self._limits = limits
        self._handled = _Ids()

    async def poll(self, psp: str) -> int:
        """Handle what is new; returns how many events were.

        After an outage the list is read in slices of time, oldest first, and the cursor follows.

        Raises ProcessorError, ServiceUnavailable: poll again, from the cursor.
        """
        started = self._clock()
        cursor, told_of = self._cursors.items.get(psp), self._notices.told_of.get(psp)
        since = (cursor - self._limits.overlap) if cursor else started - self._limits.lookback
        # Who was away for long may have been told of nothing meanwhile: endpoints are switched off.
        undelivered_only = bool(
            cursor and told_of and told_of >= cursor and since >= started - 2 * self._limits.overlap
        )
        number, processor = 0, self._processors.get(psp)
        while True:
            end = since + self._limits.overlap + self._limits.slice
            until = end if end < started else None
            listed = processor.events(since, until, undelivered_only=undelivered_only)
            number += await self._read(listed)
            await self._cursors.put(psp, until or started)
            if until is None:
                return number
            since = until

    async def _read(self, listed: AsyncIterator[ProcessorEvent]) -> int:
        number, waiting = 0, []
        async for event in self._new(listed):
            number += 1
            waiting.append(event)
            if len(waiting) == self._limits.at_once:
                await self._handle(waiting)
                waiting = []
        await self._handle(waiting)
        return number

    async def _new(self, listed: AsyncIterator[ProcessorEvent]) -> AsyncIterator[ProcessorEvent]:
        """Leave out events that were handled, and all but the newest that say the same."""
        seen, looked_at = _Ids(), _Ids()
        async for event in listed:
            # Newest first. An event without the charge, as of a refund, has it looked at whole.
            about = event.reference or event.object_id
            if event.event_id in self._handled or about in looked_at:
                continue
            if event.charge is None:
                looked_at.add(about)
            elif about in seen:
                continue
            seen.add(about)
            yield event

    async def _handle(self, events: Sequence[ProcessorEvent]) -> None:
        results = await asyncio.gather(
            *(self._notices.handle(event) for event in events), return_exceptions=True
        )
        for event, result in zip(events, results, strict=True):
            if result is None:
                self._handled.add(event.event_id)
        for result in results:
            if result is not None:
                raise result
