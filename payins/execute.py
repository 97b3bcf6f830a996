"""Payments in, as the service asks for them: record the intent, call the processor, answer.

`PayIns` is what `service/` uses. Each method appends the intent of a command, carries it out, and
returns the answer that the stream gives (`payins.answers`). A caller that repeats a request gets
the same answer, from any process, for ever. Whatever is interrupted is finished by the worker.

How long a request takes at the most: the writer's retries (15 s) and two calls of a processor.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import monotonic
from typing import TypeAlias

from connectors.charges import Charge
from payins.answers import Answered, InFlight, NotFound, answer_to
from payins.carry_out import CarryOut
from payins.intents import CONFIRM_LATER, created_details, intent_of, is_managed
from payins.keys import attempt_key
from payins.ledger import Ledger
from payins.metrics import PayInsMetrics
from payins.observe import Observed, extended
from payins.processors import Processors
from schemas.errors import Rejection, ServiceUnavailable
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.rejections import RejectionCode
from schemas.runtime import utc_now
from writer.commands import (
    Attempt,
    Change,
    CreatePayment,
    RequestCancel,
    RequestCapture,
    RequestRefund,
)

Result: TypeAlias = Answered | InFlight | Rejection
"""A request's answer; that it is in flight; or that it was refused, and nothing was recorded."""

CONFIRM_NUMBER = 2
"""A payment that is confirmed later has one confirmation: its attempt number 2."""

REMEMBERED_MOST = 5_000
"""Payments to be confirmed whose streams are kept in memory: those of half a minute at the peak."""
REMEMBERED_ROWS_MOST = 10
"""Longer streams are read again, because they would fill the memory."""

_log = logging.getLogger("purser.payins")


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Times of a request.

    - `alone_seconds`: so long after an intent only the process that appended it calls for it. The
      worker takes over twice as late: the two have clocks of their own. Only who is alone may take
      a refusal to connect for the whole truth.
    - `retry_after_seconds`: what a caller is told whose request is in flight.
    """

    alone_seconds: float = 1.0
    retry_after_seconds: float = 1.0


class PayIns:
    """Creates, confirms, captures, cancels and refunds payments; thread-unsafe, for one loop."""

    def __init__(
        self,
        ledger: Ledger,
        processors: Processors,
        metrics: PayInsMetrics,
        *,
        limits: RequestLimits = RequestLimits(),
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._clock = clock
        self._to_confirm: OrderedDict[PaymentId, Sequence[Event]] = OrderedDict()
        self.processors = processors
        self.carry_out = CarryOut(ledger, processors, metrics, clock)

    async def create(self, command: CreatePayment, *, respond_async: bool = False) -> Result:
        """Open a payment and, unless it is confirmed later, charge it.

        `command.flow` says how the buyer pays and must be given; `command.psp` is
        `processors.first`. With `respond_async` the charge is left to the worker.

        Raises:
            ServiceUnavailable: the intent may not be recorded; repeat the request.
        """
        assert command.flow is not None, "without a flow nothing is asked of a processor"
        result = await self._request(command, (), respond_async=respond_async)
        if command.flow == CONFIRM_LATER and isinstance(result, Answered) and not result.replayed:
            self._remember(command.payment_id, result.events)
        if isinstance(result, Rejection) and result.code == RejectionCode.IDEMPOTENCY_CONFLICT:
            # Which processor is asked is not the caller's wish: it stays the one that was asked.
            events = await self._ledger.load(command.payment_id)
            if events and events[0].psp != command.psp:
                same = replace(command, psp=events[0].psp)
                return await self._request(same, events, respond_async=respond_async)
        return result

    async def confirm(
        self,
        payment_id: PaymentId,
        *,
        method: str | None = None,
        payment_token: str | None = None,
        respond_async: bool = False,
    ) -> Result:
        """Charge a payment that was created to be confirmed later.

        A payment is confirmed once, whatever key a caller uses: the same confirmation gets the same
        answer, another one is refused as an idempotency conflict.
        """
        confirm = partial(
            self._confirm,
            payment_id,
            method=method,
            payment_token=payment_token,
            respond_async=respond_async,
        )
        if remembered := self._to_confirm.pop(payment_id, ()):
            result = await confirm(remembered)
            if not isinstance(result, Rejection):
                return result
        # Nobody is refused on a stream that may have moved on.
        return await confirm(await self._ledger.load(payment_id))

    def _remember(self, payment_id: PaymentId, events: Sequence[Event]) -> None:
        """Keep the stream of a payment that will be confirmed, most likely soon and here."""
        if len(events) > REMEMBERED_ROWS_MOST:
            return
        self._to_confirm[payment_id] = events
        if len(self._to_confirm) > REMEMBERED_MOST:
            self._to_confirm.popitem(last=False)

    async def _confirm(
        self,
        payment_id: PaymentId,
        events: Sequence[Event],
        *,
        method: str | None,
        payment_token: str | None,
        respond_async: bool,
    ) -> Result:
        if not events:
            return _unknown_payment(payment_id)
        if not is_managed(events) or created_details(events).flow != CONFIRM_LATER:
            return _refused("command", f"payment {payment_id} is not one to be confirmed later")
        key = attempt_key(CONFIRM_NUMBER)
        known = intent_of(events, key)
        command = Attempt(
            idempotency_key=key,
            occurred_at=self._clock(),
            payment_id=payment_id,
            psp=known.psp if known else self.processors.first,
            method=method,
            payment_token=payment_token,
        )
        return await self._request(command, events, respond_async=respond_async)

    async def capture(self, command: RequestCapture, *, respond_async: bool = False) -> Result:
        """Capture what is authorized, wholly or in part."""
        return await self._change(command, respond_async=respond_async)

    async def cancel(self, command: RequestCancel, *, respond_async: bool = False) -> Result:
        """Cancel a payment that is not captured."""
        return await self._change(command, respond_async=respond_async)

    async def refund(self, command: RequestRefund, *, respond_async: bool = False) -> Result:
        """Refund what was captured; the answer is given once the amount is reserved."""
        return await self._change(command, respond_async=respond_async)

    async def observe(self, charge: Charge) -> Observed:
        """Record what a processor's books say about a charge that came from anywhere."""
        return await self.carry_out.observer.observe(charge)

    async def answer(self, payment_id: PaymentId, key: str) -> Answered | InFlight | NotFound:
        """Return the answer to an earlier request, without doing anything."""
        found = answer_to(await self._ledger.load(payment_id), key)
        return found if isinstance(found, NotFound) else replace(found, replayed=True)

    # -- how a request is served

    async def _change(
        self, command: RequestCapture | RequestCancel | RequestRefund, *, respond_async: bool
    ) -> Result:
        events = await self._ledger.load(command.payment_id)
        if not events:
            return _unknown_payment(command.payment_id)
        if not is_managed(events):
            return _refused(
                "payment_id",
                f"payment {command.payment_id} was not made through this service, so its processor"
                " cannot be asked; change it where it was made",
            )
        return await self._request(command, events, respond_async=respond_async)

    async def _request(
        self, command: CreatePayment | Change, known: Sequence[Event], *, respond_async: bool
    ) -> Result:
        started = monotonic()
        key = command.idempotency_key
        recorded = await self._ledger.handle(command, known)
        if isinstance(recorded, Rejection):
            return recorded
        is_new = not recorded.already_done
        events: Sequence[Event] = extended(tuple(known), recorded) if is_new else ()
        if not events:
            events = await self._ledger.load(command.payment_id)
        # From here on the request is durable: whatever fails, the worker finishes it.
        intent = intent_of(events, key)
        if is_new and not respond_async and intent is not None and intent.is_open:

            def is_alone() -> bool:
                return monotonic() - started < self._limits.alone_seconds

            try:
                progress = await self.carry_out.run(events, intent, is_alone=is_alone)
                events = progress.events
            except ServiceUnavailable as error:
                _log.warning("payment %s is left to the worker: %s", command.payment_id, error)
        return self._answered(events, key, replayed=not is_new)

    def _answered(self, events: Sequence[Event], key: str, *, replayed: bool) -> Result:
        answer = answer_to(events, key)
        assert not isinstance(answer, NotFound), key
        if isinstance(answer, InFlight):
            seconds = self._limits.retry_after_seconds
            return replace(answer, retry_after_seconds=seconds, replayed=replayed)
        return replace(answer, replayed=replayed)


def _unknown_payment(payment_id: PaymentId) -> Rejection:
    return Rejection(
        code=RejectionCode.UNKNOWN_PAYMENT,
        field="payment_id",
        problem=f"there is no payment {payment_id}; create it first",
    )


def _refused(field: str, problem: str) -> Rejection:
    return Rejection(code=RejectionCode.ILLEGAL_TRANSITION, field=field, problem=problem)
