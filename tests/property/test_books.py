"""Random histories, recorded through the writer and moved at a model of Stripe, agree to the cent.

A single unit changed on either side is found, and nothing else is.
"""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.books import BookKind
from operations.books import Verdict
from operations.books.recorded import KINDS
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.money import to_psp_amount
from tests.books import MemoryRecorded, compare
from tests.builders import NOON, a_payment, change, line
from tests.stripe_books import StripeModel
from writer import commands as c
from writer.append import Appended, Writer
from writer.memory import MemoryStore

STEPS = {"EUR": 1, "JPY": 1, "KWD": 10, "ISK": 1, "HUF": 1, "MGA": 100}
"""Currency -> the smallest amount of ours that Stripe can write."""
KINDS_OF_STEP = (
    "capture", "capture", "capture", "refund", "refund", "requested refund", "failing refund",
    "dispute", "win", "lose", "appeal", "returned refund", "stray refund", "second charge",
    "fail", "honour", "by hand", "payout",
)  # fmt: skip
steps = st.lists(st.tuples(st.sampled_from(KINDS_OF_STEP), st.integers(1, 40)), max_size=14)
histories = st.lists(
    st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 60), st.integers(1, 60), steps),
    min_size=1,
    max_size=4,
)


@dataclass
class World:
    """Stripe and the writer; what one refuses does not happen at the other."""

    model: StripeModel = field(default_factory=lambda: StripeModel(page=3))
    store: MemoryStore = field(default_factory=MemoryStore)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._writer = Writer(self.store)

    def close(self) -> None:
        self._writer.close()

    def record(self, command: c.AnyCommand) -> bool:
        """Whether the writer accepted it."""
        answer = self._writer.handle(command)
        if isinstance(answer, Appended):
            self.events += answer.events
        return isinstance(answer, Appended)

    def live(self, currency: str, first: int, second: int, todo: list[tuple[str, int]]) -> None:
        """One payment of two orders and all that happens to it."""
        step = STEPS[currency]
        payment = a_payment(
            line("A", first * step, 0, logistics_fee_minor=0),
            line("B", second * step, 0, logistics_fee_minor=0),
            currency=currency,
        )
        assert self.record(payment)
        intent = self.model.charge(payment.payment_id, currency, (first + second) * step)
        life = _Life(self, payment.payment_id, intent, currency)
        for what, size in todo:
            life.do(what, size * step)


@dataclass
class _Life:
    world: World
    payment_id: PaymentId
    intent: str
    currency: str
    open_dispute: str | None = None
    lost: str | None = None
    refunds: int = 0

    def do(self, what: str, amount: int) -> None:
        getattr(self, what.replace(" ", "_"))(amount)

    def _record(self, kind: type[c.Change], **fields: Any) -> bool:
        return self.world.record(change(kind, self.payment_id, **fields))

    def _unless_refused(self, kind: type[c.Change], **fields: Any) -> bool:
        """Record what Stripe's newest line says; refused, the line is as if it had never been."""
        if self._record(kind, **fields):
            return True
        self.world.model.lines.pop()
        return False

    def capture(self, amount: int) -> None:
        self.world.model.capture(self.intent, amount)
        self._unless_refused(c.Capture, amount_minor=amount, psp_reference=self.intent)

    def refund(self, amount: int) -> None:
        reference = self.world.model.refund(self.intent, amount)
        self._unless_refused(c.RecordRefund, amount_minor=amount, psp_reference=reference)

    def requested_refund(self, amount: int) -> None:
        self.refunds += 1
        refund_id = f"r-{self.refunds}"
        if self._record(c.RequestRefund, amount_minor=amount, refund_id=refund_id):
            reference = self.world.model.refund(self.intent, amount)
            assert self._record(c.RecordRefund, refund_id=refund_id, psp_reference=reference)

    def failing_refund(self, amount: int) -> None:
        """It goes, comes back, and is never recorded as made."""
        self.world.model.fail_refund(self.world.model.refund(self.intent, amount))

    def dispute(self, amount: int) -> None:
        if self.open_dispute is not None:
            return
        reference = self.world.model.dispute(self.intent, amount)
        if self._unless_refused(c.OpenDispute, amount_minor=amount, psp_reference=reference):
            self.open_dispute = reference

    def win(self, _: int) -> None:
        if self.open_dispute is not None:
            assert self._record(c.WinDispute, psp_reference=self.open_dispute)
            self.world.model.reinstate(self.open_dispute)
            self.open_dispute = None

    def lose(self, _: int) -> None:
        if self.open_dispute is not None:
            assert self._record(c.LoseDispute, psp_reference=self.open_dispute)
            self.lost, self.open_dispute = self.open_dispute, None

    def appeal(self, _: int) -> None:
        """A dispute that was lost is won after all."""
        if self.lost is not None:
            assert self._record(c.WinDispute, psp_reference=self.lost)
            self.world.model.reinstate(self.lost)
            self.lost = None

    def returned_refund(self, amount: int) -> None:
        """It is recorded as made, and comes back."""
        reference = self.world.model.refund(self.intent, amount)
        if self._unless_refused(c.RecordRefund, amount_minor=amount, psp_reference=reference):
            self.world.model.fail_refund(reference)
            assert self._record(c.ReturnRefund, psp_reference=reference)

    def stray_refund(self, amount: int) -> None:
        """It gives back what the orders do not have."""
        reference = self.world.model.refund(self.intent, amount)
        assert self._record(
            c.RecordRefund, amount_minor=amount, psp_reference=reference, is_stray=True
        )

    def second_charge(self, amount: int) -> None:
        """Nobody asked for it, and a bank disputes it in vain."""
        intent = self.world.model.charge(self.payment_id, self.currency, amount)
        self.world.model.capture(intent, amount)
        assert self._record(c.Capture, amount_minor=amount, psp_reference=intent, is_stray=True)
        dispute = self.world.model.dispute(intent, amount)
        assert self._record(
            c.OpenDispute, amount_minor=amount, psp_reference=dispute, is_stray=True
        )
        self.world.model.reinstate(dispute)
        assert self._record(c.WinDispute, psp_reference=dispute)

    def fail(self, _: int) -> None:
        """What is captured afterwards is a stray."""
        self._record(c.Fail)

    def honour(self, _: int) -> None:
        self._record(c.Honour)

    def by_hand(self, amount: int) -> None:
        """A charge without a payment of ours."""
        self.world.model.capture(self.world.model.charge(None, self.currency, amount), amount)

    def payout(self, amount: int) -> None:
        self.world.model.payout(self.currency, amount)


def lived(payments: list[tuple[str, int, int, list[tuple[str, int]]]]) -> World:
    world = World()
    try:
        for currency, first, second, todo in payments:
            world.live(currency, first, second, todo)
    finally:
        world.close()
    return world


@settings(max_examples=150)
@given(payments=histories, windowed=st.booleans())
def test_both_sides_agree(
    payments: list[tuple[str, int, int, list[tuple[str, int]]]], windowed: bool
) -> None:
    world = lived(payments)
    since = (NOON - timedelta(days=1)).date() if windowed else None
    report = compare(MemoryRecorded(world.events), world.model.books(), since=since)
    assert report.verdict is Verdict.AGREE, report.to_json()
    assert report.looks == 1
    assert report.lines == len(world.model.lines)
    for currency in {payment[0] for payment in payments}:
        rows = [event for event in world.events if event.currency == currency]
        captured = sum(
            e.amount_minor for e in rows if e.event_type in ("captured", "stray_captured")
        )
        total = report.totals.get((currency, BookKind.CHARGES))
        assert (total.actual_minor if total else 0) == captured


@settings(max_examples=150)
@given(payments=histories, data=st.data())
def test_one_unit_is_found_wherever_it_is(
    payments: list[tuple[str, int, int, list[tuple[str, int]]]], data: st.DataObject
) -> None:
    world = lived(payments)
    events = list(world.events)
    moving = [number for number, event in enumerate(events) if event.event_type in KINDS]
    lines = [
        each
        for each in world.model.lines
        if each["type"] != "payout" and _is_ours(world.model, each)
    ]
    if not moving or not lines:
        return
    sign = data.draw(st.sampled_from([-1, 1]))
    if data.draw(st.booleans()):
        changed = data.draw(st.sampled_from(lines))
        currency = changed["currency"].upper()
        changed["amount"] += sign * to_psp_amount("stripe", currency, STEPS[currency])
    else:
        number = data.draw(st.sampled_from(moving))
        events[number] = _changed(events[number], sign)
    report = compare(MemoryRecorded(events), world.model.books())
    assert report.verdict is Verdict.DIFFER, report.to_json()
    assert report.differing == 1
    assert report.looks > 1


def _is_ours(model: StripeModel, line_: dict[str, Any]) -> bool:
    charge = model.charge_of_source(line_["source"])
    return "purser_payment_id" in charge["metadata"]


def _changed(event: Event, sign: int) -> Event:
    """The same event with one unit more or less of the money at the PSP."""
    if event.suspense_minor:
        return msgspec.structs.replace(event, suspense_minor=event.suspense_minor + sign)
    return msgspec.structs.replace(event, amount_minor=event.amount_minor + sign)
