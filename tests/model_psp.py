"""A processor in memory, for tests: keeps books, keys for a day, and fails as it is told.

It states what any processor must do, as simply as possible; no connector and no simulator is
involved. A payment's token says how its charge ends.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from connectors.charges import (
    Charge,
    ChargeRequest,
    ChargeStatus,
    Dispute,
    DisputeStatus,
    EventKind,
    Failure,
    Lookup,
    ProcessorEvent,
    Refund,
    RefundStatus,
    Terms,
)
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused

START = datetime(2026, 1, 1, tzinfo=UTC)

TERMS = Terms(keys_kept=timedelta(hours=24), under_way_most=timedelta(seconds=30))

HELD = timedelta(days=7)
TRANSFERRED = timedelta(days=3)


class Fault(StrEnum):
    """What happens to a call."""

    NOT_SENT = "not_sent"
    LOST_BEFORE = "lost_before"  # the request is lost on its way: no effect, outcome unknown
    LOST_AFTER = "lost_after"  # the answer is lost on its way back: effect, outcome unknown
    BROKEN = "broken"  # no effect; the processor keeps its error under the key, and repeats it
    DELAYED = "delayed"  # the outcome is unknown, and the effect comes when nobody waits any more


@dataclass
class ModelClock:
    """A clock that stands until it is moved."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move forward."""
        self.now += timedelta(seconds=seconds)


async def at_once() -> None:
    """A point at which a simulation could switch to somebody else."""


@dataclass
class ModelPsp:
    """One processor; `faults(operation)` is asked before each call that changes something."""

    name: str = "stripe"
    clock: ModelClock = field(default_factory=ModelClock)
    faults: Callable[[str], Fault | None] = lambda _operation: None
    point: Callable[[], Awaitable[None]] = at_once
    terms: Terms = field(default_factory=lambda: TERMS)
    charges: dict[str, Charge] = field(default_factory=dict)
    keys: dict[str, tuple[datetime, object, Charge | ProcessorError]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    log: list[ProcessorEvent] = field(default_factory=list)
    delivered: set[str] = field(default_factory=set)
    """The ids of events that count as delivered."""
    delayed: list[tuple[datetime, Callable[[], object]]] = field(default_factory=list)
    doubled: set[str] = field(default_factory=set)
    """Charges that nobody asked for."""
    captures: list[tuple[str, str, int]] = field(default_factory=list)
    """Key, charge and amount of each capture that took money."""

    # -- the protocol

    async def charge(self, request: ChargeRequest) -> Charge:
        return await self._call("charge", request.key, request, lambda: self._charged(request))

    async def retrieve(self, reference: str) -> Charge:
        await self._read("retrieve")
        if reference not in self.charges:
            raise ProcessorRefused(self.name, "resource_missing", f"no charge {reference}")
        return self.charges[reference]

    async def find(
        self,
        payment_id: UUID,
        since: datetime,
        reference: str | None = None,
        intent_seq: int | None = None,
        until: datetime | None = None,
    ) -> Lookup:
        looked_at = self.clock()
        await self._read("find")
        found = tuple(each for each in self.charges.values() if each.payment_id == payment_id)
        return Lookup(
            charges=found,
            sources=("list",),
            complete=True,
            looked_at=looked_at,
            intent_seq=intent_seq,
        )

    async def capture(
        self, reference: str, *, currency: str, amount_minor: int, key: str, final: bool
    ) -> Charge:
        def effect() -> str:
            charge = self.charges[reference]
            left = charge.authorized_minor - charge.captured_minor
            is_allowed = final or charge.captures_more
            if (
                charge.status is not ChargeStatus.AUTHORIZED
                or amount_minor > left
                or not is_allowed
            ):
                raise ProcessorRefused(self.name, "charge_not_capturable", "cannot be captured")
            self.captures.append((key, reference, amount_minor))
            is_done = final or amount_minor == left
            self._set(
                replace(
                    charge,
                    captured_minor=charge.captured_minor + amount_minor,
                    status=ChargeStatus.CAPTURED if is_done else ChargeStatus.AUTHORIZED,
                )
            )
            return reference

        return await self._call("capture", key, (reference, amount_minor, final), effect)

    async def cancel(self, reference: str, *, key: str) -> Charge:
        def effect() -> str:
            charge = self.charges[reference]
            if charge.status in (ChargeStatus.CAPTURED, ChargeStatus.FAILED):
                raise ProcessorRefused(self.name, "not_cancellable", "cannot be cancelled")
            # What was taken stays taken; only the rest goes back.
            is_taken = charge.captured_minor > 0
            status = ChargeStatus.CAPTURED if is_taken else ChargeStatus.CANCELLED
            self._set(replace(charge, status=status))
            return reference

        return await self._call("cancel", key, reference, effect)

    async def refund(
        self, reference: str, *, currency: str, amount_minor: int, refund_id: str, key: str
    ) -> Charge:
        def effect() -> str:
            self.refund_now(reference, amount_minor, refund_id)
            return reference

        return await self._call("refund", key, (reference, amount_minor, refund_id), effect)

    async def events(
        self, since: datetime, until: datetime | None = None, *, undelivered_only: bool = False
    ) -> AsyncIterator[ProcessorEvent]:
        await self._read("events")
        end = until or datetime.max.replace(tzinfo=UTC)
        for event in reversed([each for each in self.log if since <= each.at < end]):
            if not (undelivered_only and event.event_id in self.delivered):
                yield event

    async def close(self) -> None:
        """Nothing is open."""

    # -- what happens at the processor by itself

    def settle(self, reference: str, status: ChargeStatus) -> None:
        """A charge in progress ends."""
        charge = self.charges[reference]
        captured = charge.amount_minor if status is ChargeStatus.CAPTURED else 0
        held = captured or (charge.amount_minor if status is ChargeStatus.AUTHORIZED else 0)
        failure = Failure(code="expired_card", retryable=False)
        self._set(
            replace(
                charge,
                status=status,
                captured_minor=captured,
                authorized_minor=held,
                failure=failure if status is ChargeStatus.FAILED else None,
            )
        )

    def charge_again(self, reference: str) -> str:
        """Take the money of a charge once more, under another reference and the same request."""
        charge = self.charges[reference]
        again = f"pi_{self.name}_{len(self.charges) + 1}"
        self.doubled.add(again)
        taken = replace(
            charge,
            reference=again,
            status=ChargeStatus.CAPTURED,
            authorized_minor=charge.amount_minor,
            captured_minor=charge.amount_minor,
            refunds=(),
            disputes=(),
        )
        self._set(taken)
        return again

    def refund_now(
        self,
        reference: str,
        amount_minor: int,
        refund_id: str | None,
        status: RefundStatus = RefundStatus.SUCCEEDED,
    ) -> str:
        """Refund, also from the processor's pages."""
        charge = self.charges[reference]
        gone = sum(r.amount_minor for r in charge.refunds if r.status is not RefundStatus.FAILED)
        is_disputed = any(each.status is not DisputeStatus.WON for each in charge.disputes)
        if charge.captured_minor - gone < amount_minor or is_disputed:
            raise ProcessorRefused(self.name, "charge_already_refunded", "nothing is left")
        refund = Refund(
            reference=f"re_{reference}_{len(charge.refunds)}",
            refund_id=refund_id,
            amount_minor=amount_minor,
            status=status,
            reason=None,
            at=self.clock(),
        )
        self._set(replace(charge, refunds=(*charge.refunds, refund)))
        return refund.reference

    def settle_refund(self, reference: str, number: int, status: RefundStatus) -> None:
        """A refund gets another status."""
        charge = self.charges[reference]
        refunds = list(charge.refunds)
        refunds[number] = replace(refunds[number], status=status, at=self.clock())
        self._set(replace(charge, refunds=tuple(refunds)))

    def dispute(self, reference: str, amount_minor: int) -> None:
        """The buyer's bank opens a dispute."""
        charge = self.charges[reference]
        dispute = Dispute(
            reference=f"dp_{reference}_{len(charge.disputes)}",
            amount_minor=amount_minor,
            status=DisputeStatus.OPEN,
            reason="fraudulent",
            opened_at=self.clock(),
            decided_at=None,
        )
        self._set(replace(charge, disputes=(*charge.disputes, dispute)))

    def decide(self, reference: str, number: int, status: DisputeStatus) -> None:
        """The bank decides, perhaps not for the first time."""
        self.clock.advance(1)
        charge = self.charges[reference]
        disputes = list(charge.disputes)
        disputes[number] = replace(disputes[number], status=status, decided_at=self.clock())
        self._set(replace(charge, disputes=tuple(disputes)))

    # -- the books

    def net_minor(self, payment_id: UUID) -> int:
        """What was taken for a payment, less what went back or is disputed."""
        return sum(
            net_minor(each) for each in self.charges.values() if each.payment_id == payment_id
        )

    # -- inside

    def _let_pass(self) -> None:
        """A bank holds an authorization for a week, and pays a transfer within three days."""
        due = [each for each in self.delayed if each[0] <= self.clock()]
        self.delayed = [each for each in self.delayed if each[0] > self.clock()]
        for _, effect in due:
            with suppress(ProcessorError):
                effect()
        for charge in list(self.charges.values()):
            age = self.clock() - charge.at
            if charge.status is ChargeStatus.AUTHORIZED and age > HELD:
                self._set(replace(charge, status=ChargeStatus.EXPIRED))
            if charge.status is ChargeStatus.PROCESSING and age > TRANSFERRED:
                self.settle(charge.reference, ChargeStatus.CAPTURED)

    async def _read(self, operation: str) -> None:
        self.calls.append(operation)
        self._let_pass()
        await self.point()
        match self.faults(operation):
            case Fault.NOT_SENT:
                raise NotSent(self.name, "not_connected", "not sent")
            case Fault.LOST_BEFORE | Fault.LOST_AFTER | Fault.BROKEN | Fault.DELAYED:
                raise OutcomeUnknown(self.name, "timeout", "lost")
        await self.point()

    async def _call(
        self, operation: str, key: str, request: object, effect: Callable[[], str]
    ) -> Charge:
        self.calls.append(operation)
        self._let_pass()
        fault = self.faults(operation)
        await self.point()
        if fault is Fault.NOT_SENT:
            raise NotSent(self.name, "not_connected", "not sent")
        if fault is Fault.LOST_BEFORE:
            raise OutcomeUnknown(self.name, "timeout", "lost on its way")
        if fault is Fault.DELAYED:
            late = self.clock() + self.terms.under_way_most * 0.9
            self.delayed.append((late, lambda: self._once(key, request, effect)))
            raise OutcomeUnknown(self.name, "timeout", "still on its way")
        if fault is Fault.BROKEN:
            effect = self._break
        charge = self._once(key, request, effect)
        await self.point()
        if fault is Fault.LOST_AFTER:
            raise OutcomeUnknown(self.name, "timeout", "the answer was lost")
        return charge

    def _once(self, key: str, request: object, effect: Callable[[], str]) -> Charge:
        """Give the first answer to a request, also when the charge has moved on meanwhile."""
        known = self.keys.get(key)
        if known is not None and self.clock() - known[0] < self.terms.keys_kept:
            if known[1] != request:
                # The other request had its effect: this says nothing about it.
                raise OutcomeUnknown(self.name, "idempotency_error", "another request")
            if isinstance(known[2], ProcessorError):
                raise known[2]
            return known[2]
        answer: Charge | ProcessorError
        try:
            answer = self.charges[effect()]
        except (OutcomeUnknown, ProcessorRefused) as error:
            answer = error  # it was asked for and not possible: that is what the key gives, too
        self.keys[key] = (self.clock(), request, answer)
        if isinstance(answer, ProcessorError):
            raise answer
        return answer

    def _break(self) -> str:
        raise OutcomeUnknown(self.name, "http_500", "broke in the midst of it")

    def _charged(self, request: ChargeRequest) -> str:
        if request.payment_token == "no_such_token":
            raise ProcessorRefused(self.name, "resource_missing", "no such payment method")
        reference = f"pi_{self.name}_{len(self.charges) + 1}"
        status, held = _outcome(request)
        charge = Charge(
            psp=self.name,
            reference=reference,
            payment_id=request.payment_id,
            intent_seq=request.intent_seq,
            currency=request.currency,
            amount_minor=request.amount_minor,
            status=status,
            authorized_minor=held,
            captured_minor=held if status is ChargeStatus.CAPTURED else 0,
            captures_more=request.payment_token != "one_capture",
            action_url="https://psp.example/act"
            if status is ChargeStatus.ACTION_REQUIRED
            else None,
            failure=Failure(code="card_declined", retryable=False)
            if status is ChargeStatus.FAILED
            else None,
            at=self.clock(),
        )
        self._set(charge)
        return reference

    def _set(self, charge: Charge) -> None:
        charge = replace(charge, at=self.clock())
        self.charges[charge.reference] = charge
        self.log.append(
            ProcessorEvent(
                psp=self.name,
                event_id=f"evt_{self.name}_{len(self.log)}",
                event_type="charge.changed",
                kind=EventKind.CHARGE,
                at=self.clock(),
                object_id=charge.reference,
                reference=charge.reference,
                payment_id=charge.payment_id,
                charge=charge,
            )
        )


def net_minor(charge: Charge) -> int:
    """What a charge brought, less what went back or is disputed."""
    back = sum(r.amount_minor for r in charge.refunds if r.status is RefundStatus.SUCCEEDED)
    lost = sum(d.amount_minor for d in charge.disputes if d.status is not DisputeStatus.WON)
    return charge.captured_minor - back - lost


def _outcome(request: ChargeRequest) -> tuple[ChargeStatus, int]:
    whole = request.amount_minor
    if request.hosted:
        return ChargeStatus.ACTION_REQUIRED, 0
    match request.payment_token:
        case "declined":
            return ChargeStatus.FAILED, 0
        case "action":
            return ChargeStatus.ACTION_REQUIRED, 0
        case "slow":
            return ChargeStatus.PROCESSING, 0
        case "partial":
            held = whole // 2
        case _:
            held = whole
    return (ChargeStatus.AUTHORIZED if request.capture_manually else ChargeStatus.CAPTURED), held
