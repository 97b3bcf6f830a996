"""The memory of pending payments: what events open and close, when it is due, how it is bounded."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from payins.intents import intents, is_managed
from payins.pending import PendingMemory
from payins.plan import open_question
from payins.policies import POLICIES, Question
from payins.rebuild import Row
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, EventType, Status
from tests.model_psp import START, Fault
from tests.payins_simulation import Simulation
from tests.payins_world import World, failing
from writer.commands import RequestRefund
from writer.state import fold

HOUR = timedelta(hours=1)


def remembered(*streams: tuple[Event, ...], limit: int = 10) -> PendingMemory:
    memory = PendingMemory(limit)
    for stream in streams:
        for event in stream:
            memory.apply(event, 0)
    return memory


@pytest.mark.parametrize(
    ("token", "fields", "question"),
    [
        ("ok", {}, None),
        ("declined", {}, None),
        ("action", {}, Question.ACTION),
        ("slow", {}, Question.PROCESSING),
        ("ok", {"capture": "manual"}, Question.AUTHORIZED),
        ("ok", {"flow": "confirm_later"}, Question.UNCONFIRMED),
    ],
)
def test_what_a_payment_leaves_open(
    token: str, fields: dict[str, str], question: Question | None
) -> None:
    world = World()
    payment = world.payment(token, **fields)
    asyncio.run(world.payins.create(payment))
    entry = remembered(world.events(payment.payment_id)).get(payment.payment_id)
    assert (entry.question if entry else None) is question


@pytest.mark.parametrize("details", ['{"flow": "hosted", "hat": 1}', '{"flow": 7}', "[]"])
def test_a_row_that_our_writer_did_not_make_leaves_nothing_open(details: str) -> None:
    world = World()
    payment = world.payment("slow")
    asyncio.run(world.payins.create(payment))
    first = msgspec.structs.replace(world.events(payment.payment_id)[0], details=details)
    memory = PendingMemory(10)
    assert memory.apply(first, 0) is False
    assert len(memory) == 0
    assert is_managed([first]) is False


def test_a_request_is_open_until_its_outcome() -> None:
    world = World()
    payment = world.payment()
    asyncio.run(world.payins.create(payment))
    world.psp.faults = failing(("refund", Fault.LOST_BEFORE))
    request = world.change(RequestRefund, payment.payment_id, refund_id="r-1", amount_minor=400)
    asyncio.run(world.payins.refund(request))
    memory = remembered(world.events(payment.payment_id))
    entry = memory.get(payment.payment_id)
    assert entry is not None
    assert entry.question is Question.REQUEST
    world.psp.refund_now("pi_stripe_1", 400, "r-1")
    asyncio.run(world.payins.observe(world.psp.charges["pi_stripe_1"]))
    for event in world.events(payment.payment_id):
        memory.apply(event, 0)
    assert len(memory) == 0


def pending(world: World) -> tuple[Event, ...]:
    payment = world.payment("slow")
    asyncio.run(world.payins.create(payment))
    return world.events(payment.payment_id)


def test_it_is_due_after_its_methods_interval_and_taken_once() -> None:
    world = World()
    stream = pending(world)
    memory = remembered(stream)
    first = POLICIES["card"].intervals[Question.PROCESSING].first_seconds
    assert memory.take_due(START + timedelta(seconds=first - 1), 5) == []
    due = START + timedelta(seconds=first)
    assert memory.take_due(due, 5) == [stream[0].payment_id]
    assert memory.take_due(due + HOUR, 5) == []
    memory.later(stream[0].payment_id, due + HOUR, stream[-1].seq)  # type: ignore[arg-type]
    assert memory.take_due(due + HOUR, 5) == [stream[0].payment_id]


def test_a_payment_that_moved_on_while_in_hand_is_not_forgotten() -> None:
    world = World()
    stream = pending(world)
    memory = remembered(stream)
    [payment_id] = memory.take_due(START + HOUR, 5)
    memory.settled(payment_id, stream[-1].seq - 1, START + HOUR)
    assert memory.take_due(START + HOUR, 5) == [payment_id]
    memory.settled(payment_id, stream[-1].seq, START + HOUR)
    assert len(memory) == 0


def test_it_is_bounded_and_says_what_did_not_fit() -> None:
    world = World()
    streams = [pending(world) for _ in range(4)]
    memory = remembered(*streams, limit=3)
    assert (len(memory), memory.overflowed, memory.has_room) == (3, True, False)
    memory.keep_partitions([])
    assert memory.has_room


def test_payments_of_other_partitions_are_forgotten() -> None:
    world = World()
    memory = PendingMemory(10)
    for partition in (0, 1):
        for event in pending(world):
            memory.apply(event, partition)
    memory.keep_partitions([1])
    assert len(memory) == 1
    assert len(memory.take_due(START + HOUR, 5)) == 1


def test_counts_and_ages() -> None:
    world = World()
    first = pending(world)
    world.clock.advance(60)
    memory = remembered(first, pending(world))
    count = memory.counts()[Question.PROCESSING]
    assert (count.number, count.oldest_since) == (2, START)


def test_what_comes_again_closes_nothing_that_was_opened_later() -> None:
    """The table was ahead of the topic: a refund failed, and the next one is asked for."""
    _, stream = refunds("refund_requested", "refund_failed", "refund_requested")
    memory = PendingMemory(10)
    memory.apply_stream(stream, 0)
    for event in stream[:-1]:
        memory.apply(event, 0)
    assert len(memory) == 1


def refunds(*words: str) -> tuple[PaymentId, list[Row]]:
    """A captured payment, and what happens to its refund of id r-1."""
    payment_id = PaymentId(uuid4())
    kinds = ["created", "captured", *words]
    rows = [
        Row(
            payment_id=payment_id,
            seq=seq,
            direction=Direction.IN,
            event_type=EventType(kind),
            status=Status.CREATED if kind == "created" else Status.CAPTURED,
            order_id="A",
            method="card",
            details='{"flow": "direct"}' if seq == 1 else "{}",
            recorded_at=START + timedelta(seconds=seq),
        )
        for seq, kind in enumerate(kinds, start=1)
    ]
    return payment_id, rows


def test_the_whole_stream_says_everything_that_is_open() -> None:
    payment_id, stream = refunds("refund_requested", "refunded")
    memory = PendingMemory(10)
    memory.apply_stream(stream[:3], 0)
    entry = memory.get(payment_id)
    assert entry is not None
    assert (entry.question, entry.since) == (Question.REQUEST, START + timedelta(seconds=3))
    entry.sent_at = START
    memory.apply_stream(stream[:3], 0)
    assert memory.get(payment_id) is entry
    assert entry.sent_at == START, "when it was last sent is not in the stream"
    memory.apply_stream(stream, 0)
    assert memory.get(payment_id) is None
    memory.apply_stream(stream, 0)
    assert len(memory) == 0


def test_a_stream_that_is_behind_the_topic_adds_what_it_has_open() -> None:
    payment_id, stream = refunds("capture_requested", "refund_requested")
    memory = PendingMemory(10)
    memory.apply(stream[-1], 0)
    memory.apply_stream(stream[:-1], 0)
    entry = memory.get(payment_id)
    assert entry is not None
    assert {request for request, *_ in entry.requests} == {"capture", "refund"}
    assert entry.last_seq == stream[-1].seq


def test_a_stream_leaves_what_only_the_retry_queue_knows() -> None:
    payment_id, stream = refunds()
    memory = PendingMemory(10)
    memory.remember(payment_id, 0, "card", START, START + HOUR)
    memory.apply_stream(stream, 0)
    assert memory.take_due(START + HOUR, 5) == [payment_id]
    memory.settled(payment_id, stream[-1].seq, START + HOUR)
    assert len(memory) == 0


def test_a_payment_in_hand_stays_when_its_stream_has_ended() -> None:
    payment_id, stream = refunds("refund_requested", "refunded")
    memory = PendingMemory(10)
    memory.apply_stream(stream[:3], 0)
    assert memory.take_due(START + HOUR, 5) == [payment_id]
    memory.apply_stream(stream, 0)
    memory.settled(payment_id, stream[2].seq, START + HOUR)
    assert memory.take_due(START + HOUR, 5) == [payment_id], "it moved on: look once more"


def test_streams_without_room_are_said_to_be_missing() -> None:
    memory = PendingMemory(1)
    for _ in range(2):
        memory.apply_stream(refunds("refund_requested")[1], 0)
    assert (len(memory), memory.overflowed) == (1, True)


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), data=st.data())
def test_nothing_open_is_ever_missing_from_the_memory(seed: int, data: st.DataObject) -> None:
    """Whatever prefix of whatever history it has seen, from the topic, twice, or from the table."""
    simulation = Simulation(seed=seed, payments=2)
    simulation.run()
    records = simulation.topic.records
    cut = data.draw(st.integers(0, len(records)))
    again = data.draw(st.integers(0, cut))
    memory = PendingMemory(1_000)
    for event in [*records[:cut], *records[again:cut]]:
        memory.apply(event, 0)
    for payment_id in {event.payment_id for event in records[:cut]}:
        stream = [event for event in records[:cut] if event.payment_id == payment_id]
        state = fold(stream)
        assert state is not None
        is_open = open_question(state) is not None or any(i.is_open for i in intents(stream))
        # What came back of a refund waits for a person.
        back = sum(e.amount_minor for e in stream if e.event_type == "refund_returned")
        in_suspense = any(sum(o.suspense_minor.values()) > back for o in state.orders.values())
        if is_open or in_suspense:
            assert memory.get(state.payment_id) is not None, stream
