"""Processors behind breakers and time limits; the retry queue's waits; answers; partitions."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from connectors.charges import Processor
from payins.answers import Answered, InFlight, NotFound, answer_to
from payins.journal import MemoryMap
from payins.letters import GIVEN_UP, DeadLetter
from payins.metrics import PayInsMetrics
from payins.pending import PendingMemory
from payins.poller import Poller
from payins.processors import CallLimits, Processors
from payins.rebuild import partition_of
from payins.retries import DEAD_AFTER, DEAD_WAIT, FIRST_WAIT, LONGEST_WAIT, Retry, backoff
from payins.work import Resolved, Visit
from schemas.errors import (
    NotSent,
    OutcomeUnknown,
    ProcessorError,
    ProcessorRefused,
    ServiceUnavailable,
)
from schemas.ids import PaymentId
from tests.model_psp import START, ModelClock, ModelPsp
from tests.payins_world import World

PAYMENT = PaymentId(UUID(int=1))
Ask = Callable[[Processor], Awaitable[Any]]


def raising(error: BaseException) -> Ask:
    async def ask(_processor: Processor) -> None:
        raise error

    return ask


async def works(_processor: Processor) -> str:
    return "ok"


def processors(**limits: Any) -> Processors:
    return Processors([ModelPsp()], PayInsMetrics(), CallLimits(**limits))


def call(of: Processors, ask: Ask) -> Any:
    return asyncio.run(of.call("stripe", "charge", ask))


def test_a_breaker_opens_after_failures_in_a_row_and_proves_that_nothing_was_sent() -> None:
    asked = processors(breaker_failures=2, breaker_seconds=60)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            call(asked, raising(OutcomeUnknown("stripe", "timeout", "lost")))
    with pytest.raises(NotSent) as refused:
        call(asked, works)
    assert refused.value.code == "breaker_open"
    assert refused.value.retry_after_seconds == 60


@pytest.mark.parametrize(
    "error",
    [
        ProcessorRefused("stripe", "amount_too_small", "no"),
        NotSent("stripe", "rate_limit", "later"),
        OutcomeUnknown("stripe", "idempotency_key_in_use", "in flight"),
    ],
)
def test_what_is_not_the_processors_fault_opens_no_breaker(error: ProcessorError) -> None:
    asked = processors(breaker_failures=1, breaker_seconds=60)
    with pytest.raises(type(error)):
        call(asked, raising(error))
    assert call(asked, works) == "ok"


def test_a_breaker_closes_when_a_call_works_again() -> None:
    asked = processors(breaker_failures=1, breaker_seconds=1e-9)
    with pytest.raises(NotSent):
        call(asked, raising(NotSent("stripe", "not_connected", "down")))
    assert call(asked, works) == "ok"


def test_a_call_takes_no_longer_than_its_limit() -> None:
    async def hangs(_processor: Processor) -> None:
        await asyncio.Event().wait()

    with pytest.raises(OutcomeUnknown) as error:
        call(processors(call_seconds=0.01), hangs)
    assert error.value.code == "timeout"


def test_an_unexpected_error_leaves_the_outcome_unknown() -> None:
    with pytest.raises(OutcomeUnknown):
        call(processors(), raising(ValueError("a bug")))


def test_a_processor_that_is_not_configured_was_not_asked() -> None:
    with pytest.raises(NotSent) as error:
        asyncio.run(processors().call("adyen", "charge", works))
    assert error.value.code == "not_configured"


def test_fallback_goes_through_the_processors_in_their_order() -> None:
    ordered = Processors([ModelPsp(name=name) for name in "abc"], PayInsMetrics())
    assert ordered.first == "a"
    assert ordered.fallback(["a"]) == "b"
    assert ordered.fallback(["a", "b"]) == "c"
    assert ordered.fallback("abc") is None


# -- the retry queue


def test_waits_double_up_to_hours_and_then_a_day() -> None:
    retry: Retry | None = None
    waits = []
    for _ in range(DEAD_AFTER + 1):
        retry = backoff(retry, PAYMENT, "timeout", START)
        waits.append(retry.not_before - START)
    assert waits[:3] == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT]
    assert waits[DEAD_AFTER - 2] == LONGEST_WAIT
    assert waits[DEAD_AFTER - 1 :] == [DEAD_WAIT, DEAD_WAIT]
    assert retry is not None
    assert retry.is_dead


def test_a_processors_wish_to_wait_is_respected() -> None:
    asked = backoff(None, PAYMENT, "rate_limit", START, timedelta(minutes=1))
    assert asked.not_before == START + timedelta(minutes=1)


class Failing:
    """A resolver whose processor is away."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.visits: list[Visit] = []

    async def resolve(self, payment_id: PaymentId, visit: Visit) -> Resolved:
        self.visits.append(visit)
        if isinstance(self.error, ProcessorError):
            return Resolved(last_seq=1, error=self.error)
        raise self.error


def poller(resolver: Any, clock: ModelClock) -> tuple[Poller, PendingMemory, Any, Any]:
    memory = PendingMemory(10)
    retries: MemoryMap[Retry] = MemoryMap()
    letters: MemoryMap[DeadLetter] = MemoryMap()
    made = Poller(memory, resolver, retries, letters, PayInsMetrics(), clock)
    memory.remember(PAYMENT, 0, "card", START, START)
    return made, memory, retries, letters


def test_a_payment_that_never_works_becomes_a_dead_letter_and_is_still_visited() -> None:
    clock = ModelClock()
    resolver = Failing(NotSent("stripe", "not_connected", "down"))
    visiting, memory, retries, letters = poller(resolver, clock)
    for _ in range(DEAD_AFTER + 3):
        clock.advance(2 * 86_400)
        [payment_id] = memory.take_due(clock(), 5)
        asyncio.run(visiting.visit(payment_id, START))
    assert len(resolver.visits) == DEAD_AFTER + 3
    assert retries.items[str(PAYMENT)].attempt == DEAD_AFTER + 3
    assert [letter.reason for letter in letters.items.values()] == [GIVEN_UP]


def test_not_before_survives_a_restart() -> None:
    clock = ModelClock()
    resolver = Failing(NotSent("stripe", "not_connected", "down"))
    visiting, memory, retries, _ = poller(resolver, clock)
    [payment_id] = memory.take_due(clock(), 5)
    asyncio.run(visiting.visit(payment_id, START))
    restarted, memory, again, _ = poller(resolver, clock)
    again.items |= retries.items
    [payment_id] = memory.take_due(clock(), 5)
    asyncio.run(restarted.visit(payment_id, START))
    assert len(resolver.visits) == 1
    assert memory.next_due() == START + FIRST_WAIT


def test_a_server_of_ours_that_is_down_counts_no_attempt() -> None:
    clock = ModelClock()
    visiting, memory, retries, _ = poller(Failing(ServiceUnavailable("down")), clock)
    [payment_id] = memory.take_due(clock(), 5)
    asyncio.run(visiting.visit(payment_id, START))
    assert not retries.items
    assert memory.next_due() is not None


def test_a_bug_puts_one_payment_off_and_stops_nothing() -> None:
    clock = ModelClock()
    visiting, memory, retries, _ = poller(Failing(ValueError("a bug")), clock)
    [payment_id] = memory.take_due(clock(), 5)
    asyncio.run(visiting.visit(payment_id, START))
    assert retries.items[str(PAYMENT)].reason == "unexpected"


# -- answers and partitions


def test_an_answer_is_the_prefix_up_to_the_first_outcome() -> None:
    world = World()
    payment = world.payment("action")
    asyncio.run(world.payins.create(payment))
    events = world.events(payment.payment_id)
    assert answer_to(events, payment.idempotency_key) == Answered(events=events)
    assert isinstance(answer_to(events[:1], payment.idempotency_key), InFlight)
    assert answer_to(events, "another") == NotFound()
    assert answer_to((), "any") == NotFound()


def test_partitions_are_used_evenly() -> None:
    counts = [0] * 4
    for _ in range(400):
        counts[partition_of(uuid4(), 4)] += 1
    assert min(counts) > 50
