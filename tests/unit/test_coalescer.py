"""The coalescer: how much goes into a flush, and when."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.views.coalescer import REST_SECONDS_MOST, Batch, Coalescer, CoalescerLimits


def limits(
    rows_max: int = 10, linger_seconds: float = 0.2, busy_records_per_second: float = 1_000
) -> CoalescerLimits:
    return CoalescerLimits(
        rows_max=rows_max,
        linger_seconds=linger_seconds,
        busy_records_per_second=busy_records_per_second,
    )


def batch(records: int, partition: int = 0, is_current: Callable[[], bool] = lambda: True) -> Batch:
    return Batch(
        topic="payments",
        partition=partition,
        records=[(partition, object()) for _ in range(records)],
        acknowledge=lambda: None,
        is_current=is_current,
    )


def test_nothing_waits_at_first() -> None:
    coalescer = Coalescer(limits())
    assert coalescer.take(0.0) is None
    assert coalescer.due_in(0.0) is None
    assert not coalescer.is_full


def test_after_a_quiet_time_a_record_is_due_at_once() -> None:
    coalescer = Coalescer(limits())
    coalescer.add(batch(1), 100.0)
    assert coalescer.due_in(100.0) == 0.0


def test_batches_of_several_partitions_share_a_flush() -> None:
    coalescer = Coalescer(limits())
    first, second = batch(3, partition=0), batch(4, partition=1)
    coalescer.add(first, 0.0)
    coalescer.add(second, 0.0)
    flush = coalescer.take(0.0)
    assert flush is not None
    assert flush.records == first.records + second.records
    assert flush.batches == (first, second)
    assert coalescer.rows == 0


def test_a_large_batch_is_split_and_belongs_to_the_flush_of_its_last_record() -> None:
    coalescer = Coalescer(limits(rows_max=10))
    large = batch(25)
    coalescer.add(large, 0.0)
    flushes = [coalescer.take(0.0) for _ in range(3)]
    assert [len(flush.records) for flush in flushes if flush] == [10, 10, 5]
    assert [flush.batches for flush in flushes if flush] == [(), (), (large,)]
    assert coalescer.take(0.0) is None


def test_a_full_flush_is_seen() -> None:
    coalescer = Coalescer(limits(rows_max=10))
    coalescer.add(batch(9), 0.0)
    assert not coalescer.is_full
    coalescer.add(batch(1), 0.0)
    assert coalescer.is_full


@pytest.mark.parametrize(
    ("records_per_second", "linger"),
    [(0, 0.0), (100, 0.02), (500, 0.1), (1_000, 0.2), (50_000, 0.2)],
)
def test_the_linger_follows_the_load(records_per_second: int, linger: float) -> None:
    coalescer = Coalescer(limits(linger_seconds=0.2, busy_records_per_second=1_000))
    for tick in range(500):
        if records_per_second:
            coalescer.add(batch(records_per_second // 50), tick / 50)
            coalescer.take(tick / 50)
    assert coalescer.linger(499 / 50) == pytest.approx(linger, rel=0.05)


def test_the_linger_ends_when_the_load_does() -> None:
    coalescer = Coalescer(limits(linger_seconds=0.2, busy_records_per_second=1_000))
    coalescer.add(batch(100_000), 0.0)
    assert coalescer.linger(0.0) == 0.2
    assert coalescer.linger(30.0) < 0.001


def test_the_linger_counts_from_the_last_flush() -> None:
    coalescer = Coalescer(limits(rows_max=100_000, linger_seconds=0.2, busy_records_per_second=1))
    coalescer.add(batch(1), 0.0)
    coalescer.take(0.0)
    coalescer.add(batch(1_000), 0.05)
    assert coalescer.due_in(0.05) == pytest.approx(0.15)
    assert coalescer.due_in(0.25) == 0.0


@pytest.mark.parametrize(("took", "rest"), [(0.03, 0.03), (0.2, 0.2), (60.0, REST_SECONDS_MOST)])
def test_after_a_flush_as_much_time_passes_as_it_took(took: float, rest: float) -> None:
    coalescer = Coalescer(limits(rows_max=100_000, linger_seconds=0.0))
    coalescer.add(batch(1), 0.0)
    coalescer.take(0.0)
    coalescer.add(batch(1), took)
    coalescer.written(took)
    assert coalescer.due_in(took) == pytest.approx(rest)
    assert coalescer.due_in(took + rest / 2) == pytest.approx(rest / 2)
    assert coalescer.due_in(took + rest) == 0.0


def test_the_longer_of_linger_and_rest_counts() -> None:
    coalescer = Coalescer(limits(rows_max=100_000, linger_seconds=0.2, busy_records_per_second=1))
    coalescer.add(batch(1_000), 0.0)
    coalescer.take(0.0)
    coalescer.add(batch(1), 0.0)
    coalescer.written(0.03)
    assert coalescer.due_in(0.03) == pytest.approx(0.17)


def test_a_batch_that_is_no_longer_ours_is_dropped() -> None:
    coalescer = Coalescer(limits())
    ours, gone = batch(2, partition=0), batch(3, partition=1, is_current=lambda: False)
    coalescer.add(gone, 0.0)
    coalescer.add(ours, 0.0)
    flush = coalescer.take(0.0)
    assert flush is not None
    assert flush.batches == (ours,)
    assert coalescer.rows == 0


def test_a_batch_revoked_half_way_is_never_complete() -> None:
    current = True
    coalescer = Coalescer(limits(rows_max=10))
    coalescer.add(batch(15, is_current=lambda: current), 0.0)
    assert coalescer.take(0.0) is not None
    current = False
    assert coalescer.take(0.0) is None
    assert coalescer.rows == 0


@given(
    batches=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 3), st.booleans()), max_size=30),
    takes=st.lists(st.booleans(), max_size=60),
    rows_max=st.integers(1, 20),
)
def test_every_record_of_ours_leaves_once_in_order_and_before_its_batch_is_complete(
    batches: list[tuple[int, int, bool]], takes: list[bool], rows_max: int
) -> None:
    coalescer = Coalescer(limits(rows_max=rows_max))
    made = [batch(count, part, partial(bool, keep)) for count, part, keep in batches]
    kept = [each for each, (_, _, keep) in zip(made, batches, strict=True) if keep]
    waiting = list(made)
    left: list[Any] = []
    complete: list[Batch] = []

    def take() -> bool:
        flush = coalescer.take(0.0)
        if flush is None:
            return False
        assert len(flush.records) <= rows_max
        left.extend(flush.records)
        complete.extend(flush.batches)
        for each in flush.batches:
            assert all(record in left for record in each.records)
        return True

    for take_next in takes:
        if take_next:
            take()
        elif waiting:
            coalescer.add(waiting.pop(0), 0.0)
    for each in waiting:
        coalescer.add(each, 0.0)
    while take():
        pass
    assert left == [record for each in kept for record in each.records]
    assert complete == kept
    assert coalescer.rows == 0
