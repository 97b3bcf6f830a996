"""Real worker processes on a real Kafka: nothing is lost, whoever dies whenever."""

import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field

import pytest

from stack.native import Stack
from tests.integration.transport.support import Topic, Worker, Workers
from tests.waiting import throughout, wait_until

pytestmark = pytest.mark.integration

CHAOS_SECONDS = 30.0
EVERY_STRIKE = {"kill", "stop", "join"}
STOP_SECONDS = 10.0


@dataclass
class Traffic:
    """Transactions of all sizes, one in four aborted, until it is told to stop."""

    topic: Topic
    chance: random.Random
    stopped: threading.Event = field(default_factory=threading.Event)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._write)
        self._thread.start()

    def _write(self) -> None:
        try:
            while not self.stopped.is_set():
                self.topic.append(self.chance.randint(1, 200), abort=self.chance.random() < 0.25)
                time.sleep(self.chance.uniform(0.0, 0.05))
        except Exception as error:  # noqa: BLE001 - raised again by `stop`, in the test's thread
            self.failure = error

    def stop(self) -> None:
        self.stopped.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure


@dataclass
class Watch:
    """Looks at the group's committed offsets all the time: none may go back, nor pass a record."""

    topic: Topic
    workers: Workers
    before: dict[int, int] = field(default_factory=dict)
    looks: int = 0

    def look(self) -> None:
        now = self.workers.committed(self.topic)
        for partition, offset in self.before.items():
            assert now[partition] >= offset, f"partition {partition} went back"
        self.before = now
        self.looks += 1
        done = self.workers.handed_out()
        for partition, offset in now.items():
            written = self.topic.committed.get(partition, set()).copy()
            lost = {each for each in written if each < offset} - done.get(partition, set())
            assert not lost, f"partition {partition}: committed {offset}, never done {lost}"

    def look_for(self, seconds: float) -> None:
        for _ in throughout(seconds, poll_seconds=0.2):
            self.look()


def strike(chance: random.Random, workers: Workers, topic: Topic, alive: list[Worker]) -> str:
    """One thing that happens to a worker of the group."""
    if len(alive) < 2:
        alive.append(workers.start(topic, chance.choice(["steady", "shuffled"])))
        return "join"
    victim = alive.pop(chance.randrange(len(alive)))
    if chance.random() < 0.5:
        victim.process.kill()
        victim.process.wait()
        return "kill"
    # Until it listens to signals, one ends it hard: it had nothing yet.
    listens = bool(victim.health())
    status, seconds = victim.terminate(seconds=STOP_SECONDS)
    assert status == 0 or (status == -signal.SIGTERM and not listens), victim.log()
    assert seconds < STOP_SECONDS
    return "stop"


@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost_while_workers_come_and_go(
    topic: Topic, workers: Workers, seed: int
) -> None:
    chance = random.Random(seed)
    watch = Watch(topic, workers)
    alive = [workers.start(topic, "shuffled"), workers.start(topic, "steady")]
    traffic = Traffic(topic, chance=random.Random(seed + 1))
    happened: list[str] = []
    try:
        wait_until(workers.handed_out, "the first batch")
        end = time.monotonic() + CHAOS_SECONDS
        while time.monotonic() < end or not set(happened) >= EVERY_STRIKE:
            watch.look_for(chance.uniform(0.5, 4.0))
            happened.append(strike(chance, workers, topic, alive))
    finally:
        traffic.stop()
    alive.append(workers.start(topic, "steady"))

    def finished() -> bool:
        watch.look()
        return workers.have_committed(topic)

    wait_until(finished, "all is committed", seconds=90, poll_seconds=0.3)
    done = workers.handed_out()
    assert done.keys() == topic.committed.keys()
    for partition, offsets in topic.committed.items():
        assert done[partition] == offsets, "exactly what was committed, nothing that was aborted"
    assert sum(map(len, topic.aborted.values())) > 0
    assert watch.looks > 20


def test_lag_is_zero_at_the_end_although_markers_follow_the_last_record(
    topic: Topic, workers: Workers
) -> None:
    for number in range(20):
        topic.append(100, abort=number % 3 == 0)
    worker = workers.start(topic, "steady")
    wait_until(lambda: worker.health().get("records_total") == topic.count(), "all is read")
    wait_until(lambda: workers.have_committed(topic), "all is committed", seconds=10)
    wait_until(lambda: set(worker.health()["lag"].values()) == {0}, "no lag", seconds=10)
    health = worker.health()
    assert health["records_in_flight"] == health["bytes_in_flight"] == 0
    assert health["seconds_since_answer"] < 2
    assert health["seconds_since_commit"] is not None


def test_stop_in_time_with_acknowledgements_outstanding_then_all_comes_again(
    topic: Topic, workers: Workers
) -> None:
    for _ in range(10):
        topic.append(300)
    holding = workers.start(topic, "holding")
    wait_until(lambda: holding.health().get("records_in_flight") == topic.count(), "all is read")
    status, seconds = holding.terminate(seconds=STOP_SECONDS)
    assert status == 0, holding.log()
    assert seconds < STOP_SECONDS
    assert workers.committed(topic) == {}
    workers.start(topic, "steady")
    wait_until(lambda: workers.have_committed(topic), "all is committed")
    assert workers.handed_out() == topic.committed


def test_acknowledged_batches_are_committed_by_a_stop(topic: Topic, workers: Workers) -> None:
    topic.append(200)
    worker = workers.start(topic, "steady", commit_interval_seconds=600)
    wait_until(lambda: workers.handed_out() == topic.committed, "all is handed out")
    assert workers.committed(topic) == {}
    assert worker.terminate(seconds=STOP_SECONDS)[0] == 0
    assert workers.have_committed(topic)


def test_worker_that_cannot_be_stopped_ends_at_its_deadline(topic: Topic, workers: Workers) -> None:
    topic.append(200)
    deaf = workers.start(topic, "deaf", stop_timeout_seconds=3)
    wait_until(lambda: deaf.health().get("records_in_flight", 0) > 0, "records in flight")
    status, seconds = deaf.terminate(seconds=STOP_SECONDS)
    assert status != 0
    assert seconds < 5
    assert "Timeout" in deaf.log()
    assert workers.committed(topic) == {}


def test_exception_out_of_an_agent_ends_the_worker_and_commits_nothing(
    topic: Topic, workers: Workers
) -> None:
    for _ in range(5):
        topic.append(200)
    failing = workers.start(topic, "failing", batch_records_max=50)
    assert failing.process.wait(timeout=60) != 0
    assert "the third batch" in failing.log()
    assert workers.committed(topic) == {}


def test_memory_is_bounded_while_nothing_is_acknowledged(topic: Topic, workers: Workers) -> None:
    for _ in range(10):
        topic.append(2_000)
    bytes_max = 4 * 1024 * 1024
    holding = workers.start(topic, "holding", in_flight_bytes_max=bytes_max)
    wait_until(lambda: holding.health().get("bytes_in_flight", 0) >= bytes_max, "it is full")
    time.sleep(3)
    health = holding.health()
    assert health["records_in_flight"] < topic.count() / 2
    assert health["bytes_in_flight"] < bytes_max + 500 * 2_000  # and one fetch
    assert sum(health["lag"].values()) >= topic.count()


def test_batches_in_flight_are_bounded_per_partition(topic: Topic, workers: Workers) -> None:
    for _ in range(5):
        topic.append(2_000)
    holding = workers.start(topic, "holding", in_flight_batches_max=2, batch_records_max=100)
    wait_until(lambda: holding.health().get("batches_in_flight", 0) >= 8, "it is full")
    time.sleep(2)
    health = holding.health()
    assert health["batches_in_flight"] == 8
    assert health["seconds_unacknowledged"] > 1


def test_log_is_a_line_per_event(topic: Topic, workers: Workers) -> None:
    topic.append(100)
    worker = workers.start(topic, "steady")
    wait_until(lambda: workers.have_committed(topic), "all is committed")
    assert worker.terminate(seconds=STOP_SECONDS)[0] == 0
    lines = worker.log().splitlines()
    assert len(lines) < 12, worker.log()
    assert any(f"Assigned in generation 1: {topic.name}[0 1 2 3]" in line for line in lines)
    assert all(line[:4].isdigit() for line in lines), worker.log()


def test_worker_outlives_a_kafka_that_is_killed(
    stack: Stack, topic: Topic, workers: Workers
) -> None:
    for _ in range(10):
        topic.append(300)
    worker = workers.start(topic, "shuffled")
    wait_until(workers.handed_out, "the first batch")
    stack.kill("kafka")
    stack.wait_ready("kafka")
    for _ in range(10):
        topic.append(300, abort=True)
        topic.append(300)
    wait_until(lambda: workers.have_committed(topic), "all is committed", seconds=90)
    assert workers.handed_out() == topic.committed
    assert worker.process.poll() is None, worker.log()


def test_stop_in_time_with_a_kafka_that_does_not_answer(
    stack: Stack, topic: Topic, workers: Workers
) -> None:
    topic.append(300)
    holding = workers.start(topic, "holding")
    wait_until(lambda: holding.health().get("records_in_flight") == 300, "all is read")
    kafka = stack.pid("kafka")
    assert kafka is not None
    os.kill(kafka, signal.SIGSTOP)
    try:
        wait_until(
            lambda: holding.health().get("seconds_since_answer", 0) > 1, "no answer", seconds=10
        )
        _, seconds = holding.terminate(seconds=STOP_SECONDS)
    finally:
        os.kill(kafka, signal.SIGCONT)
        stack.wait_ready("kafka")
    assert seconds < STOP_SECONDS
