"""When partitions move, statements are too slow, or the clock goes back: nothing is skipped."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

import msgspec
import psycopg
import pytest

from payins import rebuild
from payins.catch_up import CLOCK_MAY_STEP, CatchUp
from payins.checkpoints import rules
from payins.journal import MemoryMap
from payins.metrics import WorkerMetrics
from payins.pending import PendingMemory
from payins.policies import QUESTIONS, Question
from payins.rebuild import SHORTEST_SPAN, Table
from payins.rounds import Rounds
from schemas.lifecycle import Status
from tests.model_psp import ModelClock
from tests.model_table import PAYMENTS, START, ModelTable

PARTITIONS = 2
EVERY = frozenset(range(PARTITIONS))


def catch_up_of(table: ModelTable, memory: PendingMemory) -> CatchUp:
    return CatchUp(memory=memory, table=table, checkpoints=table, partitions=PARTITIONS)


def filled(seed: int = 0) -> ModelTable:
    table = ModelTable(random.Random(seed))
    for _ in range(60):
        table.append()
        table.commit()
    while table.under_way:
        table.commit()
    return table


def remembered(memory: PendingMemory) -> set[UUID]:
    return {each for found in memory.by_partition().values() for each in found}


def rounds_of(table: ModelTable, memory: PendingMemory, owned: set[int]) -> Rounds:
    return Rounds(
        memory=memory,
        poller=cast(Any, None),
        catch_up=catch_up_of(table, memory),
        retries=MemoryMap(),
        events=cast(Any, None),
        psps=(),
        partitions=PARTITIONS,
        owned=lambda: frozenset(owned),
        metrics=WorkerMetrics(),
        settings=cast(Any, None),
        clock=ModelClock(),
    )


def move_while_reading(*owned_then: set[int]) -> set[UUID]:
    """Partitions come and go in the middle of the first reading; return what is known then."""
    memory, owned = PendingMemory(100), set(owned_then[0])
    rounds = rounds_of(filled(), memory, owned)

    async def move() -> None:
        rounds.follow()
        reading = asyncio.create_task(rounds._start_with(frozenset(rounds._unread)))
        for _ in range(1_000):
            await asyncio.sleep(0)
            if len(memory):
                break
        assert not reading.done(), "it is in the middle of the table"
        for then in owned_then[1:]:
            owned.clear()
            owned.update(then)
            rounds.follow()
        await reading
        while rounds._unread:
            await rounds._start_with(frozenset(rounds._unread))

    asyncio.run(move())
    return remembered(memory)


def everything() -> set[UUID]:
    memory = PendingMemory(100)
    asyncio.run(catch_up_of(filled(), memory).start(EVERY))
    return remembered(memory)


def test_a_partition_that_went_and_came_back_while_it_was_read_is_read_again() -> None:
    assert move_while_reading({0, 1}, set(), {0, 1}) == everything()


@pytest.mark.parametrize("first", EVERY)
def test_a_partition_that_came_while_another_was_read_is_read_next(first: int) -> None:
    assert move_while_reading({first}, {0, 1}) == everything()


def test_a_clock_that_was_set_back_far_lets_everything_be_read() -> None:
    table, first, second = filled(), PendingMemory(100), PendingMemory(100)
    asyncio.run(catch_up_of(table, first).start(EVERY))
    # These know of nothing pending, so only a full reading finds it.
    empty = {each: msgspec.structs.replace(at, pending=()) for each, at in table.saved.items()}
    table.saved = empty
    table.clock = START - CLOCK_MAY_STEP
    asyncio.run(catch_up_of(table, second).start(EVERY))
    assert remembered(second) == remembered(first) != set()


def test_spans_are_shorter_where_a_statement_takes_too_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[datetime, datetime]] = []
    slow_until = START + timedelta(hours=1)

    async def answer(_: Any, since: datetime, until: datetime) -> list[UUID]:
        if since < slow_until and until - since > timedelta(seconds=20):
            raise psycopg.errors.QueryCanceled
        asked.append((since, until))
        return []

    spans = asyncio.run(read(monkeypatch, answer, START + timedelta(days=7)))
    assert [since for since, _ in asked[1:]] == [until for _, until in asked[:-1]]
    assert (asked[0][0], asked[-1][1]) == (START, START + timedelta(days=7))
    assert spans == len(asked) < 800


def test_a_statement_that_is_too_slow_for_any_span_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(_: Any, since: datetime, until: datetime) -> list[UUID]:
        raise psycopg.errors.QueryCanceled

    with pytest.raises(psycopg.errors.QueryCanceled):
        asyncio.run(read(monkeypatch, answer, START + SHORTEST_SPAN * 10))


def test_spans_are_shorter_where_much_was_left_open(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[timedelta] = []

    async def answer(_: Any, since: datetime, until: datetime) -> list[UUID]:
        asked.append(until - since)
        return PAYMENTS * 2_000

    asyncio.run(read(monkeypatch, answer, START + timedelta(minutes=20)))
    assert min(asked[:-1]) == SHORTEST_SPAN


async def read(monkeypatch: pytest.MonkeyPatch, answer: Any, until: datetime) -> int:
    @asynccontextmanager
    async def connect(_: str) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(rebuild, "connect", connect)
    monkeypatch.setattr(rebuild, "_left_open", answer)
    return len([each async for each in Table("").left_open(START, until)])


def test_other_rules_have_checkpoints_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code that finds more open must not rely on what other code has found."""
    before = rules()
    assert rules() == before
    more = {**QUESTIONS, Status.CAPTURED: Question.ACTION}
    monkeypatch.setattr("payins.checkpoints.QUESTIONS", more)
    assert rules() != before
