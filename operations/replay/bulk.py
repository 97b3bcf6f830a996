"""The bulk path: parallel reader processes, supervised and restarted when one dies.

The coordinator itself reads and writes no data; it counts what the readers report as stored.
"""

import multiprocessing
import signal
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from operations.replay.reader_process import Failed, ReaderPlan, Stored, TopicShare, read_share
from operations.replay.snapshot import KeyShare
from operations.replay.topic import Offsets
from schemas.errors import PurserError, ServiceUnavailable

STOP_SECONDS = 10.0
POLL_SECONDS = 0.5


class ReplayStopped(PurserError):  # noqa: N818 - named for what happened
    """A reader cannot continue; the message gives the reason."""


@dataclass(slots=True)
class Progress:
    """How many records this run has stored so far, of how many."""

    total: int
    records: int = 0
    dead: int = 0


@dataclass(slots=True)
class _Reader:
    """A process, our end of its pipe, and the plan with which to restart it."""

    plan: ReaderPlan
    process: BaseProcess
    link: Connection
    restarts: int = 0
    done: bool = False


def shares_of_topic(positions: Offsets, ends: Offsets, readers: int) -> list[TopicShare]:
    """Spread the partitions with unread records over readers, balanced by the number of records."""
    left = {partition: end - positions.get(partition, 0) for partition, end in ends.items()}
    spread = _spread({partition: count for partition, count in left.items() if count > 0}, readers)
    return [
        TopicShare(
            positions={partition: positions.get(partition, 0) for partition in partitions},
            ends={partition: ends[partition] for partition in partitions},
        )
        for partitions in spread
    ]


def shares_of_keys(snapshot: str, ranges: Collection[int], readers: int) -> list[KeyShare]:
    """Spread ranges of payment ids evenly over readers."""
    spread = _spread(dict.fromkeys(ranges, 1), readers)
    return [KeyShare(snapshot=snapshot, ranges=tuple(numbers)) for numbers in spread]


def _spread(weights: Mapping[int, int], readers: int) -> list[list[int]]:
    """Distribute the keys over at most `readers` non-empty groups of about equal weight."""
    groups: list[list[int]] = [[] for _ in range(max(1, min(readers, len(weights))))]
    sums = [0] * len(groups)
    for key in sorted(weights, key=lambda key: (-weights[key], key)):
        lightest = sums.index(min(sums))
        groups[lightest].append(key)
        sums[lightest] += weights[key]
    return [sorted(group) for group in groups if group]


def read_in_parallel(
    plans: Sequence[ReaderPlan],
    progress: Progress,
    *,
    positions: Callable[[], Offsets],
    on_stored: Callable[[Stored], None],
    restarts_max: int,
) -> None:
    """Run a process for each plan until all are done.

    `positions` returns where a dead reader's replacement starts. No process is left running,
    whatever is raised.

    Raises:
        ServiceUnavailable: a server is unavailable for too long, or readers keep dying.
        ReplayStopped: a reader cannot continue, and a retry would not help.
    """
    readers: list[_Reader] = []
    try:
        readers.extend(_start(plan) for plan in plans)
        while active := [reader for reader in readers if not reader.done]:
            for link in wait([reader.link for reader in active], POLL_SECONDS):
                reader = next(one for one in active if one.link is link)
                _hear(reader, progress, positions, on_stored, restarts_max)
    finally:
        for reader in readers:
            _end(reader)


def _start(plan: ReaderPlan) -> _Reader:
    # Spawn, not fork: our threads and librdkafka's do not survive a fork.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=read_share, args=(plan, theirs), name="replay-reader")
    resource_tracker.ensure_running()  # starting it would unblock the signal
    # The reader ignores Ctrl-C, but not while its modules are loaded: it inherits what is blocked.
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    theirs.close()  # so that the pipe ends when the reader does
    return _Reader(plan=plan, process=process, link=ours)


def _hear(
    reader: _Reader,
    progress: Progress,
    positions: Callable[[], Offsets],
    on_stored: Callable[[Stored], None],
    restarts_max: int,
) -> None:
    try:
        message = reader.link.recv()
    except (EOFError, ConnectionResetError):
        _ended(reader, positions, restarts_max)
        return
    if isinstance(message, Failed):
        kind = ServiceUnavailable if message.passing else ReplayStopped
        raise kind(message.message)
    progress.records += message.records
    progress.dead += message.dead
    on_stored(message)


def _ended(reader: _Reader, positions: Callable[[], Offsets], restarts_max: int) -> None:
    """Handle a reader's exit: it is done, or another resumes from its stored position."""
    reader.process.join(STOP_SECONDS)
    if reader.process.exitcode == 0:
        reader.done = True
        return
    if reader.restarts >= restarts_max:
        raise ServiceUnavailable(
            f"a reader process ended with status {reader.process.exitcode} after"
            f" {reader.restarts} restarts; check the system log (out of memory?), then run the same"
            " command again to resume"
        )
    reader.link.close()
    share = reader.plan.share
    if isinstance(share, TopicShare):
        stored = positions()
        share = replace(
            share,
            positions={
                partition: max(start, stored.get(partition, start))
                for partition, start in share.positions.items()
            },
        )
    fresh = _start(replace(reader.plan, share=share))
    reader.process, reader.link = fresh.process, fresh.link
    reader.restarts += 1


def _end(reader: _Reader) -> None:
    reader.link.close()
    if reader.process.is_alive():
        reader.process.terminate()
        reader.process.join(STOP_SECONDS)
        if reader.process.is_alive():
            reader.process.kill()
            reader.process.join()
