"""A worker's visits one after the other, as its memory and its retry queue make them."""

import asyncio
from datetime import datetime, timedelta

import pytest

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
from writer.commands import CreatePayment


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
