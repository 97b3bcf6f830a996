"""Which events the freshness probe looks for, and how often it asks."""

from random import Random
from uuid import UUID

from marketplace.freshness import Bursts, ProbeLimits, quantile

LIMITS = ProbeLimits(
    burst_events_max=2,
    spacing_seconds=0.01,
    look_seconds=0.02,
    look_share=0.1,
    rest_seconds=(0.5, 0.5),
)
FIRST, SECOND, THIRD = ((UUID(int=number), 1) for number in (1, 2, 3))


def bursts() -> Bursts:
    return Bursts(limits=LIMITS, random=Random(0))


def test_a_burst_takes_so_many_events_and_no_more() -> None:
    one = bursts()
    assert one.offer(FIRST, 10.0)
    assert one.offer(SECOND, 10.01)
    assert not one.offer(THIRD, 10.02)
    assert set(one.waiting) == {FIRST, SECOND}


def test_events_that_were_appended_together_are_not_all_taken() -> None:
    one = bursts()
    assert one.offer(FIRST, 10.0)
    assert not one.offer(SECOND, 10.005)
    assert one.offer(SECOND, 10.01)


def test_room_that_a_seen_event_leaves_is_not_filled_within_the_burst() -> None:
    one = bursts()
    one.offer(FIRST, 10.0)
    one.offer(SECOND, 10.01)
    assert one.seen(FIRST, 10.1)
    assert not one.offer(THIRD, 10.2)


def test_after_a_burst_nothing_is_taken_until_the_rest_is_over() -> None:
    one = bursts()
    one.offer(FIRST, 10.0)
    assert one.seen(FIRST, 10.1)
    assert not one.offer(SECOND, 10.59)
    assert one.offer(SECOND, 10.61)
    assert one.offer(THIRD, 10.63), "the new burst has all of its room"


def test_an_event_that_nobody_waits_for_ends_no_burst() -> None:
    one = bursts()
    one.offer(FIRST, 10.0)
    assert not one.seen(SECOND, 10.1)
    assert set(one.waiting) == {FIRST}


def test_an_event_that_never_arrives_stays() -> None:
    one = bursts()
    one.offer(FIRST, 10.0)
    one.offer(SECOND, 10.01)
    one.seen(SECOND, 10.1)
    assert not one.offer(THIRD, 1_000.0)
    assert set(one.waiting) == {FIRST}


def test_the_longer_an_event_waits_the_rarer_the_looks() -> None:
    one = bursts()
    one.offer(FIRST, 10.0)
    assert one.seconds_to_look(10.0) == LIMITS.look_seconds
    assert one.seconds_to_look(10.1) == LIMITS.look_seconds
    assert one.seconds_to_look(12.0) == 0.1 * 2.0


def test_a_quantile_is_one_of_the_figures() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3.0
    assert quantile([], 0.5) == 0.0
