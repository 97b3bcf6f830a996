"""Static members, and workers that hang: who gets which partitions when, and nothing goes wrong."""

import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import pytest

from tests.integration.transport.support import PARTITIONS, Topic, Worker, Workers
from tests.integration.transport.test_transport_workers import Traffic, Watch
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

NEVER_SECONDS = 60
"""A session timeout that no wait of these tests outlasts."""
PATIENCE_SECONDS = 45


def assignments(worker: Worker) -> list[tuple[int, set[int]]]:
    """Generation and partitions of each assignment that a worker logged, in order."""
    found = re.findall(r"Assigned in generation (\d+): (?:\S+\[([\d ]*)\]|nothing)", worker.log())
    return [(int(generation), set(map(int, numbers.split()))) for generation, numbers in found]


def owned(worker: Worker) -> set[int]:
    """The partitions of a worker's last assignment."""
    return assignments(worker)[-1][1] if assignments(worker) else set()


def wait_shared(*workers: Worker) -> None:
    """Until each has a share, and all together have every partition once."""

    def shared() -> bool:
        shares = [owned(worker) for worker in workers]
        return all(shares) and sorted(chain(*shares)) == list(range(PARTITIONS))

    wait_until(shared, "all partitions are shared", seconds=PATIENCE_SECONDS)


def wait_for_all_partitions(worker: Worker) -> None:
    """Until a worker has all of them."""
    wait_until(
        lambda: owned(worker) == set(range(PARTITIONS)),
        "one worker has all partitions",
        seconds=PATIENCE_SECONDS,
        seen=lambda: owned(worker),
    )


@contextmanager
def watched(topic: Topic, workers: Workers, seed: int) -> Iterator[Watch]:
    """Traffic and a watch over the committed offsets; at its end all is done, and nothing else."""
    watch = Watch(topic, workers)
    traffic = Traffic(topic, chance=random.Random(seed))
    try:
        yield watch
    finally:
        traffic.stop()

    def finished() -> bool:
        watch.look()
        return workers.have_committed(topic)

    wait_until(finished, "all is committed", seconds=90, poll_seconds=0.3)
    assert workers.handed_out() == topic.committed


@pytest.mark.parametrize("number", [0, 1], ids=["first, who assigns", "second"])
def test_static_member_that_is_killed_is_back_without_a_rebalance(
    topic: Topic, workers: Workers, number: int
) -> None:
    settings = {"session_timeout_seconds": NEVER_SECONDS, "request_timeout_seconds": 90}
    names = ("one", "two")
    both = [
        workers.start(topic, mode, worker_instance=name, **settings)
        for name, mode in zip(names, ("steady", "shuffled"), strict=True)
    ]
    victim, other = both[number], both[1 - number]
    with watched(topic, workers, seed=31) as watch:
        wait_shared(victim, other)
        generation, share = assignments(victim)[-1]
        before = assignments(other)
        watch.look_for(1.0)
        victim.process.kill()
        victim.process.wait()
        again = workers.start(topic, "steady", worker_instance=names[number], **settings)
        wait_until(lambda: assignments(again), "an assignment", seconds=PATIENCE_SECONDS)
        assert assignments(again) == [(generation, share)]
        watch.look_for(1.0)
    assert assignments(other) == before, "the other worker was not disturbed"


def test_static_member_that_is_told_to_stop_leaves_at_once(topic: Topic, workers: Workers) -> None:
    settings = {"session_timeout_seconds": NEVER_SECONDS, "request_timeout_seconds": 90}
    first = workers.start(topic, "steady", worker_instance="one", **settings)
    second = workers.start(topic, "steady", worker_instance="two", **settings)
    with watched(topic, workers, seed=32):
        wait_shared(first, second)
        assert second.terminate(seconds=10)[0] == 0, second.log()
        wait_for_all_partitions(first)


@pytest.mark.parametrize("instances", [("one", "two"), (None, None)], ids=["static", "dynamic"])
def test_worker_that_hangs_loses_its_partitions_and_does_no_harm_when_it_wakes(
    topic: Topic, workers: Workers, instances: tuple[str | None, str | None]
) -> None:
    named = [{} if name is None else {"worker_instance": name} for name in instances]
    first = workers.start(topic, "steady", **named[0])
    hanging = workers.start(topic, "shuffled", **named[1])
    with watched(topic, workers, seed=33) as watch:
        wait_shared(first, hanging)
        watch.look_for(1.0)
        os.kill(hanging.process.pid, signal.SIGSTOP)
        try:
            wait_for_all_partitions(first)
            watch.look_for(2.0)  # its successor commits: what the sleeper holds is old now
            known = len(assignments(hanging))
        finally:
            os.kill(hanging.process.pid, signal.SIGCONT)
        wait_until(
            lambda: len(assignments(hanging)) > known,
            "it is back in the group",
            seconds=PATIENCE_SECONDS,
        )
        wait_shared(first, hanging)
        watch.look_for(1.0)
    assert hanging.process.poll() is None, hanging.log()
