"""Resolves a pending payment: takes the steps that `payins.plan` and `payins.late` name.

The worker calls `resolve` when a payment is due. Every step may be interrupted and taken again, by
this process or another: what is asked of a processor has a key of its own, and so has what is
appended. Errors of a processor are not raised but returned: the retry queue decides when to come
back.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeAlias, assert_never

from connectors.charges import Charge, ChargeStatus, Lookup, RefundStatus, Terms
from payins.carry_out import CarryOut, Stream
from payins.evidence import Unrecordable
from payins.intents import (
    Intent,
    IntentKind,
    attempt_number,
    attempts,
    intent_of,
    is_managed,
    last_attempt,
    reference_for,
)
from payins.keys import release_key, step_key
from payins.late import HonourLate, LateStep, RefundLate, late_orders, late_steps
from payins.ledger import Ledger
from payins.plan import (
    ABANDONED,
    NOT_CONFIRMED,
    NOT_FOUND,
    Abandon,
    AttemptAnew,
    Carry,
    ExpireAbsent,
    ExpireUnconfirmed,
    Find,
    Look,
    Repeat,
    Settled,
    Step,
    Wait,
    after_absence,
    holds_in_vain,
    last_sent,
    may_charge,
    next_step,
)
from payins.policies import LONGEST_REQUEST, TAKE_OVER_AFTER, Question
from payins.processors import Processors
from payins.work import Resolved, Visit, Work
from schemas.errors import ProcessorError, ProcessorRefused, Rejection
from schemas.ids import PaymentId
from writer.commands import AnyCommand, Expire, Honour, RequestCancel

FIND_SECONDS = 300.0
"""A search reads many pages, and nobody waits for it."""
LOOK_AFTER_FAILURES = 2
"""A processor can keep an error under a request's key and have done it: then only a look tells."""
STEPS_MAX = 8
"""Steps for one payment before others have their turn."""

LATE_REFUND_FAILED = "late_refund_failed"

Claimed: TypeAlias = Callable[[PaymentId, frozenset[str]], Awaitable[frozenset[str]]]
"""Which of these orders another payment than this one has paid, or can still pay."""

_log = logging.getLogger("purser.payins")


class Resolver:
    """Takes steps; holds no state between two calls."""

    def __init__(
        self,
        carry_out: CarryOut,
        ledger: Ledger,
        processors: Processors,
        claimed: Claimed,
        clock: Callable[[], datetime],
    ) -> None:
        self._carry_out = carry_out
        self._ledger = ledger
        self._processors = processors
        self._claimed = claimed
        self._clock = clock

    async def resolve(self, payment_id: PaymentId, visit: Visit) -> Resolved:
        """Take the steps that are due for a payment.

        Raises ServiceUnavailable: `payments` cannot be read or appended to; resolve it again.
        """
        stream: Stream = tuple(await self._ledger.load(payment_id))
        if not stream:
            return Resolved(last_seq=0)
        work = Work(stream=stream, visit=visit, repeats=visit.repeats, is_refused=visit.is_refused)
        for _ in range(STEPS_MAX):
            try:
                is_at_rest = await self._one(work)
            except ProcessorError as error:
                work.error, is_at_rest = error, True
            if is_at_rest and not work.pass_by():
                break
        return work.resolved()

    async def observe(self, charge: Charge) -> tuple[Unrecordable, ...]:
        """Record what a charge says that came by itself, and let go of what is held in vain.

        Raises ProcessorError, ServiceUnavailable: observe it again.
        """
        observed = await self._carry_out.observer.observe(charge)
        await self._let_go(charge, observed.events)
        return observed.unrecordable

    async def _one(self, work: Work) -> bool:
        """Take one step; return whether there is nothing more to do now."""
        work.doing = None
        if is_managed(work.stream):
            for late in late_steps(work.stream, await self._claimed_orders(work)):
                if late.name not in work.passed:
                    work.doing = late.name
                    return await self._late(work, late)
        step = self._next(work)
        work.take(step)
        if isinstance(step, Carry) and step.intent.kind is not IntentKind.CHARGE:
            work.doing = step.intent.name
        match step:
            case Settled() | Wait():
                return True
            case Carry():
                return await self._carry(work, step)
            case Look():
                charge = await self._retrieve(step.psp, step.reference)
                return await self._looked(work, [charge], step.question)
            case Find():
                return await self._find(work, step)
            case Abandon():
                fields = self._fields(work, step.intent.seq, ABANDONED)
                return await self._append(work, RequestCancel(**fields, reason=ABANDONED))
            case ExpireUnconfirmed():
                fields = self._fields(work, 1, "expired")
                expire = Expire(**fields, reason=NOT_CONFIRMED, of_attempt=1)
                return await self._append(work, expire)
            case _:
                assert_never(step)

    # -- requests

    async def _carry(self, work: Work, step: Carry) -> bool:
        if step.look_first or work.visit.failures >= LOOK_AFTER_FAILURES:
            reference = reference_for(work.stream, step.intent)
            if reference is not None:
                charge = await self._retrieve(step.intent.psp, reference)
                seq = work.last_seq
                await self._observe(work, charge)
                if work.last_seq != seq:
                    return False  # the books say more than the stream did: decide anew
                if charge.has_refund(step.intent.refund_id):
                    # It is under way. Under a forgotten key it would be made once more.
                    work.wait(step.question, step.intent.at, self._clock())
                    return True
        return await self._run(work, step.intent.key, step.question)

    async def _run(self, work: Work, key: str, question: Question) -> bool:
        intent = intent_of(work.stream, key)
        assert intent is not None, key
        terms, is_charge = self._terms(work), intent.kind is IntentKind.CHARGE
        last_sent_at = max(work.visit.last_sent_at, intent.at + LONGEST_REQUEST)
        is_settled = is_charge and terms.settled(last_sent_at, self._clock())
        work.sent = work.sent or is_charge
        work.repeats += is_charge
        seq = work.last_seq
        progress = await self._carry_out.run(
            work.stream, intent, is_alone=lambda: False, is_settled=is_settled
        )
        work.stream, work.error = progress.events, progress.error
        if is_charge:
            work.is_refused = progress.is_refused
        if progress.is_refused:
            # Once nothing can be under way any more, the same answer will be believed.
            work.question = Question.UNKNOWN
            work.until = self._clock() + terms.under_way_most + TAKE_OVER_AFTER
            return True
        if work.error is None and work.last_seq == seq:
            # The processor has the request, and nothing has come of it yet.
            work.wait(question, intent.at, self._clock())
        return work.error is not None or work.last_seq == seq

    # -- looking

    async def _looked(self, work: Work, charges: Sequence[Charge], question: Question) -> bool:
        """Record what was found; return whether it said nothing new."""
        seq = work.last_seq
        for charge in charges:
            await self._observe(work, charge)
        work.looked_at = self._clock()
        if work.last_seq == seq:
            work.wait(question, work.stream[-1].recorded_at, self._clock())
        return work.last_seq == seq

    async def _find(self, work: Work, step: Find) -> bool:
        intent, terms = step.intent, self._terms(work)
        until = last_sent(intent) + terms.under_way_most
        reference = reference_for(work.stream, intent)
        lookup = await self._processors.call(
            intent.psp,
            "find",
            lambda p: p.find(work.payment_id, intent.at, reference, intent.seq, until),
            seconds=FIND_SECONDS,
        )
        nothing_new = await self._looked(work, lookup.charges, step.question)
        if not lookup.wanted:
            return await self._absent(work, step, lookup)
        if nothing_new and all(each.status is ChargeStatus.CREATED for each in lookup.wanted):
            return await self._never_tried(work, step, lookup.wanted)
        return nothing_new

    async def _never_tried(self, work: Work, step: Find, charges: Sequence[Charge]) -> bool:
        """The processor made a charge and failed before it tried it: try again, or end it."""
        intent, terms, now = step.intent, self._terms(work), self._clock()
        if may_charge(intent, attempts(work.stream)[0].at, terms, now):
            work.step = "repeat"
            return await self._run(work, intent.key, step.question)
        settled_at = max(last_sent(intent), work.visit.last_sent_at) + terms.under_way_most
        if now < settled_at:
            work.wait(step.question, intent.at, now)
            return True
        seq = work.last_seq
        for charge in charges:
            await self._observe(work, await self._end(work.payment_id, charge))
        return work.last_seq == seq

    async def _absent(self, work: Work, step: Find, lookup: Lookup) -> bool:
        after = after_absence(
            step,
            lookup,
            terms=self._terms(work),
            asked_at=attempts(work.stream)[0].at,
            last_sent_at=work.visit.last_sent_at,
            repeats=work.repeats,
            is_refused=work.is_refused,
            now=self._clock(),
        )
        match after:
            case Wait():
                work.take(after)
                return True
            case Repeat():
                work.step = "repeat"
                return await self._run(work, after.intent.key, step.question)
            case AttemptAnew():
                work.step = "attempt_anew"
                return await self._attempt_anew(work, step.intent, after.evidence, step.question)
            case ExpireAbsent():
                work.step = "expire_absent"
                fields = self._fields(work, step.intent.seq, NOT_FOUND)
                number = attempt_number(work.stream, step.intent)
                expire = Expire(**fields, reason=NOT_FOUND, of_attempt=number)
                return await self._append(work, expire)
            case _:
                assert_never(after)

    async def _attempt_anew(
        self, work: Work, intent: Intent, evidence: str, question: Question
    ) -> bool:
        tried = [each.psp for each in attempts(work.stream)]
        psp = self._processors.fallback(tried) or intent.psp
        work.stream = await self._carry_out.attempt_at(work.stream, psp, evidence)
        following = last_attempt(work.stream)
        assert following is not None
        if following.seq == intent.seq:
            return False  # it was refused: something else is open, and comes first
        work.repeats = 0
        return await self._run(work, following.key, question)

    # -- late money

    async def _late(self, work: Work, step: LateStep) -> bool:
        work.question, work.until = Question.LATE, None
        if isinstance(step, HonourLate):
            work.step = "honour"
            fields = self._fields(work, step.seq, "honoured")
            honour = Honour(**fields, order_id=step.order_id, psp_reference=step.reference)
            return await self._append(work, honour)
        work.step = "refund_late"
        return await self._refund_late(work, step)

    async def _refund_late(self, work: Work, step: RefundLate) -> bool:
        """Give it back; first look, because the processor may have forgotten the key by now."""
        seq = work.last_seq
        charge = await self._retrieve(step.psp, step.reference)
        await self._observe(work, charge)
        if work.last_seq != seq:
            return False  # the books say more than the stream did, such as a dispute: decide anew
        if not charge.has_refund(step.refund_id):
            charge = await self._refund(work, step, charge)
            await self._observe(work, charge)
        if not charge.has_refund(step.refund_id) or charge.has_refund(
            step.refund_id, RefundStatus.FAILED
        ):
            fact = Unrecordable(
                reason=LATE_REFUND_FAILED,
                reference=step.reference,
                amount_minor=step.amount_minor,
                currency=charge.currency,
            )
            work.unrecordable[fact] = None
        if work.last_seq == seq:
            work.wait(Question.LATE, work.stream[-1].recorded_at, self._clock())
        return work.last_seq == seq

    async def _refund(self, work: Work, step: RefundLate, charge: Charge) -> Charge:
        """Ask for the refund of late money; one that is refused leaves the charge as it was."""
        currency = work.stream[0].currency
        try:
            return await self._processors.call(
                step.psp,
                "refund",
                lambda p: p.refund(
                    step.reference,
                    currency=currency,
                    amount_minor=step.amount_minor,
                    refund_id=step.refund_id,
                    key=step.psp_key,
                ),
            )
        except ProcessorRefused as refused:
            _log.warning("payment %s: late money cannot go back: %s", work.payment_id, refused)
            return charge

    async def _claimed_orders(self, work: Work) -> frozenset[str]:
        orders = late_orders(work.stream)
        return await self._claimed(work.payment_id, orders) if orders else frozenset()

    # -- what they share

    def _next(self, work: Work) -> Step:
        terms = self._terms(work)
        return next_step(work.stream, self._clock(), terms, work.last_look, work.passed)

    def _terms(self, work: Work) -> Terms:
        """The terms of the current processor; raises NotSent if it is not configured."""
        attempt = last_attempt(work.stream)
        psp = attempt.psp if attempt is not None else self._processors.first
        return self._processors.get(psp).terms

    async def _retrieve(self, psp: str, reference: str) -> Charge:
        return await self._processors.call(psp, "retrieve", lambda p: p.retrieve(reference))

    async def _observe(self, work: Work, charge: Charge) -> None:
        observed = await self._carry_out.observer.observe(charge, work.stream)
        work.unrecordable |= dict.fromkeys(observed.unrecordable)
        if observed.events:
            work.stream = observed.events
        await self._let_go(charge, work.stream)

    async def _let_go(self, charge: Charge, stream: Stream) -> None:
        """End what a charge still holds or waits for, if its payment has no use for it.

        No money moves by that, so it needs no intent: it is repeated until nothing is held.
        """
        if not holds_in_vain(charge, stream):
            return
        try:
            await self._end(PaymentId(stream[0].payment_id), charge)
        except ProcessorRefused as refused:
            # It cannot be ended any more. If money comes of it, that is late money.
            _log.info("payment %s: %s", stream[0].payment_id, refused)

    async def _end(self, payment_id: PaymentId, charge: Charge) -> Charge:
        """Ask for the end of a charge that holds or waits in vain, and return it as it then is."""
        reference = charge.reference
        key = release_key(payment_id, reference, charge.status)
        return await self._processors.call(
            charge.psp, "release", lambda p: p.cancel(reference, key=key)
        )

    async def _append(self, work: Work, command: AnyCommand) -> bool:
        """Append what Purser itself decided; return True if it was refused."""
        answer = await self._ledger.handle(command, work.stream)
        seq = work.last_seq
        work.stream = tuple(await self._ledger.load(work.payment_id))
        if isinstance(answer, Rejection):
            _log.info("payment %s: %s", work.payment_id, answer)
        if work.last_seq == seq:
            assert work.question is not None
            work.wait(work.question, work.stream[-1].recorded_at, self._clock())
        return work.last_seq == seq

    def _fields(self, work: Work, seq: int, what: str) -> dict[str, Any]:
        return {
            "idempotency_key": step_key(seq, what),
            "occurred_at": self._clock(),
            "payment_id": work.payment_id,
        }
