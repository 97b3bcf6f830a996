"""How items find together in lanes, and what becomes of those that spoil a group."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event, Lock
from typing import Any

import pytest

from schemas.errors import (
    ConfigurationError,
    Rejection,
    SchemaVersionError,
    ServiceUnavailable,
)
from tests.waiting import wait_until, wait_until_async
from writer.lanes import Lanes
from writer.memory import MemoryStore
from writer.retry import retrying
from writer.store import StreamMoved, TookTooLong

WAIT_SECONDS = 30.0
NEVER_SECONDS = 600.0
"""A test that waited this long would fail."""


class Attempt:
    """Answers each item with itself; the first group waits until the test lets it go."""

    def __init__(self, fails: Callable[[Sequence[Any]], Exception | None] = lambda items: None):
        self.groups: list[list[Any]] = []
        self.go_on = Event()
        self.fails = fails
        self.lock = Lock()

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        with self.lock:
            self.groups.append([*items])
            is_first = len(self.groups) == 1
        if is_first:
            assert self.go_on.wait(WAIT_SECONDS)
        if error := self.fails(items):
            raise error
        return [*items]


@contextmanager
def open_lanes(attempt: Callable[[Sequence[Any]], Sequence[Any]], **options: Any) -> Iterator[Any]:
    defaults: dict[str, Any] = {
        "retrying": retrying(MemoryStore()),
        "lanes": 1,
        "linger_seconds": 0.0,
    }
    lanes: Lanes[Any, Any] = Lanes(attempt, **defaults | options)
    try:
        yield lanes
    finally:
        lanes.close()


def submit_all(lanes: Lanes[Any, Any], attempt: Attempt, items: Sequence[Any]) -> list[Any]:
    """The first item becomes a group by itself, and all others wait behind it."""
    futures = [lanes.submit(items[0])]
    wait_until(lambda: attempt.groups, "the first group begins", poll_seconds=0.001)
    futures += [lanes.submit(item) for item in items[1:]]
    attempt.go_on.set()
    return futures


def outcome(future: "Future[Any]") -> Any:
    """The result, or the error as a value."""
    return future.exception(WAIT_SECONDS) or future.result()


def test_what_arrives_while_a_group_is_worked_off_becomes_the_next_group() -> None:
    attempt = Attempt()
    with open_lanes(attempt) as lanes:
        futures = submit_all(lanes, attempt, range(8))
        assert [outcome(future) for future in futures] == [*range(8)]
    assert attempt.groups == [[0], [1, 2, 3, 4, 5, 6, 7]]


def test_a_group_has_a_largest_size() -> None:
    attempt = Attempt()
    with open_lanes(attempt, items_max=3) as lanes:
        for future in submit_all(lanes, attempt, range(8)):
            outcome(future)
    assert attempt.groups == [[0], [1, 2, 3], [4, 5, 6], [7]]


def test_a_lone_item_never_waits_for_others() -> None:
    attempt = Attempt()
    attempt.go_on.set()
    with open_lanes(attempt, linger_seconds=NEVER_SECONDS) as lanes:
        for item in range(20):
            assert lanes.run(item) == item
            assert lanes.submit(item).result(WAIT_SECONDS) == item


def test_a_group_waits_for_those_who_were_there_a_moment_ago_and_no_longer() -> None:
    attempt = Attempt()
    with open_lanes(attempt, linger_seconds=NEVER_SECONDS) as lanes:
        for future in submit_all(lanes, attempt, range(4)):
            outcome(future)
        # Four were unanswered at the same time: of the next ones, three wait for the fourth.
        futures = [lanes.submit(item) for item in (4, 5, 6)]
        assert not any(future.done() for future in futures)
        assert outcome(lanes.submit(7)) == 7
        assert [outcome(future) for future in futures] == [4, 5, 6]
    assert attempt.groups[-1] == [4, 5, 6, 7]


def test_a_group_waits_no_longer_than_it_may() -> None:
    attempt = Attempt()
    with open_lanes(attempt, linger_seconds=0.2) as lanes:
        for future in submit_all(lanes, attempt, range(4)):
            outcome(future)
        assert outcome(lanes.submit(4)) == 4


def test_items_of_one_key_are_never_in_two_lanes_and_keep_their_order() -> None:
    busy: set[str] = set()
    seen: list[str] = []
    lock = Lock()

    def attempt(items: Sequence[str]) -> Sequence[str]:
        keys = {item[0] for item in items}
        with lock:
            assert not keys & busy
            busy.update(keys)
            seen.extend(items)
        Event().wait(0.002)
        with lock:
            busy.difference_update(keys)
        return items

    items = [f"{key}{number:03}" for number in range(60) for key in "abcd"]
    with open_lanes(attempt, lanes=3, items_max=5, key=lambda item: item[0]) as lanes:
        assert [outcome(future) for future in [lanes.submit(item) for item in items]] == items
    for key in "abcd":
        assert [item for item in seen if item[0] == key] == [i for i in items if i[0] == key]


@pytest.mark.parametrize(
    "error",
    [
        Rejection(code="refused_by_database", field="row", problem="is bad"),
        SchemaVersionError("an event of newer code"),
        AssertionError("a bug"),
    ],
)
def test_an_item_that_spoils_its_group_fails_alone(error: Exception) -> None:
    attempt = Attempt(lambda items: error if 66 in items else None)
    with open_lanes(attempt) as lanes:
        futures = submit_all(lanes, attempt, range(101))
        answers = [outcome(future) for future in futures]
    assert answers == [error if item == 66 else item for item in range(101)]
    # The first item; the group and its halves down to one, twice for each level; once alone.
    assert len(attempt.groups) <= 1 + 1 + 2 * 7 + 1


@pytest.mark.parametrize("error", [StreamMoved("somebody was faster"), TookTooLong("5 s")])
def test_a_lost_race_costs_a_group_two_attempts_more(error: Exception) -> None:
    errors = [error]
    attempt = Attempt(lambda items: errors.pop() if errors and len(items) > 1 else None)
    with open_lanes(attempt) as lanes:
        futures = submit_all(lanes, attempt, range(9))
        assert [outcome(future) for future in futures] == [*range(9)]
    assert [len(group) for group in attempt.groups] == [1, 8, 4, 4]


def test_an_item_that_loses_every_race_holds_up_nobody() -> None:
    attempt = Attempt(lambda items: StreamMoved("always") if "loser" in items else None)
    with open_lanes(attempt, retry_seconds=2.0) as lanes:
        futures = submit_all(lanes, attempt, ["first", "loser", "a", "b"])
        assert [outcome(future) for future in futures[2:]] == ["a", "b"]
        assert outcome(lanes.submit("c")) == "c"
        assert not futures[1].done()
        assert isinstance(outcome(futures[1]), StreamMoved)


def test_a_group_survives_that_the_server_is_away() -> None:
    errors: list[Exception] = [ServiceUnavailable("away")] * 3
    recovered = []
    store = MemoryStore()
    store.recover = lambda: recovered.append(True)  # type: ignore[method-assign]
    attempt = Attempt(lambda items: errors.pop() if errors and len(items) > 1 else None)
    with open_lanes(attempt, retrying=retrying(store)) as lanes:
        futures = submit_all(lanes, attempt, range(5))
        assert [outcome(future) for future in futures] == [*range(5)]
    assert attempt.groups == [[0], *[[1, 2, 3, 4]] * 4]
    assert recovered


def test_each_item_is_given_up_when_its_own_time_is_over() -> None:
    attempt = Attempt(lambda items: ServiceUnavailable("away"))
    with open_lanes(attempt, retry_seconds=0.3) as lanes:
        futures = submit_all(lanes, attempt, range(5))
        assert all(isinstance(outcome(future), ServiceUnavailable) for future in futures)


def test_a_wrong_set_up_fails_all_at_once() -> None:
    attempt = Attempt(lambda items: ConfigurationError("no such role") if 1 in items else None)
    with open_lanes(attempt) as lanes:
        futures = submit_all(lanes, attempt, range(5))
        assert [type(outcome(future)) for future in futures[1:]] == [ConfigurationError] * 4
        assert outcome(lanes.submit(9)) == 9
    assert len(attempt.groups) == 3


def test_a_rejection_is_an_answer_and_not_an_error() -> None:
    rejection = Rejection(code="unknown_payment", field="payment_id", problem="there is none")
    with open_lanes(lambda items: [rejection] * len(items)) as lanes:
        assert lanes.run("lone") is rejection
        assert lanes.submit("other").result(WAIT_SECONDS) is rejection


def test_what_an_attempt_leaves_over_comes_in_the_next() -> None:
    groups: list[list[int]] = []

    def two_at_a_time(items: Sequence[int]) -> list[int | None]:
        groups.append([*items])
        return [*items[:2], *[None] * len(items[2:])]

    attempt = Attempt()

    def first_then_two(items: Sequence[int]) -> Sequence[int | None]:
        return two_at_a_time(items) if attempt.groups else attempt(items)

    with open_lanes(first_then_two) as lanes:
        futures = submit_all(lanes, attempt, range(6))
        assert [outcome(future) for future in futures] == [*range(6)]
    assert groups == [[1, 2, 3, 4, 5], [3, 4, 5], [5]]


def test_more_than_may_wait_are_refused_and_nobody_else_is_harmed() -> None:
    attempt = Attempt()
    with open_lanes(attempt, waiting_max=4) as lanes:
        futures = [lanes.submit(item) for item in range(4)]
        with pytest.raises(ServiceUnavailable, match=r"4 are waiting .* no more than 4 may"):
            lanes.submit(4)
        with pytest.raises(ServiceUnavailable, match="no more than 4 may"):
            lanes.run(5)
        attempt.go_on.set()
        assert [outcome(future) for future in futures] == [*range(4)]
        assert outcome(lanes.submit(6)) == 6


def test_an_item_that_is_cancelled_in_time_is_not_worked_off() -> None:
    attempt = Attempt()
    with open_lanes(attempt) as lanes:
        first = lanes.submit(0)
        wait_until(lambda: attempt.groups, "the first group begins", poll_seconds=0.001)
        others = [lanes.submit(item) for item in (1, 2, 3)]
        assert not first.cancel()
        assert others[1].cancel()
        attempt.go_on.set()
        assert [outcome(first), outcome(others[0]), outcome(others[2])] == [0, 1, 3]
        with pytest.raises(CancelledError):
            others[1].result()
    assert attempt.groups == [[0], [1, 3]]


def test_a_cancelled_coroutine_takes_nobody_with_it() -> None:
    attempt = Attempt()

    async def all_of_them(lanes: Lanes[int, int]) -> list[Any]:
        tasks = [asyncio.create_task(_wrapped(lanes, 0))]
        await wait_until_async(lambda: attempt.groups, "the first group begins")
        tasks += [asyncio.create_task(_wrapped(lanes, item)) for item in range(1, 6)]
        await asyncio.sleep(0)
        tasks[0].cancel()  # a lane works on it already
        tasks[3].cancel()
        await asyncio.sleep(0)
        attempt.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with open_lanes(attempt) as lanes:
        answers = asyncio.run(all_of_them(lanes))
    assert [type(answers[index]) for index in (0, 3)] == [asyncio.CancelledError] * 2
    assert [answers[index] for index in (1, 2, 4, 5)] == [1, 2, 4, 5]
    assert 3 not in [item for group in attempt.groups for item in group]


async def _wrapped(lanes: Lanes[int, int], item: int) -> int:
    return await asyncio.wrap_future(lanes.submit(item))


def test_closing_waits_for_every_answer_and_refuses_the_next() -> None:
    attempt = Attempt()
    with open_lanes(attempt, linger_seconds=NEVER_SECONDS) as lanes:
        futures = [lanes.submit(item) for item in range(5)]
        with ThreadPoolExecutor(1) as threads:
            closing = threads.submit(lanes.close)
            wait_until(lambda: lanes._is_closed, "closing has begun", poll_seconds=0.001)
            with pytest.raises(ServiceUnavailable, match="closed"):
                lanes.submit(5)
            assert not closing.done()
            attempt.go_on.set()
            closing.result(WAIT_SECONDS)
        assert [future.result(0) for future in futures] == [*range(5)]


def test_an_interrupted_caller_frees_its_lane() -> None:
    class InterruptsError(BaseException):
        pass

    def attempt(items: Sequence[str]) -> Sequence[str]:
        if "interrupted" in items:
            raise InterruptsError
        return items

    with open_lanes(attempt) as lanes:
        with pytest.raises(InterruptsError):
            lanes.run("interrupted")
        assert lanes.run("next") == "next"


def test_many_threads_get_each_their_own_answer() -> None:
    sizes: list[int] = []

    def attempt(items: Sequence[int]) -> list[int]:
        sizes.append(len(items))
        Event().wait(0.001)
        return [-item for item in items]

    with (
        open_lanes(attempt, lanes=2, linger_seconds=0.004) as lanes,
        ThreadPoolExecutor(20) as threads,
    ):
        assert [*threads.map(lanes.run, range(2000))] == [-item for item in range(2000)]
    assert sum(sizes) == 2000
    assert max(sizes) > 1, "they never met; the test shows nothing"


def test_sizes_count_what_was_answered_together() -> None:
    bad = ValueError("is bad")
    attempt = Attempt(lambda items: bad if 6 in items else None)
    with open_lanes(attempt) as lanes:
        futures = submit_all(lanes, attempt, range(7))
        assert [outcome(future) for future in futures] == [*range(6), bad]
        assert lanes.run(7) == 7
    # 1 to 3 together. Alone: the first, the last, and two halves of the group that was spoiled.
    assert lanes.sizes() == {3: 1, 1: 4}
