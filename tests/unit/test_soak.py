"""What the soak judges: whether memory is flat, and how long the views were behind after a kill."""

import mmap
import os

import pytest

from bench.lag import Recovery, recoveries
from bench.memory import (
    GENERATION_SECONDS_MIN,
    GROWTH_MAX,
    MEGABYTE,
    Generation,
    judge,
    memory_bytes,
    slope,
)

HEAP = 512


def life(seconds: float, megabytes_per_minute: float, *, name: str = "views-worker") -> Generation:
    """A process that starts at 100 MB, doubles at once as it loads, then grows steadily."""
    generation = Generation(name, 1)
    for number in range(int(seconds / 2) + 1):
        at = 2.0 * number
        grown = 200.0 if number else 100.0
        grown += megabytes_per_minute * at / 60
        generation.samples.append((1_000.0 + at, int(grown * MEGABYTE)))
    return generation


def test_slope_is_not_bent_by_outliers() -> None:
    line = [(float(x), 3.0 * x) for x in range(20)]
    line[4], line[11] = (4.0, 900.0), (11.0, -700.0)
    assert slope(line) == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("megabytes_per_minute", "is_flat"),
    [(0.0, True), (-30.0, True), (GROWTH_MAX - 1, True), (GROWTH_MAX + 1, False), (80.0, False)],
)
def test_growth_in_the_second_half_is_judged(megabytes_per_minute: float, is_flat: bool) -> None:
    verdict = judge("views-worker", [life(480, megabytes_per_minute)], HEAP)
    assert verdict.flat is is_flat
    assert verdict.value == pytest.approx(megabytes_per_minute, abs=0.1)


def test_the_worst_generation_counts() -> None:
    lives = [life(480, 0.0), life(480, 50.0), life(480, 1.0)]
    verdict = judge("views-worker", lives, HEAP)
    assert verdict.flat is False
    assert (verdict.generations, verdict.judged) == (3, 3)


def test_a_short_generation_is_not_judged() -> None:
    verdict = judge("views-worker", [life(GENERATION_SECONDS_MIN - 4, 500.0)], HEAP)
    assert verdict.flat is None
    assert verdict.judged == 0
    assert verdict.peak_megabytes > 200


def test_loading_at_the_start_is_not_growth() -> None:
    loading = Generation("clickhouse", 1)
    for number in range(241):
        size = min(number, 100) * 8.0
        loading.samples.append((2.0 * number, int(size * MEGABYTE)))
    assert judge("clickhouse", [loading], HEAP).flat is True


def test_a_java_server_may_touch_its_heap_and_no_more() -> None:
    assert judge("kafka", [life(480, 50.0, name="kafka")], HEAP).flat is True
    assert judge("kafka", [life(480, 250.0, name="kafka")], HEAP).flat is False


def test_shared_memory_is_not_counted() -> None:
    own = os.getpid()
    before = memory_bytes(own, children=False)
    with mmap.mmap(-1, 64 * MEGABYTE) as shared:  # shared and anonymous, as PostgreSQL's buffers
        for at in range(0, len(shared), mmap.PAGESIZE):
            shared[at] = 1
        during = memory_bytes(own, children=False)
    assert before is not None
    assert during is not None
    assert during - before < 16 * MEGABYTE
    kept = bytearray(os.urandom(64 * MEGABYTE))
    assert (memory_bytes(own, children=False) or 0) - before > 48 * MEGABYTE
    del kept


def test_recovery_is_counted_from_the_kill_to_the_last_large_lag() -> None:
    samples = [(0.0, 0.3), (10.0, 0.3), (11.0, 6.0), (12.0, 7.0), (13.0, 0.4), (14.0, 9.0),
               (15.0, 0.5), (30.0, 0.3), (31.0, 0.3)]  # fmt: skip
    found = recoveries(samples, [(10.0, "kafka"), (30.0, "connect")], end=40.0, small_seconds=5.0)
    assert found == [
        Recovery(target="kafka", lag_max_seconds=9.0, seconds=5.0),
        Recovery(target="connect", lag_max_seconds=0.3, seconds=0.0),
    ]


def test_a_lag_that_does_not_come_back_before_the_next_kill_is_no_recovery() -> None:
    samples = [(10.0, 0.3), (15.0, 6.0), (19.0, 10.0), (21.0, 12.0), (25.0, 0.1)]
    found = recoveries(samples, [(10.0, "kafka"), (20.0, "kafka")], end=30.0, small_seconds=5.0)
    assert [each.seconds for each in found] == [None, 5.0]
