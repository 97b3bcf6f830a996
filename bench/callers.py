"""A process whose callers append payments at the same time: in groups, or one by one.

`python -m bench.callers --mode groups --callers 50 --payments 2000` prints a line when it begins to
measure, and then one JSON object. Each caller sends the commands of one payment after the other and
waits for every answer. With `--rate`, payments begin at their times instead.

`one-by-one` is the append path without groups: a load and an insert for each command, by threads
that share a store. `groups` is `open_writer` with threads, `coroutines` is `open_async_writer`.
With `--rate` nobody waits for an answer but the next command of the same payment; one by one, as
many commands as there are callers are worked off at the same time.
"""

import argparse
import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from threading import Lock

from bench.load import MEASURING
from marketplace.freshness import quantile
from marketplace.market import Marketplace, MarketplaceSettings, Step
from marketplace.traffic import Traffic
from schemas.runtime import entry_point
from writer.append import Writer, open_async_writer, open_writer
from writer.commands import AnyCommand
from writer.group import Answer, Appended, append_group
from writer.postgres import open_store
from writer.retry import retrying
from writer.store import EventStore

ONE_BY_ONE, GROUPS, COROUTINES = "one-by-one", "groups", "coroutines"
MODES = (ONE_BY_ONE, GROUPS, COROUTINES)
WARM_UP_PAYMENTS = 40
WARM_UP_SEED = 1_000_000
MEAN_STEP_SECONDS = 1.0
PAYMENTS_PER_SECOND = 200.0

Life = Sequence[AnyCommand]


class OneByOne:
    """The append path without groups, in place of `Writer`; `callers` work at the same time."""

    def __init__(self, store: EventStore, callers: int) -> None:
        self._store = store
        self._retrying = retrying(store)
        self._threads = ThreadPoolExecutor(callers)

    def handle(self, command: AnyCommand) -> Answer:
        """Load, decide and append one command."""
        return self._retrying.copy()(self._append, command)

    def submit(self, command: AnyCommand) -> "Future[Answer]":
        """Hand a command to one of the threads."""
        return self._threads.submit(self.handle, command)

    def group_sizes(self) -> Counter[int]:
        """There are none."""
        return Counter()

    def close(self) -> None:
        """Wait until every command is answered."""
        self._threads.shutdown()

    def _append(self, command: AnyCommand) -> Answer:
        (answer,) = append_group(self._store, [command])
        assert answer is not None, command
        return answer


@dataclass(slots=True)
class Counted:
    """What the callers saw."""

    events: int = 0
    seconds: list[float] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def add(self, answer: Answer, seconds: float) -> None:
        """Count one answer; a rejection by the rules of a marketplace is one too."""
        with self.lock:
            self.seconds.append(seconds)
            self.events += len(answer.events) if isinstance(answer, Appended) else 0


def steps_of(count: int, seed: int, rate: float) -> list[Step]:
    """The steps of about this many payments and their payouts."""
    settings = MarketplaceSettings(payments_per_second=rate, mean_step_seconds=MEAN_STEP_SECONDS)
    return list(Marketplace(seed, datetime.now(UTC), settings).steps(count / rate))


def lives_of(count: int, seed: int) -> list[Life]:
    """The commands of about this many payments, each in its order."""
    lives: dict[int, list[AnyCommand]] = {}
    for step in steps_of(count, seed, PAYMENTS_PER_SECOND):
        lives.setdefault(step.life, []).append(step.command)
    return list(lives.values())


@contextmanager
def opened(mode: str, dsn: str, callers: int) -> Iterator[Writer | OneByOne]:
    """The writer of a mode with threads."""
    if mode == GROUPS:
        with open_writer(dsn) as writer:
            yield writer
        return
    with open_store(dsn) as store, closing(OneByOne(store, callers)) as one_by_one:
        yield one_by_one


def send_by_threads(writer: Writer | OneByOne, lives: Sequence[Life], callers: int) -> Counted:
    """Every caller is a thread."""
    counted = Counted()
    waiting, lock = iter(lives), Lock()

    def call() -> None:
        while True:
            with lock:
                life = next(waiting, None)
            if life is None:
                return
            for command in life:
                began = time.perf_counter()
                answer = writer.handle(command)
                counted.add(answer, time.perf_counter() - began)

    with ThreadPoolExecutor(callers) as threads:
        for called in [threads.submit(call) for _ in range(callers)]:
            called.result()
    return counted


async def send_by_coroutines(dsn: str, batches: Sequence[Sequence[Life]], callers: int) -> Counted:
    """Every caller is a coroutine; only the last batch is measured."""
    async with open_async_writer(dsn) as writer:
        for lives in batches:
            counted = Counted()
            waiting = iter(lives)

            async def call(waiting: Iterator[Life] = waiting, counted: Counted = counted) -> None:
                for life in waiting:
                    for command in life:
                        began = time.perf_counter()
                        answer = await writer.handle(command)
                        counted.add(answer, time.perf_counter() - began)

            begin()
            await asyncio.gather(*(call() for _ in range(callers)))
        return counted


def send_at_rate(writer: Writer | OneByOne, steps: Sequence[Step]) -> Counted:
    """Send each step at its time."""
    counted = Counted()
    report = Traffic(writer, steps).run()
    counted.events, counted.seconds = report.events, report.append_seconds
    return counted


class Clock:
    """When the measured part began."""

    wall = cpu = 0.0


def begin() -> None:
    """Note the time, and tell the reader."""
    Clock.wall, Clock.cpu = time.perf_counter(), time.process_time()
    sys.stdout.write(MEASURING + "\n")
    sys.stdout.flush()


@entry_point
def main() -> None:
    """Send the payments and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--callers", type=int, default=50)
    parser.add_argument("--payments", type=int, default=1_000)
    parser.add_argument("--rate", type=float, help="payments per second; as fast as possible")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    dsn = os.environ["PURSER_POSTGRES_DSN"]
    warm_up = lives_of(WARM_UP_PAYMENTS, options.seed + WARM_UP_SEED)
    if options.mode == COROUTINES:
        lives = lives_of(options.payments, options.seed)
        counted = asyncio.run(send_by_coroutines(dsn, [warm_up, lives], options.callers))
    else:
        with opened(options.mode, dsn, options.callers) as writer:
            send_by_threads(writer, warm_up, options.callers)
            if options.rate:
                steps = steps_of(options.payments, options.seed, options.rate)
                begin()
                counted = send_at_rate(writer, steps)
            else:
                lives = lives_of(options.payments, options.seed)
                begin()
                counted = send_by_threads(writer, lives, options.callers)
    seconds, cpu_seconds = time.perf_counter() - Clock.wall, time.process_time() - Clock.cpu
    report = {
        "events": counted.events,
        "commands": len(counted.seconds),
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "append_p50": quantile(counted.seconds, 0.5),
        "append_p99": quantile(counted.seconds, 0.99),
    }
    sys.stdout.write(json.dumps(report) + "\n")


if __name__ == "__main__":
    main()
