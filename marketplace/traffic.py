"""Sends a marketplace's commands to the writer at their times, and counts the answers.

Many commands are under way at once, as at a service that answers many requests, so the writer
appends them in groups. The commands of one life are sent one after the other, each when the one
before is answered, so they keep their order. A command that cannot be recorded now is sent again
under the same key until it can. No command may be given up silently, whatever is killed: a run that
was stopped raises if a command can still not be recorded after `STOPPED_SECONDS_MAX`.
"""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from queue import Queue
from threading import Condition, Thread
from typing import Protocol

from marketplace.groups import GroupSizes
from marketplace.market import Step
from schemas.errors import Rejection, ServiceUnavailable
from schemas.events import Event
from schemas.lifecycle import Direction
from writer.append import Answer, Appended
from writer.commands import AnyCommand

UNANSWERED_MAX = 1_000
"""Commands that were due and have no answer yet. More are not sent; they come late."""
RESEND_SECONDS = 0.2
STOPPED_SECONDS_MAX = 120.0
"""As long as a killed server is given to answer again."""


class Recorder(Protocol):
    """Records commands: `writer.append.Writer`, or a substitute in tests."""

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        """Record one command; its answer will be in the future. Never blocks."""


class GroupingRecorder(Recorder, Protocol):
    """Records commands in groups, and counts them."""

    def group_sizes(self) -> Counter[int]:
        """Commands that were answered together -> how many such groups there were so far."""


@dataclass(kw_only=True)
class TrafficReport:
    """Counts of commands and answers; `append_seconds` has one figure per answer.

    `payments` counts buyers' payments only; payouts are included in the events. `groups` is known
    at the end.
    """

    payments: int = 0
    events: int = 0
    commands: int = 0
    resent: int = 0
    seconds: float = 0.0
    rejections: Counter[str] = field(default_factory=Counter)
    append_seconds: list[float] = field(default_factory=list)
    groups: GroupSizes = field(default_factory=lambda: GroupSizes.of({}))


class Traffic:
    """Live traffic from `run` until `stop`; an object can run once."""

    def __init__(
        self,
        writer: GroupingRecorder,
        steps: Iterable[Step],
        *,
        unanswered_max: int = UNANSWERED_MAX,
        on_appended: Callable[[tuple[Event, ...]], None] | None = None,
    ) -> None:
        """`on_appended` is called in a thread of the writer immediately after each commit."""
        self.report = TrafficReport()
        self._writer = writer
        self._steps = steps
        self._unanswered_max = unanswered_max
        self._on_appended = on_appended
        # Everything below is read and changed only under this lock.
        self._changed = Condition()
        self._unanswered = 0
        self._behind: dict[int, deque[Step]] = {}  # life -> those behind the one that was sent
        self._again: deque[tuple[float, Step]] = deque()  # with the times when they are sent
        self._is_stopped = False
        self._give_up_at = math.inf
        self._failure: BaseException | None = None

    def stop(self) -> None:
        """Send nothing new, but finish commands in progress."""
        with self._changed:
            self._give_up_at = time.monotonic() + STOPPED_SECONDS_MAX
            self._is_stopped = True
            self._changed.notify_all()

    def run(self) -> TrafficReport:
        """Send every step at its time, or as soon as there is room.

        Raises what the writer or `on_appended` raised, such as a PurserError if the writer cannot
        work until somebody repairs something, or if it is still down long after `stop`.
        """
        started, sizes = time.monotonic(), self._writer.group_sizes()
        try:
            for step in self._steps:
                self._wait(self._has_room, started + step.at_seconds)
                if self._is_stopped:
                    break
                self._enter(step)
        finally:
            self._wait(self._is_finished)
            self.report.seconds = time.monotonic() - started
            self.report.groups = GroupSizes.of(self._writer.group_sizes() - sizes)
        if self._failure:
            raise self._failure
        return self.report

    def _wait(self, is_over: Callable[[bool], bool], due: float = math.inf) -> None:
        """Send again what could not be recorded, until it is over.

        `is_over` is told whether the time `due` has come, and is called under the lock.
        """
        while True:
            with self._changed:
                now = time.monotonic()
                step = self._due_again(now)
                if step is None:
                    if is_over(now >= due):
                        return
                    wake_at = min(
                        due if due > now else math.inf,
                        self._again[0][0] if self._again else math.inf,
                    )
                    self._changed.wait(None if wake_at == math.inf else wake_at - now)
                    continue
            self._send(step)

    def _has_room(self, is_due: bool) -> bool:
        return self._is_stopped or (is_due and self._unanswered < self._unanswered_max)

    def _is_finished(self, _is_due: bool) -> bool:
        return not self._behind

    def _due_again(self, now: float) -> Step | None:
        return self._again.popleft()[1] if self._again and self._again[0][0] <= now else None

    def _enter(self, step: Step) -> None:
        """Send a step, or let it wait for the one before it in its life."""
        with self._changed:
            self._unanswered += 1
            if step.life in self._behind:
                self._behind[step.life].append(step)
                return
            self._behind[step.life] = deque()
        self._send(step)

    def _send(self, step: Step) -> None:
        began = time.perf_counter()
        try:
            future = self._writer.submit(step.command)
        except Exception as error:  # noqa: BLE001 - `_answered` tells them apart
            future = Future()
            future.set_exception(error)
        future.add_done_callback(partial(self._answered, step, began))

    def _answered(self, step: Step, began: float, future: "Future[Answer]") -> None:
        """Count an answer, and send the next step of that life; runs in a thread of the writer."""
        took = time.perf_counter() - began
        try:
            error = future.exception()
            if isinstance(error, ServiceUnavailable) and time.monotonic() <= self._give_up_at:
                self._send_later(step)
                return
            answer = future.result()
            if isinstance(answer, Appended) and self._on_appended:
                self._on_appended(answer.events)
            with self._changed:
                self._count(answer, took)
                following = self._leave(step)
        except BaseException as failure:  # noqa: BLE001 - `run` raises it
            self._fail(step, failure)
            return
        if following:
            self._send(following)

    def _send_later(self, step: Step) -> None:
        with self._changed:
            if self._failure:
                self._leave(step)
                return
            self.report.resent += 1
            self._again.append((time.monotonic() + RESEND_SECONDS, step))
            self._changed.notify_all()

    def _leave(self, step: Step) -> Step | None:
        """Note that a step is over; return the next one of its life. Runs under the lock."""
        self._unanswered -= 1
        behind = self._behind[step.life]
        following = behind.popleft() if behind and self._failure is None else None
        if following is None:
            del self._behind[step.life]
        # Whoever waits, waits for room or for the end.
        if not self._behind or self._unanswered == self._unanswered_max - 1:
            self._changed.notify_all()
        return following

    def _fail(self, step: Step, error: BaseException) -> None:
        """End the run when what is at the writer is answered."""
        with self._changed:
            self._failure = self._failure or error
            self._is_stopped = True
            self._leave(step)
            while self._again:
                self._leave(self._again.popleft()[1])

    def _count(self, answer: Appended | Rejection, took: float) -> None:
        report = self.report
        report.commands += 1
        report.append_seconds.append(took)
        if isinstance(answer, Rejection):
            report.rejections[answer.code] += 1
            return
        report.events += len(answer.events)
        first = answer.events[0]
        report.payments += first.seq == 1 and first.direction is Direction.IN  # not a payout


def run_in_background(traffic: Traffic) -> Callable[[], TrafficReport]:
    """Start traffic in a thread; the returned function stops it and returns the report."""
    outcome: Queue[TrafficReport | BaseException] = Queue()

    def run() -> None:
        try:
            outcome.put(traffic.run())
        except BaseException as error:  # noqa: BLE001 - `finish` raises it
            outcome.put(error)

    thread = Thread(target=run, name="traffic")
    thread.start()

    def finish() -> TrafficReport:
        traffic.stop()
        thread.join()
        result = outcome.get_nowait()
        if isinstance(result, BaseException):
            raise result
        return result

    return finish
