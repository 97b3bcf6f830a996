"""The tests' own way to wait: it returns what it waited for, and fails in time and in words."""

from itertools import count

import pytest

from tests.waiting import wait_until


def test_it_returns_the_first_true_answer() -> None:
    numbers = count()
    assert wait_until(lambda: next(numbers), "a number", poll_seconds=0.0) == 1


def test_it_fails_with_what_was_awaited_and_seen_last() -> None:
    with pytest.raises(AssertionError, match=r"not within 0\.02 s: rows; last seen: \[\]"):
        wait_until(list, "rows", seconds=0.02, poll_seconds=0.001)
    with pytest.raises(AssertionError, match="last seen: the log"):
        wait_until(lambda: False, "rows", seconds=0.0, poll_seconds=0.0, seen=lambda: "the log")


def test_it_asks_once_more_after_the_last_pause() -> None:
    answers = iter([False, True])
    assert wait_until(lambda: next(answers), "it", seconds=0.01, poll_seconds=0.02)


def test_an_error_of_the_condition_ends_the_wait() -> None:
    def condition() -> bool:
        raise RuntimeError("the worker ended")

    with pytest.raises(RuntimeError, match="the worker ended"):
        wait_until(condition, "a worker")
