"""The pipeline: nothing is acknowledged before it is written, whatever fails whenever."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ServiceUnavailable, WriteRefused
from streams.views.coalescer import Batch, Coalescer, CoalescerLimits, Flush
from streams.views.pipeline import Pipeline, PipelineLimits
from tests.waiting import wait_until_async

PATIENCE_SECONDS = 10.0
STEP_NAMES = ("fold", "write", "park", "settle")
Trouble = list[Exception]


@dataclass
class FakeSteps:
    """Steps that remember what they did and fail as told: one error per call, then none."""

    troubles: dict[str, Trouble] = field(default_factory=dict)
    write_seconds: float = 0.0
    settle_seconds: float = 0.0
    written: set[int] = field(default_factory=set)
    parked: set[int] = field(default_factory=set)
    settled: set[int] = field(default_factory=set)
    flush_rows: list[int] = field(default_factory=list)
    settlements: list[int] = field(default_factory=list)
    write_times: list[tuple[float, float]] = field(default_factory=list)
    """When each write began and ended, in monotonic seconds."""
    writing_at_once: int = 0
    folded_while_writing: int = 0
    writing_most: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    may_write: threading.Event = field(default_factory=threading.Event)
    may_settle: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may_write.set()
        self.may_settle.set()

    def fold(self, flush: Flush) -> list[int]:
        self.fail("fold")
        self.folded_while_writing += self.writing_at_once
        self.flush_rows.append(len(flush.records))
        return list(flush.records)

    def write(self, folded: list[int]) -> list[int]:
        with self.lock:
            self.writing_at_once += 1
            self.writing_most = max(self.writing_most, self.writing_at_once)
        began = monotonic()
        try:
            sleep(self.write_seconds)
            self.write_times.append((began, monotonic()))
            self.may_write.wait(PATIENCE_SECONDS)
            self.fail("write")
            self.written.update(folded)
        finally:
            with self.lock:
                self.writing_at_once -= 1
        return list(folded)

    async def park(self, folded: list[int]) -> None:
        self.fail("park")
        assert self.written.issuperset(folded)
        self.parked.update(folded)

    def settle(self, written: list[list[int]]) -> None:
        sleep(self.settle_seconds)
        self.may_settle.wait(PATIENCE_SECONDS)
        self.fail("settle")
        self.settlements.append(len(written))
        for receipt in written:
            assert self.parked.issuperset(receipt)
            self.settled.update(receipt)

    def fail(self, step: str) -> None:
        if self.troubles.get(step):
            raise self.troubles[step].pop(0)


@dataclass
class Watcher:
    """Counts what the pipeline tells."""

    retries: list[str] = field(default_factory=list)
    recoveries: list[str] = field(default_factory=list)

    def retrying(self, step: str, error: BaseException, attempt: int) -> None:
        self.retries.append(step)

    def recovered(self, step: str) -> None:
        self.recoveries.append(step)


@dataclass
class Bench:
    """A pipeline over fake steps, and the batches that were put into it."""

    steps: FakeSteps = field(default_factory=FakeSteps)
    rows_max: int = 10
    linger_seconds: float = 0.0
    limits: PipelineLimits = field(
        default_factory=lambda: PipelineLimits(
            settle_seconds=0.001,
            retry_first_seconds=0.001,
            retry_most_seconds=0.002,
            give_up_seconds=5.0,
        )
    )
    watcher: Watcher = field(default_factory=Watcher)
    acknowledged: list[tuple[int, ...]] = field(default_factory=list)
    made: int = 0

    def __post_init__(self) -> None:
        self.coalescer = Coalescer(
            CoalescerLimits(
                rows_max=self.rows_max,
                linger_seconds=self.linger_seconds,
                busy_records_per_second=1.0,
            )
        )
        self.pipeline = Pipeline(self.steps, self.coalescer, self.limits, self.watcher)

    def batch(self, records: int) -> Batch:
        numbers = tuple(range(self.made, self.made + records))
        self.made += records

        def acknowledge() -> None:
            assert self.steps.settled.issuperset(numbers), "acknowledged before it was in"
            assert not batch.records, "the records were not released"
            self.acknowledged.append(numbers)

        batch = Batch(
            topic="payments",
            partition=0,
            records=list(numbers),
            acknowledge=acknowledge,
            is_current=lambda: True,
        )
        return batch

    async def until(self, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            assert self.pipeline.failure is None, self.pipeline.failure
            return condition()

        await wait_until_async(holds, "it holds", seconds=PATIENCE_SECONDS, poll_seconds=0.001)

    def put_in_background(self, batches: int) -> "asyncio.Task[None]":
        made = [self.batch(self.rows_max) for _ in range(batches)]
        return asyncio.create_task(put_all(self, made))

    def run(self, scenario: Callable[["Bench"], Awaitable[None]]) -> None:
        async def whole() -> None:
            self.pipeline.start()
            try:
                await scenario(self)
            finally:
                await self.pipeline.close()

        asyncio.run(whole())


async def put_all(bench: Bench, batches: Iterable[Batch]) -> None:
    for batch in batches:
        await bench.pipeline.put(batch)


def test_a_batch_is_acknowledged_after_rows_and_dead_letters_are_in_and_noted() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(3))
        await bench.until(lambda: bool(bench.acknowledged))
        assert bench.steps.written == bench.steps.parked == bench.steps.settled == {0, 1, 2}

    Bench().run(scenario)


@pytest.mark.parametrize("step", ["write", "park", "settle"])
def test_a_step_is_tried_again_until_it_succeeds(step: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(3))
        await bench.until(lambda: bool(bench.acknowledged))
        assert bench.watcher.retries == [step, step]
        assert bench.watcher.recoveries == [step]

    Bench(steps=FakeSteps(troubles={step: [ServiceUnavailable("away")] * 2})).run(scenario)


@pytest.mark.parametrize("step", ["write", "park", "settle"])
def test_after_the_limit_the_pipeline_fails_and_acknowledges_nothing(step: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(3))
        async with asyncio.timeout(PATIENCE_SECONDS):
            error = await bench.pipeline.failed()
        assert str(error) == "away"
        assert not bench.acknowledged

    Bench(
        steps=FakeSteps(troubles={step: [ServiceUnavailable("away")] * 10_000}),
        limits=PipelineLimits(
            retry_first_seconds=0.001, retry_most_seconds=0.01, give_up_seconds=0.1
        ),
    ).run(scenario)


@pytest.mark.parametrize("step", STEP_NAMES)
def test_what_no_later_try_can_cure_fails_at_once_and_holds_the_caller(step: str) -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(3))
        async with asyncio.timeout(PATIENCE_SECONDS):
            error = await bench.pipeline.failed()
        assert str(error) == "row refused"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await bench.pipeline.put(bench.batch(1))
        assert not bench.acknowledged
        assert not bench.watcher.retries

    Bench(steps=FakeSteps(troubles={step: [WriteRefused("row refused")]})).run(scenario)


def test_a_bug_in_a_step_fails_the_pipeline() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(3))
        async with asyncio.timeout(PATIENCE_SECONDS):
            error = await bench.pipeline.failed()
        assert isinstance(error, ZeroDivisionError)
        assert not bench.acknowledged

    Bench(steps=FakeSteps(troubles={"fold": [ZeroDivisionError()]})).run(scenario)


def test_small_batches_grow_into_one_flush_while_another_is_written() -> None:
    async def scenario(bench: Bench) -> None:
        bench.steps.may_write.clear()
        await bench.pipeline.put(bench.batch(1))
        await bench.until(lambda: bench.steps.writing_at_once == 1)
        await put_all(bench, [bench.batch(1) for _ in range(8)])
        bench.steps.may_write.set()
        await bench.until(lambda: len(bench.acknowledged) == 9)
        assert bench.steps.flush_rows == [1, 8]

    Bench(steps=FakeSteps()).run(scenario)


def test_a_full_flush_is_folded_while_another_is_written_but_never_two_are_written_at_once() -> (
    None
):
    async def scenario(bench: Bench) -> None:
        bench.steps.may_write.clear()
        await bench.pipeline.put(bench.batch(10))
        await bench.until(lambda: bench.steps.writing_at_once == 1)
        putting = bench.put_in_background(5)
        await bench.until(lambda: bench.steps.folded_while_writing == 1)
        bench.steps.may_write.set()
        await putting
        await bench.until(lambda: len(bench.acknowledged) == 6)
        assert bench.steps.writing_most == 1

    Bench(steps=FakeSteps(write_seconds=0.01)).run(scenario)


def test_under_load_flushes_wait_for_the_linger() -> None:
    async def scenario(bench: Bench) -> None:
        started = monotonic()
        await bench.pipeline.put(bench.batch(5))
        await bench.until(lambda: len(bench.acknowledged) == 1)
        await bench.pipeline.put(bench.batch(5))
        await bench.until(lambda: len(bench.acknowledged) == 2)
        assert monotonic() - started >= 0.2

    Bench(linger_seconds=0.2).run(scenario)


def test_after_a_flush_the_sink_rests_for_as_long() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(5))
        await bench.until(lambda: bench.steps.writing_at_once == 1)
        await bench.pipeline.put(bench.batch(5))
        await bench.until(lambda: len(bench.acknowledged) == 2)
        (_, first_ended), (second_began, _) = bench.steps.write_times
        assert second_began - first_ended >= 0.2

    Bench(steps=FakeSteps(write_seconds=0.2)).run(scenario)


def test_whoever_puts_is_held_while_a_full_flush_waits() -> None:
    async def scenario(bench: Bench) -> None:
        bench.steps.may_write.clear()
        putting = bench.put_in_background(5)
        # One is written, one is folded, one waits; the fourth cannot be put yet.
        await bench.until(lambda: len(bench.steps.flush_rows) == 2 and bench.coalescer.rows == 10)
        await asyncio.sleep(0.05)
        assert not putting.done()
        assert bench.coalescer.rows == 10
        bench.steps.may_write.set()
        await bench.until(lambda: len(bench.acknowledged) == 5)
        assert putting.done()

    Bench().run(scenario)


def test_many_flushes_share_a_settlement_that_takes_long() -> None:
    async def scenario(bench: Bench) -> None:
        await put_all(bench, [bench.batch(10) for _ in range(30)])
        await bench.until(lambda: len(bench.acknowledged) == 30)
        assert sum(bench.steps.settlements) == 30
        assert len(bench.steps.settlements) < 10

    Bench(steps=FakeSteps(settle_seconds=0.05)).run(scenario)


def test_unsettled_flushes_are_limited() -> None:
    async def scenario(bench: Bench) -> None:
        bench.steps.may_settle.clear()
        putting = bench.put_in_background(30)
        await bench.until(lambda: len(bench.steps.flush_rows) == 4)
        await asyncio.sleep(0.05)
        assert len(bench.steps.flush_rows) == 4
        assert not putting.done()
        putting.cancel()
        bench.steps.may_settle.set()

    limits = PipelineLimits(settle_seconds=0.001, flushes_unsettled_max=4)
    Bench(limits=limits).run(scenario)


def test_rows_go_on_becoming_visible_while_flushes_are_settled() -> None:
    limits = PipelineLimits(settle_seconds=0.001, flushes_unsettled_max=80)

    async def scenario(bench: Bench) -> None:
        most = 0
        for _ in range(120):
            await bench.pipeline.put(bench.batch(10))
            await asyncio.sleep(0.01)
            most = max(most, len(bench.steps.flush_rows) - len(bench.acknowledged))
        assert len(bench.steps.settlements) > 1
        assert most < limits.flushes_unsettled_max

    Bench(steps=FakeSteps(settle_seconds=0.1), limits=limits).run(scenario)


def test_a_drain_finishes_what_is_under_way_and_drops_what_waits() -> None:
    async def scenario(bench: Bench) -> None:
        putting = bench.put_in_background(9)
        await bench.until(lambda: bench.steps.writing_at_once == 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await bench.pipeline.drain()
        done = list(bench.acknowledged)
        assert 1 <= len(done) <= 3
        await asyncio.sleep(0.05)
        assert bench.acknowledged == done
        assert {number for batch in done for number in batch} == bench.steps.written
        putting.cancel()

    Bench(steps=FakeSteps(write_seconds=0.1)).run(scenario)


def test_a_drain_does_not_wait_for_the_next_settlement() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(1))
        await bench.until(lambda: len(bench.acknowledged) == 1)
        await bench.pipeline.put(bench.batch(1))
        await bench.until(lambda: len(bench.steps.written) == 2)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await bench.pipeline.drain()
        assert len(bench.acknowledged) == 2

    Bench(limits=PipelineLimits(settle_seconds=60.0)).run(scenario)


def test_a_drain_ends_when_the_pipeline_has_failed() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.pipeline.put(bench.batch(1))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await bench.pipeline.failed()
            await bench.pipeline.drain()
        assert not bench.acknowledged

    Bench(steps=FakeSteps(troubles={"write": [WriteRefused("no")]})).run(scenario)


def errors() -> st.SearchStrategy[Trouble]:
    """Mostly none, some that a later try cures, now and then one that nothing does."""
    curable: st.SearchStrategy[Exception] = st.builds(ServiceUnavailable, st.just("away"))
    incurable: st.SearchStrategy[Exception] = st.builds(WriteRefused, st.just("no"))
    return st.lists(st.one_of(curable, curable, curable, curable, incurable), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    batches=st.lists(st.integers(1, 25), min_size=1, max_size=12),
    pauses=st.lists(st.booleans(), min_size=12, max_size=12),
    troubles=st.fixed_dictionaries({step: errors() for step in ("write", "park", "settle")}),
    drain_after=st.integers(1, 12),
)
def test_acknowledged_is_written_whatever_fails_whenever(
    batches: list[int], pauses: list[bool], troubles: dict[str, Trouble], drain_after: int
) -> None:
    async def scenario(bench: Bench) -> None:
        for number, (count, pause) in enumerate(zip(batches, pauses, strict=False)):
            if number == drain_after:
                break
            putting = asyncio.create_task(bench.pipeline.put(bench.batch(count)))
            failing = asyncio.create_task(bench.pipeline.failed())
            done, pending = await asyncio.wait(
                [putting, failing], timeout=PATIENCE_SECONDS, return_when=asyncio.FIRST_COMPLETED
            )
            for task in pending:
                task.cancel()
            assert done, "neither accepted nor failed"
            if pause:
                await asyncio.sleep(0.001)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await bench.pipeline.drain()

    # Each acknowledgement asserts that rows and totals are in.
    bench = Bench(steps=FakeSteps(troubles=troubles))
    bench.run(scenario)
    acknowledged = [number for batch in bench.acknowledged for number in batch]
    assert acknowledged == list(range(len(acknowledged))), "out of order, or one left out"


def test_a_pipeline_that_acknowledged_early_would_be_seen() -> None:
    """The bench can fail: an acknowledgement before its time is an assertion that fails."""
    bench = Bench()
    early: Any = bench.batch(1)
    with pytest.raises(AssertionError, match="acknowledged before it was in"):
        early.acknowledge()
