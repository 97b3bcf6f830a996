"""Sends a marketplace's commands to the writer at their times, and counts the answers.

Lanes are threads. The commands of one payment stay in one lane, so they keep their order. A command
that cannot be recorded now is sent again under the same key until it can. No command may be given
up silently, whatever is killed: a run that was stopped raises if a command can still not be
recorded after `STOPPED_SECONDS_MAX`.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from queue import Queue
from threading import Event as Flag
from threading import Lock, Thread
from typing import Protocol

from marketplace.market import Step
from schemas.errors import Rejection, ServiceUnavailable
from schemas.events import Event
from schemas.lifecycle import Direction
from writer.append import Answer, Appended
from writer.commands import AnyCommand

LANES = 6
LANE_QUEUE_MAX = 200
RESEND_SECONDS = 0.2
STOPPED_SECONDS_MAX = 120.0
"""As long as a killed server is given to answer again."""


class Recorder(Protocol):
    """Records commands: `writer.append.Writer`, or a substitute in tests."""

    def handle(self, command: AnyCommand) -> Answer:
        """Record one command."""


@dataclass(kw_only=True)
class TrafficReport:
    """Counts of commands and answers; `append_seconds` has one figure per answer.

    `payments` counts buyers' payments only; payouts are included in the events.
    """

    payments: int = 0
    events: int = 0
    commands: int = 0
    resent: int = 0
    seconds: float = 0.0
    rejections: Counter[str] = field(default_factory=Counter)
    append_seconds: list[float] = field(default_factory=list)


class Traffic:
    """Live traffic from `run` until `stop`; an object can run once."""

    def __init__(
        self,
        writer: Recorder,
        steps: Iterable[Step],
        *,
        lanes: int = LANES,
        on_appended: Callable[[tuple[Event, ...]], None] | None = None,
    ) -> None:
        """`on_appended` is called in a lane's thread immediately after each commit."""
        self.report = TrafficReport()
        self._writer = writer
        self._steps = steps
        self._on_appended = on_appended
        self._queues: list[Queue[Step | None]] = [Queue(LANE_QUEUE_MAX) for _ in range(lanes)]
        self._stop = Flag()
        self._give_up_at = math.inf
        self._lock = Lock()
        self._failure: BaseException | None = None
        self._lanes = [Thread(target=self._lane, args=(queue,)) for queue in self._queues]

    def stop(self) -> None:
        """Send nothing new, but finish commands in progress."""
        self._give_up_at = time.monotonic() + STOPPED_SECONDS_MAX
        self._stop.set()

    def run(self) -> TrafficReport:
        """Send every step at its time, or as soon as a lane has room.

        Raises what a lane raised, such as a PurserError if the writer cannot work until somebody
        repairs something, or if it is still down long after `stop`.
        """
        started = time.monotonic()
        for lane in self._lanes:
            lane.start()
        try:
            for step in self._steps:
                wait = step.at_seconds - (time.monotonic() - started)
                if wait > 0:
                    self._stop.wait(wait)
                if self._stop.is_set():
                    break
                self._queues[step.life % len(self._queues)].put(step)
        finally:
            for queue in self._queues:
                queue.put(None)
            for lane in self._lanes:
                lane.join()
            self.report.seconds = time.monotonic() - started
        if self._failure:
            raise self._failure
        return self.report

    def _lane(self, queue: Queue[Step | None]) -> None:
        try:
            while step := queue.get():
                self._send(step)
        except BaseException as error:  # noqa: BLE001 - `run` raises it
            self._failure = error
            self._stop.set()
            while queue.get() is not None:  # the sender must not hang on a full queue
                pass

    def _send(self, step: Step) -> None:
        while True:
            began = time.perf_counter()
            try:
                answer = self._writer.handle(step.command)
                break
            except ServiceUnavailable:
                if time.monotonic() > self._give_up_at:
                    raise
                with self._lock:
                    self.report.resent += 1
                time.sleep(RESEND_SECONDS)
        took = time.perf_counter() - began
        if isinstance(answer, Appended) and self._on_appended:
            self._on_appended(answer.events)
        with self._lock:
            self._count(answer, took)

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
