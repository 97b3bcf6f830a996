"""What a processor tells by itself: events from webhooks and from its list become evidence.

An event is a hint to look at a charge. If it holds the charge and that says nothing new, nothing is
asked; else the charge is looked at as it is now. Handling an event twice, or an old one, does
nothing.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from connectors.charges import Charge, EventKind, ProcessorEvent
from payins.evidence import commands
from payins.journal import Store
from payins.ledger import Ledger
from payins.metrics import PayInsMetrics
from payins.plan import holds_in_vain
from payins.poller import Poller
from payins.processors import Processors
from payins.resolve import Resolver
from schemas.errors import ProcessorRefused
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

    async def handle(self, event: ProcessorEvent) -> None:
        """Act on one event.

        Raises:
            ProcessorError: the processor cannot be asked now; handle the event again.
            ServiceUnavailable: PostgreSQL or Kafka cannot; handle it again.
        """
        result = await self._handled(event)
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
        if event.charge is not None and await self._is_known(event.charge):
            return "nothing_new"
        try:
            charges = await self._charges(event)
        except ProcessorRefused as refused:
            # There is no such charge, or it cannot be read: asking again does not help.
            await self._poller.refused(event.psp, event.reference or event.object_id, refused)
            return refused.code
        for charge in charges:
            facts = await self._resolver.observe(charge)
            payment_id = PaymentId(charge.payment_id) if charge.payment_id else None
            await self._poller.report(facts, charge.psp, payment_id)
        return "observed" if charges else "not_found"

    async def _is_known(self, charge: Charge) -> bool:
        """Whether the stream has everything that the charge says, and nothing is held in vain."""
        if charge.payment_id is None:
            return False
        events = await self._ledger.load(PaymentId(charge.payment_id))
        state = fold(events)
        return (
            state is not None and not commands(state, charge) and not holds_in_vain(charge, events)
        )

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
    """How far back the list of events is read: beyond the cursor, and without one."""

    overlap: timedelta = timedelta(minutes=10)
    lookback: timedelta = timedelta(days=7)


class EventsPoll:
    """Reads a processor's list of events since the last time, so that no webhook has to arrive.

    The cursor is kept outside of the process. `overlap_seconds` covers events that a processor
    lists late, `lookback_seconds` a missing cursor.
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

    async def poll(self, psp: str) -> int:
        """Handle what is new; returns how many charges were looked at.

        Raises ProcessorError, ServiceUnavailable: poll again, from the same cursor.
        """
        started = self._clock()
        cursor = self._cursors.items.get(psp)
        since = (cursor - self._limits.overlap) if cursor else started - self._limits.lookback
        seen: dict[str, ProcessorEvent] = {}
        async for event in self._processors.get(psp).events(since):
            # Newest first. An event without the charge, as of a refund, has it looked at whole.
            about = event.reference or event.object_id
            if about not in seen or event.charge is None:
                seen[about] = event
        for event in reversed(seen.values()):
            await self._notices.handle(event)
        await self._cursors.put(psp, started)
        return len(seen)
