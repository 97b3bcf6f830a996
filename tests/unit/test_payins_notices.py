"""Events of processors, from webhooks and from their lists; and what the worker does by turns."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from connectors.charges import Charge, ChargeStatus, EventKind, ProcessorEvent
from payins import webhooks
from payins.catch_up import CatchUp
from payins.evidence import Unrecordable
from payins.inbox import EVENT_HEADER, PSP_HEADER
from payins.journal import MemoryMap
from payins.letters import DeadLetter
from payins.metrics import WorkerMetrics
from payins.notices import EventsPoll, Notices, PollLimits
from payins.pending import PendingMemory
from payins.policies import Question
from payins.poller import Poller
from payins.rebuild import Row, Stream, partition_of
from payins.resolve import Resolver
from payins.retries import Retry, backoff
from payins.rounds import Rounds
from payins.settings import PayInsSettings
from payins.webhooks import Webhooks
from schemas.errors import InputError, NotSent, Unreadable
from schemas.events import Event
from tests.model_psp import START, Fault
from tests.model_table import ModelTable
from tests.payins_resolver import resolver_of
from tests.payins_world import World, failing
from writer.commands import CreatePayment


@dataclass
class Desk:
    """Everything that acts on events, on a world in memory."""

    world: World

    def __post_init__(self) -> None:
        world = self.world
        self.retries: MemoryMap[Retry] = MemoryMap()
        self.letters: MemoryMap[DeadLetter] = MemoryMap()
        self.cursors: MemoryMap[datetime] = MemoryMap()
        self.memory = PendingMemory(10)
        resolver = resolver_of(world)
        self.poller = Poller(
            self.memory, resolver, self.retries, self.letters, world.metrics, world.clock
        )
        self.notices = Notices(world.ledger, world.processors, resolver, self.poller, world.metrics)
        self.poll = EventsPoll(
            self.notices, world.processors, self.cursors, world.clock, PollLimits()
        )

    def handle(self, event: ProcessorEvent) -> None:
        asyncio.run(self.notices.handle(event))


def waiting(world: World) -> CreatePayment:
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))
    world.psp.calls.clear()
    return payment


def test_an_event_that_says_nothing_new_asks_nothing() -> None:
    world = World()
    waiting(world)
    Desk(world).handle(world.psp.log[-1])
    assert not world.psp.calls


def test_an_event_that_says_something_new_has_the_charge_looked_at() -> None:
    world = World()
    payment = waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    Desk(world).handle(world.psp.log[-1])
    assert world.types(payment.payment_id)[-1] == "captured"
    assert world.psp.calls == ["retrieve"]


def test_an_event_without_its_charge_has_it_looked_at_whole() -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    world.psp.dispute("pi_stripe_1", 1050)
    event = replace(world.psp.log[-1], charge=None)
    Desk(world).handle(event)
    assert world.types(payment.payment_id)[-1] == "dispute_opened"
    by_payment = replace(event, reference=None)
    Desk(world).handle(by_payment)
    assert world.types(payment.payment_id).count("dispute_opened") == 1


@pytest.mark.parametrize("kind", [EventKind.IGNORED, EventKind.UNKNOWN])
def test_other_events_are_counted_and_nothing_else(kind: EventKind) -> None:
    world = World()
    waiting(world)
    Desk(world).handle(replace(world.psp.log[-1], kind=kind))
    assert not world.psp.calls


@pytest.mark.parametrize(("names", "letters"), [(None, []), (UUID(int=7), ["no_payment"])])
def test_a_charge_of_others_is_left_alone_and_one_of_a_lost_payment_is_a_dead_letter_once(
    names: UUID | None, letters: list[str]
) -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    foreign = replace(world.psp.charges["pi_stripe_1"], payment_id=names, reference="pi_x")
    world.psp.charges["pi_x"] = foreign
    event = replace(world.psp.log[-1], reference="pi_x", charge=None, payment_id=None)
    desk = Desk(world)
    desk.handle(event)
    desk.handle(event)
    assert [letter.reason for letter in desk.letters.items.values()] == letters


def test_a_charge_of_others_is_not_even_looked_at() -> None:
    world = World()
    waiting(world)
    charge = replace(world.psp.charges["pi_stripe_1"], payment_id=None)
    Desk(world).handle(replace(world.psp.log[-1], charge=charge, payment_id=None))
    assert not world.psp.calls


def test_what_a_payment_that_is_over_says_again_is_not_looked_at_again() -> None:
    world = World()
    payment = world.payment("declined")
    asyncio.run(world.payins.create(payment))
    world.psp.calls.clear()
    assert world.types(payment.payment_id)[-1] == "failed"
    Desk(world).handle(world.psp.log[-1])
    assert not world.psp.calls


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Unreadable("stripe", "unknown_status", "a charge has the status 'new'"), "refused"),
        (ValueError("a row of newer code"), "unexpected"),
    ],
)
def test_what_can_never_be_handled_is_a_dead_letter_and_the_others_have_their_turn(
    error: Exception, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()
    bad, good = waiting(world), waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    world.psp.settle("pi_stripe_2", ChargeStatus.CAPTURED)
    desk = Desk(world)
    observe = Resolver.observe

    async def fails(self: Resolver, charge: Charge) -> tuple[Unrecordable, ...]:
        if charge.payment_id == bad.payment_id:
            raise error
        return await observe(self, charge)

    monkeypatch.setattr(Resolver, "observe", fails)
    for _ in range(2):
        asyncio.run(desk.poll.poll("stripe"))
    assert world.types(good.payment_id)[-1] == "captured"
    assert [letter.reason for letter in desk.letters.items.values()] == [reason]


def test_a_charge_that_does_not_exist_is_a_dead_letter() -> None:
    world = World()
    waiting(world)
    desk = Desk(world)
    desk.handle(replace(world.psp.log[-1], reference="pi_none", charge=None))
    [letter] = desk.letters.items.values()
    assert (letter.reason, letter.reference) == ("refused", "pi_none")


# -- the list of events


def test_lost_webhooks_are_made_up_for_by_the_list_of_events() -> None:
    world = World()
    desk = Desk(world)
    payment = waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    world.psp.refund_now("pi_stripe_1", 300, None)
    asyncio.run(desk.poll.poll("stripe"))
    assert world.types(payment.payment_id)[-2:] == ["captured", "refunded"]
    assert desk.cursors.items == {"stripe": world.clock()}


def test_the_list_is_read_from_before_the_cursor_and_the_cursor_stays_if_that_fails() -> None:
    world = World()
    desk = Desk(world)
    asyncio.run(desk.poll.poll("stripe"))
    world.clock.advance(300)
    payment = waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    before = dict(desk.cursors.items)
    world.psp.faults = failing(("retrieve", Fault.NOT_SENT))
    with pytest.raises(Exception, match="not sent"):
        asyncio.run(desk.poll.poll("stripe"))
    assert desk.cursors.items == before
    asyncio.run(desk.poll.poll("stripe"))
    assert world.types(payment.payment_id)[-1] == "captured"


def test_what_came_by_webhook_is_not_read_again_and_what_did_not_is() -> None:
    world = World()
    desk = Desk(world)
    asyncio.run(desk.poll.poll("stripe"))
    world.clock.advance(60)
    told, untold = waiting(world), waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    asyncio.run(desk.notices.told(world.psp.log[-1]))
    world.psp.delivered |= {each.event_id for each in world.psp.log}
    world.psp.settle("pi_stripe_2", ChargeStatus.CAPTURED)
    world.psp.calls.clear()
    assert asyncio.run(desk.poll.poll("stripe")) == 1
    assert world.psp.calls == ["events", "retrieve"]
    for payment in (told, untold):
        assert world.types(payment.payment_id)[-1] == "captured"


@pytest.mark.parametrize("told_before", [False, True])
def test_when_webhooks_stop_coming_everything_is_read(told_before: bool) -> None:
    """An endpoint that is switched off counts as one to which nothing was to be delivered."""
    world = World()
    desk = Desk(world)
    earlier = waiting(world)
    if told_before:
        asyncio.run(desk.notices.told(world.psp.log[-1]))
    world.clock.advance(60)
    asyncio.run(desk.poll.poll("stripe"))
    world.clock.advance(3600)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    world.psp.delivered |= {each.event_id for each in world.psp.log}
    asyncio.run(desk.poll.poll("stripe"))
    assert world.types(earlier.payment_id)[-1] == "captured"


def test_after_an_outage_the_cursor_follows_what_was_read() -> None:
    world = World()
    desk = Desk(world)
    asyncio.run(desk.poll.poll("stripe"))
    for _ in range(6):
        waiting(world)
        world.clock.advance(3600)
    world.psp.settle("pi_stripe_6", ChargeStatus.CAPTURED)
    world.psp.faults = failing(("retrieve", Fault.NOT_SENT))
    with pytest.raises(NotSent):
        asyncio.run(desk.poll.poll("stripe"))
    assert desk.cursors.items["stripe"] > world.clock() - timedelta(minutes=30)
    world.psp.log.clear()  # those before the cursor are not needed any more
    world.psp.settle("pi_stripe_5", ChargeStatus.CAPTURED)
    asyncio.run(desk.poll.poll("stripe"))
    assert desk.cursors.items["stripe"] == world.clock()


def test_events_in_the_overlap_are_handled_once() -> None:
    world = World()
    desk = Desk(world)
    for _ in range(40):
        waiting(world)
    assert asyncio.run(desk.poll.poll("stripe")) == 40
    world.clock.advance(30)
    waiting(world)
    assert asyncio.run(desk.poll.poll("stripe")) == 1


# -- the inbox


def record(body: bytes, psp: str = "stripe") -> Any:
    headers = [(PSP_HEADER, psp.encode()), (EVENT_HEADER, b"evt_1")]
    return SimpleNamespace(topic="w", partition=0, offset=7, headers=headers, value=body)


def test_a_webhook_waits_for_its_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "WAIT_SECONDS_FIRST", 0.001)
    world = World()
    payment = waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    world.psp.faults = failing(("retrieve", Fault.NOT_SENT), ("retrieve", Fault.LOST_BEFORE))
    desk = Desk(world)
    event = world.psp.log[-1]
    inbox = Webhooks(desk.notices, desk.poller, {"stripe": lambda _body: event}, at_once=2)
    asyncio.run(inbox.handle([record(b"{}"), record(b"{}")]))
    assert world.types(payment.payment_id)[-1] == "captured"


def test_what_cannot_be_read_is_a_dead_letter_and_the_rest_is_done() -> None:
    world = World()
    payment = waiting(world)
    world.psp.settle("pi_stripe_1", ChargeStatus.CAPTURED)
    desk = Desk(world)
    event = world.psp.log[-1]

    def read(body: bytes) -> ProcessorEvent:
        if body == b"bad":
            raise InputError("body", "is no event")
        return event

    inbox = Webhooks(desk.notices, desk.poller, {"stripe": read}, at_once=2)
    asyncio.run(inbox.handle([record(b"bad"), record(b"{}", psp="other"), record(b"good")]))
    assert world.types(payment.payment_id)[-1] == "captured"
    assert [letter.reason for letter in desk.letters.items.values()] == ["refused"]


# -- partitions


class TableOf(ModelTable):
    """A table with these streams, and how often it was read whole."""

    def __init__(self, world: World, payments: Sequence[CreatePayment]) -> None:
        super().__init__(Random(0))
        self.reads = 0
        for payment in payments:
            stream = world.events(payment.payment_id)
            self.visible[payment.payment_id] = [row_of(event) for event in stream]

    async def streams(self) -> AsyncIterator[Sequence[Stream]]:
        self.reads += 1
        async for page in self.streams_of(list(self.visible)):
            yield page


def row_of(event: Event) -> Row:
    return Row(**{name: getattr(event, name) for name in Row.__struct_fields__})


def rounds(desk: Desk, owned: set[int], table: TableOf) -> Rounds:
    catch_up = CatchUp(memory=desk.memory, table=table, checkpoints=table, partitions=4)
    return Rounds(
        memory=desk.memory,
        poller=desk.poller,
        catch_up=catch_up,
        retries=desk.retries,
        events=desk.poll,
        psps=("stripe",),
        partitions=4,
        owned=lambda: frozenset(owned),
        metrics=WorkerMetrics(),
        settings=PayInsSettings.load(postgres_dsn="postgresql://u:p@127.0.0.1/purser"),
        clock=desk.world.clock,
    )


def test_a_worker_reads_the_pending_payments_of_partitions_that_come() -> None:
    world = World()
    payments = [waiting(world) for _ in range(8)]
    desk = Desk(world)
    table = TableOf(world, payments)
    owned = {0, 1, 2, 3}
    turns = rounds(desk, owned, table)
    turns.follow()
    asyncio.run(turns._start_with(frozenset(turns._unread)))
    assert len(desk.memory) == 8
    owned -= {0, 1}
    turns.follow()
    mine = [each for each in payments if partition_of(each.payment_id, 4) in owned]
    assert len(desk.memory) == len(mine)
    owned |= {0}
    turns.follow()
    asyncio.run(turns._start_with(frozenset(turns._unread)))
    mine = [each for each in payments if partition_of(each.payment_id, 4) in owned]
    assert len(desk.memory) == len(mine)
    assert table.reads == 1, "what it had read before is in a checkpoint"
    assert desk.memory.counts()[Question.ACTION].number == len(mine)


def test_what_is_in_the_queue_is_known_before_the_table_is_read() -> None:
    world = World()
    payment = waiting(world)
    desk = Desk(world)
    retry = backoff(None, payment.payment_id, "timeout", START)
    asyncio.run(desk.retries.put(str(payment.payment_id), retry))
    rounds(desk, {partition_of(payment.payment_id, 4)}, TableOf(world, [])).follow()
    assert desk.memory.take_due(START + timedelta(hours=1), 5) == [payment.payment_id]


def settled_in_the_queue(desk: Desk) -> tuple[str, int]:
    """A payment that was put off for a day, and was captured then; its key and its partition."""
    payment = waiting(desk.world)
    partition = partition_of(payment.payment_id, 4)
    for event in desk.world.events(payment.payment_id):
        desk.memory.apply(event, partition)
    retry = backoff(None, payment.payment_id, "timeout", START, timedelta(days=1), last_seq=2)
    asyncio.run(desk.retries.put(str(payment.payment_id), retry))
    desk.world.psp.settle(list(desk.world.psp.charges)[-1], ChargeStatus.CAPTURED)
    desk.handle(desk.world.psp.log[-1])
    desk.memory.apply(desk.world.events(payment.payment_id)[-1], partition)
    return str(payment.payment_id), partition


def worked(turns: Rounds, until: Callable[[], bool]) -> None:
    """Let a worker do all it does, until then or for two seconds."""

    async def work() -> None:
        tasks = [asyncio.create_task(each) for each in turns.tasks()]
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                while not until():
                    await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(work())


def test_what_was_settled_by_an_event_leaves_the_queue_at_once() -> None:
    desk = Desk(World())
    key, partition = settled_in_the_queue(desk)
    turns = rounds(desk, {partition}, TableOf(desk.world, []))
    turns._owned_since[partition] = START
    assert key in desk.retries.items
    worked(turns, lambda: not desk.retries.items)
    assert not desk.retries.items


def test_what_another_worker_has_stays_in_the_queue() -> None:
    desk = Desk(World())
    key, partition = settled_in_the_queue(desk)
    worked(rounds(desk, {(partition + 1) % 4}, TableOf(desk.world, [])), lambda: False)
    assert key in desk.retries.items


def test_what_may_be_open_stays_in_the_queue_while_the_table_was_not_read() -> None:
    desk = Desk(World())
    key, partition = settled_in_the_queue(desk)
    turns = rounds(desk, {partition}, TableOf(desk.world, []))
    turns._owned_since[partition] = START
    desk.memory.overflowed = True
    desk.memory._limit = -1  # and there is no room to read what did not fit
    worked(turns, lambda: False)
    assert key in desk.retries.items
