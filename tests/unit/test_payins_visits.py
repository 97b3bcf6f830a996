"""A worker's visits one after the other, as its memory and its retry queue make them."""

import asyncio
from datetime import datetime, timedelta

import pytest

from connectors.charges import Charge, ChargeStatus
from payins.journal import MemoryMap
from payins.letters import DeadLetter
from payins.metrics import PayInsMetrics
from payins.pending import PendingMemory
from payins.policies import LONGEST_REQUEST
from payins.poller import Poller
from payins.retries import Retry
from schemas.ids import PaymentId
from tests.model_psp import Fault
from tests.payins_resolver import resolver_of
from tests.payins_world import World
from writer.commands import CreatePayment, RequestCapture, RequestRefund


class Worker:
    """A worker in memory; it goes from one due time to the next."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.memory = PendingMemory(limit=10)
        self.retries: MemoryMap[Retry] = MemoryMap()
        self.letters: MemoryMap[DeadLetter] = MemoryMap()
        self.owned_since = world.clock()
        self._read: dict[PaymentId, int] = {}
        self._poller = Poller(
            self.memory,
            resolver_of(world),
            self.retries,
            self.letters,
            PayInsMetrics(),
            world.clock,
        )

    def run(self, payment_id: PaymentId, until: datetime) -> None:
        """Visit the payment whenever it is due, until nothing is open or it is later than that."""
        while True:
            self._learn(payment_id)
            due = self.memory.next_due()
            if due is None or due > until:
                return
            self.world.clock.now = max(due, self.world.clock())
            for each in self.memory.take_due(self.world.clock(), 1):
                asyncio.run(self._poller.visit(each, self.owned_since))

    def _learn(self, payment_id: PaymentId) -> None:
        for event in self.world.events(payment_id)[self._read.get(payment_id, 0) :]:
            self.memory.apply(event, 0)
            self._read[payment_id] = event.seq


def created(world: World, token: str = "ok") -> CreatePayment:
    payment = world.payment(token)
    asyncio.run(world.payins.create(payment, respond_async=True))
    return payment


def test_a_refusal_is_believed_once_nobody_else_can_have_charged() -> None:
    world = World()
    payment = created(world, "no_such_token")
    worker = Worker(world)
    worker.run(payment.payment_id, world.clock() + timedelta(days=2))
    assert world.types(payment.payment_id) == ["created", "unknown", "failed"]
    assert "resource_missing" in world.events(payment.payment_id)[-1].details
    assert world.events(payment.payment_id)[-1].recorded_at - payment.occurred_at < timedelta(
        minutes=5
    )
    assert world.psp.calls.count("charge") == 2


def test_the_worker_before_may_have_called_after_it_lost_the_payment() -> None:
    world = World()
    payment = created(world, "no_such_token")
    world.clock.advance(3600 - 100)  # in the last minutes in which it may be charged
    worker = Worker(world)
    settled_at = worker.owned_since + LONGEST_REQUEST + world.psp.terms.under_way_most
    worker.run(payment.payment_id, settled_at - timedelta(seconds=1))
    assert world.types(payment.payment_id) == ["created", "unknown"]
    worker.run(payment.payment_id, settled_at + timedelta(seconds=5))
    assert world.types(payment.payment_id) == ["created", "unknown", "failed"]


@pytest.mark.parametrize("others", [(), ("adyen",)])
def test_a_charge_that_always_fails_is_attempted_anew(others: tuple[str, ...]) -> None:
    """The processor broke in the midst of the first call, and keeps that answer under the key."""
    world = World(others=others)
    faults = [Fault.BROKEN]
    world.psp.faults = lambda op: faults.pop() if op == "charge" and faults else None
    payment = created(world)
    worker = Worker(world)
    worker.run(payment.payment_id, world.clock() + timedelta(hours=1))
    assert world.types(payment.payment_id) == ["created", "unknown", "attempted", "captured"]
    assert world.state(payment.payment_id).psp == (others or ("stripe",))[0]
    assert world.psp.calls.count("charge") == (2 if others else 3)


def test_a_new_attempt_gives_a_buyer_who_has_gone_no_more_time() -> None:
    world = World()
    payment = created(world)
    asked_at = world.clock()
    world.psp.faults = lambda op: Fault.LOST_BEFORE if op == "charge" else None
    worker = Worker(world)
    worker.run(payment.payment_id, asked_at + timedelta(minutes=59))
    assert "attempted" in world.types(payment.payment_id)
    world.psp.faults = lambda _op: None
    worker.run(payment.payment_id, asked_at + timedelta(hours=3))
    events = world.events(payment.payment_id)
    charged = [e for e in events if e.event_type == "captured"]
    assert all(e.recorded_at - asked_at < timedelta(hours=1) for e in charged)
    assert events[-1].event_type in ("captured", "expired")


def test_failures_of_another_question_do_not_count() -> None:
    """The charge failed for hours, and was made then; a capture that fails begins anew."""
    world = World()
    payment = world.payment(capture="manual")
    asyncio.run(world.payins.create(payment, respond_async=True))
    world.psp.faults = lambda _op: Fault.NOT_SENT
    worker = Worker(world)
    worker.run(payment.payment_id, world.clock() + timedelta(minutes=30))
    key = str(payment.payment_id)
    charge = worker.retries.items[key]
    assert charge.attempt > 5
    world.psp.faults = lambda op: Fault.NOT_SENT if op == "capture" else None
    world.psp.charges["pi_x"] = Charge(
        psp="stripe",
        reference="pi_x",
        payment_id=payment.payment_id,
        intent_seq=1,
        currency=payment.currency,
        amount_minor=1000,
        status=ChargeStatus.AUTHORIZED,
        authorized_minor=1000,
        captured_minor=0,
        at=world.clock(),
    )
    asyncio.run(world.payins.observe(world.psp.charges["pi_x"]))
    assert world.types(payment.payment_id)[-1] == "authorized"
    capture = world.change(RequestCapture, payment.payment_id)
    asyncio.run(world.payins.capture(capture, respond_async=True))
    asked_at = world.clock()
    worker.run(payment.payment_id, asked_at + timedelta(seconds=5))
    retry = worker.retries.items[key]
    assert (retry.attempt, retry.first_at >= asked_at) == (1, True)


@pytest.mark.parametrize("operation", ["capture", "refund"])
def test_after_two_requests_without_an_outcome_the_charge_is_looked_at(operation: str) -> None:
    """The processor did it, and gives no other answer than an error under that key."""
    world = World()
    payment = world.payment(capture="manual" if operation == "capture" else "automatic")
    asyncio.run(world.payins.create(payment))
    world.psp.faults = lambda op: Fault.LOST_AFTER if op == operation else None
    if operation == "capture":
        request = world.change(RequestCapture, payment.payment_id)
    else:
        request = world.change(RequestRefund, payment.payment_id, refund_id="r-1")
    asyncio.run(getattr(world.payins, operation)(request, respond_async=True))
    asked_at = world.clock()
    worker = Worker(world)
    worker.run(payment.payment_id, asked_at + timedelta(minutes=1))
    assert world.psp.calls.count(operation) == 2
    done = world.events(payment.payment_id)[-1]
    assert done.event_type == {"capture": "captured", "refund": "refunded"}[operation]
    assert done.recorded_at - asked_at < timedelta(seconds=20)
    assert not worker.retries.items


def test_a_charge_that_shows_nothing_is_asked_again() -> None:
    world = World()
    payment = world.payment(capture="manual")
    asyncio.run(world.payins.create(payment))
    lost = [Fault.LOST_BEFORE] * 2
    world.psp.faults = lambda op: lost.pop() if op == "capture" and lost else None
    request = world.change(RequestCapture, payment.payment_id)
    asyncio.run(world.payins.capture(request, respond_async=True))
    Worker(world).run(payment.payment_id, world.clock() + timedelta(minutes=1))
    assert (world.psp.calls.count("capture"), world.psp.calls.count("retrieve")) == (3, 1)
    assert world.types(payment.payment_id)[-1] == "captured"
