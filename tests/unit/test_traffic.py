"""Live traffic: what is sent when, what is sent again, and what the report counts."""

import time
from collections import Counter
from concurrent.futures import Future
from contextlib import closing
from threading import Event as Flag
from threading import Lock, Thread

import pytest

from marketplace import traffic
from marketplace.groups import GroupSizes
from marketplace.market import Step
from marketplace.traffic import Traffic, TrafficReport, run_in_background
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.lifecycle import EventType
from tests.builders import a_payment, a_payout
from tests.events import pay_in, payout
from tests.waiting import wait_until
from writer.append import Answer, Appended, Writer
from writer.commands import AnyCommand, CreatePayment
from writer.memory import MemoryStore

AWAY = ServiceUnavailable("PostgreSQL does not answer")
WAIT_SECONDS = 30.0


class _Writer:
    """Answers at once: appends a payment of two orders, or a payout."""

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        future: Future[Answer] = Future()
        try:
            future.set_result(self.handle(command))
        except Exception as error:  # noqa: BLE001 - the caller raises it
            future.set_exception(error)
        return future

    def handle(self, command: AnyCommand) -> Answer:
        if isinstance(command, CreatePayment):
            return Appended((pay_in(EventType.CREATED), pay_in(EventType.CREATED, seq=2)))
        return Appended((payout(EventType.REQUESTED),))

    def group_sizes(self) -> Counter[int]:
        return Counter()


class _Down(_Writer):
    """Cannot be reached, and will not be."""

    def __init__(self) -> None:
        self.was_asked = Flag()

    def handle(self, _command: AnyCommand) -> Answer:
        self.was_asked.set()
        raise AWAY


class _Full(_Writer):
    """Takes no commands for a while: what waits is enough."""

    def __init__(self) -> None:
        self.refusals = 3

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        if self.refusals:
            self.refusals -= 1
            raise AWAY
        return super().submit(command)


class _Broken(_Writer):
    """Cannot handle anything, for a reason that nobody has foreseen."""

    def handle(self, _command: AnyCommand) -> Answer:
        raise AssertionError("a lane died")


class _Held(_Writer):
    """Answers when the test says so, and remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[AnyCommand] = []
        self.waiting: dict[str, Future[Answer]] = {}
        self.lock = Lock()

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        with self.lock:
            self.sent.append(command)
            future = self.waiting[command.idempotency_key] = Future()
            return future

    def answer(self, command: AnyCommand, error: Exception | None = None) -> None:
        with self.lock:
            future = self.waiting.pop(command.idempotency_key)
        if error:
            future.set_exception(error)
        else:
            future.set_result(self.handle(command))


def at_once(*lives: int) -> list[Step]:
    """New payments, all due now."""
    return [Step(at_seconds=0, life=life, command=a_payment()) for life in lives]


def start(sent: Traffic) -> "Future[TrafficReport]":
    """Run it in a thread that keeps no failed test from ending."""
    outcome: Future[TrafficReport] = Future()

    def run() -> None:
        try:
            outcome.set_result(sent.run())
        except BaseException as error:  # noqa: BLE001 - the test raises it
            outcome.set_exception(error)

    Thread(target=run, daemon=True).start()
    return outcome


def test_a_writer_that_breaks_ends_the_run_and_is_told() -> None:
    steps = (Step(at_seconds=0, life=0, command=a_payment()) for _ in range(10_000))
    with pytest.raises(AssertionError, match="a lane died"):
        Traffic(_Broken(), steps).run()


def test_payouts_are_events_and_no_payments() -> None:
    commands: list[AnyCommand] = [a_payment(), a_payout(), a_payment(), a_payout(), a_payout()]
    steps = [Step(at_seconds=0, life=0, command=command) for command in commands]
    report = Traffic(_Writer(), steps).run()
    assert (report.commands, report.payments, report.events) == (5, 2, 7)


def test_a_stopped_run_tells_that_a_command_could_never_be_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "STOPPED_SECONDS_MAX", 0.0)
    down = _Down()
    finish = run_in_background(Traffic(down, [Step(at_seconds=0, life=0, command=a_payment())]))
    assert down.was_asked.wait(60)
    with pytest.raises(ServiceUnavailable, match="PostgreSQL does not answer"):
        finish()


def test_lives_go_on_side_by_side_and_each_waits_for_its_answers() -> None:
    writer, steps = _Held(), at_once(0, 0, 1, 0, 2)
    first, second, other, third, last = (step.command for step in steps)
    outcome = start(Traffic(writer, steps))
    wait_until(lambda: writer.sent == [first, other, last], "one of each life is sent")
    writer.answer(other)
    writer.answer(first)
    assert writer.sent[3:] == [second]
    writer.answer(second)
    assert writer.sent[4:] == [third]
    writer.answer(last)
    assert not outcome.done()
    writer.answer(third)
    report = outcome.result(WAIT_SECONDS)
    assert (report.commands, len(report.append_seconds)) == (5, 5)


def test_no_more_than_so_many_are_unanswered() -> None:
    writer, steps = _Held(), at_once(0, 0, 1, 2)
    first, second, other, last = (step.command for step in steps)
    outcome = start(Traffic(writer, steps, unanswered_max=2))
    wait_until(lambda: writer.sent == [first], "the first is sent, and its successor waits")
    time.sleep(0.05)
    assert writer.sent == [first]
    writer.answer(first)
    wait_until(lambda: writer.sent == [first, second, other], "there is room for one")
    writer.answer(second)
    wait_until(lambda: writer.sent[3:] == [last], "there is room for one")
    writer.answer(other)
    writer.answer(last)
    assert outcome.result(WAIT_SECONDS).commands == 4


def test_what_cannot_be_recorded_is_sent_again_before_what_follows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "RESEND_SECONDS", 0.01)
    writer, steps = _Held(), at_once(0, 0)
    first, second = (step.command for step in steps)
    outcome = start(Traffic(writer, steps))
    for times in (1, 2):
        wait_until(lambda times=times: writer.sent == [first] * times, "it is sent")  # type: ignore[misc]
        writer.answer(first, AWAY)
    wait_until(lambda: writer.sent == [first] * 3, "it is sent again")
    writer.answer(first)
    writer.answer(second)
    report = outcome.result(WAIT_SECONDS)
    assert (report.resent, report.commands) == (2, 2)


def test_what_the_writer_does_not_take_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "RESEND_SECONDS", 0.01)
    report = Traffic(_Full(), at_once(0, 1)).run()
    assert (report.resent, report.commands) == (3, 2)


def test_a_failure_waits_for_what_is_at_the_writer_and_sends_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(traffic, "RESEND_SECONDS", 600.0)
    writer, steps = _Held(), at_once(0, 0, 1, 1, 2, 3)
    first, _behind, other, _behind, away, late = (step.command for step in steps)
    outcome = start(Traffic(writer, steps))
    wait_until(lambda: len(writer.sent) == 4, "one of each life is sent")
    writer.answer(away, AWAY)
    writer.answer(first, ConfigurationError("the schema is missing"))
    writer.answer(late, AWAY)
    assert not outcome.done()
    writer.answer(other)
    with pytest.raises(ConfigurationError, match="the schema is missing"):
        outcome.result(WAIT_SECONDS)
    assert len(writer.sent) == 4


def test_whoever_hears_of_commits_may_end_the_run() -> None:
    def full(_events: object) -> None:
        raise AssertionError("no more of it")

    with pytest.raises(AssertionError, match="no more of it"):
        Traffic(_Writer(), at_once(0, 0, 1), on_appended=full).run()


def test_the_report_has_the_groups_of_its_own_run() -> None:
    with closing(Writer(MemoryStore())) as writer:
        writer.handle(a_payment())
        report = Traffic(writer, at_once(*range(300))).run()
    sizes = writer.group_sizes()
    assert sum(size * number for size, number in sizes.items()) == 301
    assert report.groups == GroupSizes.of(sizes - Counter({1: 1}))
    assert report.groups.mean > 2, "they were not appended together"
