"""How an intent is carried out: call the processor, append the outcome.

The intent is in `payments` before anything here runs. A crash at any point leaves it there without
an outcome, and the worker calls again: with the same key, so that the processor does it once. No
call happens inside a database transaction. The service and the worker carry out intents by the
same functions.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from connectors.charges import Charge, Processor
from payins.intents import (
    Intent,
    IntentKind,
    attempt_number,
    attempts,
    charge_request,
    intent_of,
    last_attempt,
    reference_for,
)
from payins.keys import REFUSED, attempt_key, step_key
from payins.ledger import Ledger
from payins.metrics import PayInsMetrics
from payins.observe import Observer, extended
from payins.policies import LONGEST_REQUEST, QUESTIONS, TAKE_OVER_AFTER
from payins.processors import Processors
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused, Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.lifecycle import Status
from schemas.runtime import utc_now
from writer.commands import (
    AnyCommand,
    Attempt,
    Cancel,
    Fail,
    FailCancel,
    FailCapture,
    FailRefund,
    MarkUnknown,
)
from writer.state import PaymentState, fold

Answer = TypeVar("Answer")
Stream: TypeAlias = tuple[Event, ...]

NOT_SENT = "not_sent"
"""Evidence for another attempt: the one before never left us."""
NO_CHARGE = "no_charge"
"""Reason of a request that has nothing at the processor to be about."""
PART_OF_A_CHARGE = "part_of_a_charge"
"""Reason why one order of several cannot be cancelled before the charge is authorized."""

_log = logging.getLogger("purser.payins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The stream after an attempt to carry out an intent; `error` is why there is no outcome.

    `is_refused`: the processor refuses the charge, and an earlier call may still have its effect.
    """

    events: Stream
    error: ProcessorError | None = None
    is_refused: bool = False


class CarryOut:
    """Carries out intents; holds no state of its own."""

    def __init__(
        self,
        ledger: Ledger,
        processors: Processors,
        metrics: PayInsMetrics,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._processors = processors
        self._metrics = metrics
        self._clock = clock
        self.observer = Observer(ledger, metrics)

    async def run(
        self,
        events: Sequence[Event],
        intent: Intent,
        *,
        is_alone: Callable[[], bool],
        is_settled: bool = False,
    ) -> Progress:
        """Carry out an open intent once.

        `is_alone`: whether no other process can have called for it, so that what this call shows
        is the whole truth about it. `is_settled`: whether others have called for it, and all that
        can come of it has. A refusal is the whole truth then, too: if one of them had its effect,
        the processor would give that for the same key.
        """
        stream = tuple(events)
        match intent.kind:
            case IntentKind.CHARGE:
                return await self._charge(stream, intent, is_alone, is_settled=is_settled)
            case IntentKind.CAPTURE:
                return await self._capture(stream, intent)
            case IntentKind.CANCEL:
                return await self._cancel(stream, intent)
            case IntentKind.REFUND:
                return await self._refund(stream, intent)

    async def look(self, events: Sequence[Event], psp: str, reference: str) -> Progress:
        """Ask the processor how a charge stands, and record it."""
        charge = await self._processors.call(psp, "retrieve", lambda p: p.retrieve(reference))
        return Progress(events=(await self.observer.observe(charge, events)).events)

    async def append(self, stream: Stream, command: AnyCommand) -> Stream:
        """Append a command and return the stream after it; a refusal changes nothing."""
        answer = await self._ledger.handle(command, stream)
        if isinstance(answer, Rejection):
            _log.info("payment %s: %s", command.payment_id, answer)
        elif longer := extended(stream, answer):
            return longer
        return tuple(await self._ledger.load(command.payment_id))

    # -- charges

    async def _charge(
        self,
        stream: Stream,
        intent: Intent,
        is_alone: Callable[[], bool],
        *,
        is_settled: bool,
    ) -> Progress:
        while True:
            request = charge_request(stream, intent)
            try:
                charge = await self._call(intent, lambda p, r=request: p.charge(r))  # type: ignore[misc]
            except NotSent as error:
                psp = self._processors.fallback([each.psp for each in attempts(stream)])
                if psp is None or not is_alone():
                    return Progress(events=await self._unknown(stream, intent), error=error)
                stream = await self.attempt_at(stream, psp, NOT_SENT)
                following = last_attempt(stream)
                if following is None or following.seq == intent.seq or not following.is_open:
                    return Progress(events=stream, error=error)
                if following.at - intent.at >= TAKE_OVER_AFTER:
                    # The worker may have called for the attempt before. It goes on with this one.
                    return Progress(events=stream, error=error)
                intent = following
            except OutcomeUnknown as error:
                return Progress(events=await self._unknown(stream, intent), error=error)
            except ProcessorRefused as error:
                if not is_settled and not is_alone():
                    # An earlier call may have had its effect: that this one has none says nothing.
                    return Progress(events=await self._unknown(stream, intent), is_refused=True)
                fields = self._fields(intent, REFUSED)
                return Progress(events=await self.append(stream, Fail(**fields, reason=error.code)))
            else:
                return Progress(events=(await self.observer.observe(charge, stream)).events)

    async def attempt_at(self, stream: Stream, psp: str, evidence: str) -> Stream:
        """Append the intent of an attempt at another processor; two who do so append one."""
        state = fold(stream)
        assert state is not None
        number = state.attempts[-1].number + 1
        command = Attempt(
            idempotency_key=attempt_key(number),
            occurred_at=self._clock(),
            payment_id=state.payment_id,
            psp=psp,
            evidence=evidence,
        )
        self._metrics.fallbacks.labels(psp=psp, evidence=evidence).inc()
        return await self.append(stream, command)

    async def _unknown(self, stream: Stream, intent: Intent) -> Stream:
        """Record that the outcome is unknown, unless another process knows it by now."""
        stream = tuple(await self._ledger.load(PaymentId(stream[0].payment_id)))
        now = intent_of(stream, intent.key)
        if now is None or not now.is_open:
            return stream
        fields = self._fields(intent, "unknown")
        number = attempt_number(stream, intent)
        return await self.append(stream, MarkUnknown(**fields, of_attempt=number))

    # -- captures

    async def _capture(self, stream: Stream, intent: Intent) -> Progress:
        state = _state(stream)
        reference = state.attempts[-1].reference
        if reference is None:
            return Progress(events=await self._fail(FailCapture, stream, intent, NO_CHARGE))
        try:
            final = await self._is_final(stream, intent, reference)
        except ProcessorError as error:
            return Progress(events=stream, error=error)
        return await self._change(
            stream,
            intent,
            reference,
            lambda p: p.capture(
                reference,
                currency=state.currency,
                amount_minor=intent.amount_minor,
                key=intent.psp_key,
                final=final,
            ),
        )

    async def _is_final(self, stream: Stream, intent: Intent, reference: str) -> bool:
        """Whether what a capture leaves is released.

        It is, if nobody could capture it: a card that allows one capture would hold the buyer's
        money until the authorization ends. While another order waits for its capture, such a
        capture is refused instead, and the shop decides. Only what was there when it was requested
        counts: under its key a processor takes the same request only.
        """
        before = _state(stream[: intent.seq - 1]).live
        left_minor = sum(order.capturable_minor for order in before)
        if intent.is_final or intent.amount_minor >= left_minor:
            return True
        waiting = [order for order in before if order.state.status in QUESTIONS]
        if any(order.order_id not in intent.amounts for order in waiting):
            return False
        charge = await self._call(intent, lambda p: p.retrieve(reference), "retrieve")
        return not charge.captures_more

    # -- cancellations

    async def _cancel(self, stream: Stream, intent: Intent) -> Progress:
        state = _state(stream)
        attempt = last_attempt(stream)
        if attempt is None:
            # Nothing was asked of a processor, so there is nothing to end there.
            return Progress(events=await self._fail(Cancel, stream, intent, None))
        reference = state.attempts[-1].reference
        if not _is_whole(state, intent):
            others = [order for order in state.live if order.order_id not in intent.amounts]
            if any(order.capture_requested_seq for order in others):
                # Whether the rest of the charge is needed is known after that. The worker goes on.
                return Progress(events=stream)
            return Progress(events=await self._cancel_part(stream, state, intent))
        if reference is None:
            return await self._cancel_without_reference(stream, intent, attempt)
        return await self._change(
            stream, intent, reference, lambda p: p.cancel(reference, key=intent.psp_key)
        )

    async def _cancel_part(self, stream: Stream, state: PaymentState, intent: Intent) -> Stream:
        """Cancel some orders of a charge: what is authorized for them is not captured."""
        orders = [state.orders[row.order_id] for row in intent.rows]
        if all(order.state.status is Status.AUTHORIZED for order in orders):
            return await self._fail(Cancel, stream, intent, None)
        return await self._fail(FailCancel, stream, intent, PART_OF_A_CHARGE)

    async def _cancel_without_reference(
        self, stream: Stream, intent: Intent, attempt: Intent
    ) -> Progress:
        """The charge is under way or was lost: record what is found; the worker cancels then."""
        since, payment_id = stream[0].occurred_at, stream[0].payment_id
        try:
            found = await self._call(
                attempt, lambda p: p.find(payment_id, since, None, attempt.seq), "find"
            )
        except ProcessorError as error:
            return Progress(events=stream, error=error)
        for charge in found.charges:
            stream = (await self.observer.observe(charge, stream)).events
        reference = _state(stream).attempts[-1].reference
        open_still = intent_of(stream, intent.key)
        if open_still is None or not open_still.is_open:
            return Progress(events=stream)
        if reference is None:
            # While a cancellation is open nobody begins a charge; who read the stream before it
            # may still do so.
            sent_at = intent.at + LONGEST_REQUEST
            terms = self._processors.get(attempt.psp).terms
            if found.proves_absence(terms, sent_at):
                stream = await self._fail(Cancel, stream, intent, found.evidence)
            return Progress(events=stream)
        return await self._change(
            stream, intent, reference, lambda p: p.cancel(reference, key=intent.psp_key)
        )

    # -- refunds

    async def _refund(self, stream: Stream, intent: Intent) -> Progress:
        state = _state(stream)
        refund_id = intent.refund_id
        assert refund_id is not None, intent
        reference = reference_for(stream, intent)
        if reference is None:
            return Progress(events=await self._fail_refund(stream, intent, NO_CHARGE))
        return await self._change(
            stream,
            intent,
            reference,
            lambda p: p.refund(
                reference,
                currency=state.currency,
                amount_minor=intent.amount_minor,
                refund_id=refund_id,
                key=intent.psp_key,
            ),
        )

    async def _fail_refund(self, stream: Stream, intent: Intent, reason: str) -> Stream:
        assert intent.refund_id is not None, intent
        fields = self._fields(intent, "failed")
        return await self.append(
            stream, FailRefund(**fields, refund_id=intent.refund_id, reason=reason)
        )

    # -- what they share

    async def _change(
        self,
        stream: Stream,
        intent: Intent,
        reference: str,
        ask: Callable[[Processor], Awaitable[Charge]],
    ) -> Progress:
        """Ask for a change of a charge. If it is refused, look why: it may have happened."""
        try:
            charge = await self._call(intent, ask)
        except ProcessorRefused as refused:
            try:
                charge = await self._call(intent, lambda p: p.retrieve(reference), "retrieve")
            except ProcessorError as error:
                return Progress(events=stream, error=error)
            stream = (await self.observer.observe(charge, stream)).events
            stream = await self._refused(stream, intent, refused.code)
            # What the request had reserved is free again, and may be what another refund took.
        except ProcessorError as error:
            return Progress(events=stream, error=error)
        return Progress(events=(await self.observer.observe(charge, stream)).events)

    async def _refused(self, stream: Stream, intent: Intent, reason: str) -> Stream:
        """End an intent that the processor refuses, unless the books showed its outcome."""
        now = intent_of(stream, intent.key)
        assert now is not None, intent
        if not now.is_open:
            return stream
        if intent.kind is IntentKind.REFUND:
            return await self._fail_refund(stream, intent, reason)
        command = FailCapture if intent.kind is IntentKind.CAPTURE else FailCancel
        return await self._fail(command, stream, intent, reason)

    async def _fail(
        self,
        command: type[FailCapture | FailCancel | Cancel],
        stream: Stream,
        intent: Intent,
        reason: str | None,
    ) -> Stream:
        """End a request, order by order: another request may be open for another order."""
        for row in intent.rows:
            fields = self._fields(intent, f"{command.event_type}:{row.order_id}")
            stream = await self.append(
                stream, command(**fields, order_id=row.order_id, reason=reason)
            )
        return stream

    async def _call(
        self,
        intent: Intent,
        ask: Callable[[Processor], Awaitable[Answer]],
        operation: str | None = None,
    ) -> Answer:
        return await self._processors.call(intent.psp, operation or intent.kind.value, ask)

    def _fields(self, intent: Intent, what: str) -> dict[str, Any]:
        return {
            "idempotency_key": step_key(intent.seq, what),
            "occurred_at": self._clock(),
            "payment_id": PaymentId(intent.rows[0].payment_id),
        }


def _state(stream: Stream) -> PaymentState:
    state = fold(stream)
    assert state is not None
    return state


def _is_whole(state: PaymentState, intent: Intent) -> bool:
    """Whether an intent is about all that its charge holds: of other orders all was captured."""
    others = [order for order in state.live if order.order_id not in intent.amounts]
    return all(
        each.state.status is Status.CAPTURED and not each.capturable_minor for each in others
    )
