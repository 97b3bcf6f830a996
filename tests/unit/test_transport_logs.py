"""The log of a worker stays readable while a server is down."""

import logging

from streams.logs import RepeatFilter


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def record(name: str, argument: int, *, line: int = 1) -> logging.LogRecord:
    return logging.LogRecord(
        name, logging.ERROR, "f.py", line, "node %d is down", (argument,), None
    )


def test_library_repeating_itself_is_said_once_and_counted() -> None:
    clock = Clock()
    repeats = RepeatFilter(seconds=10.0, clock=clock)
    passed = []
    for second in range(21):
        clock.seconds = 100.0 + second
        each = record("aiokafka.conn", second)
        if repeats.filter(each):
            passed.append(each.getMessage())
    assert passed == [
        "node 0 is down",
        "node 10 is down (9 similar messages suppressed)",
        "node 20 is down (9 similar messages suppressed)",
    ]


def test_different_messages_do_not_hide_each_other() -> None:
    repeats = RepeatFilter(seconds=10.0, clock=Clock())
    assert repeats.filter(record("aiokafka", 1, line=1))
    assert repeats.filter(record("aiokafka", 1, line=2))
    assert repeats.filter(record("faust.app", 1, line=1))
    assert not repeats.filter(record("aiokafka", 2, line=1))


def test_our_own_messages_always_pass() -> None:
    repeats = RepeatFilter(seconds=10.0, clock=Clock())
    assert all(repeats.filter(record("purser.transport", 1)) for _ in range(5))
