"""What the benchmarks need from the servers: CPU time, end offsets, a pausable connector."""

import time
from collections.abc import Callable, Mapping

import httpx
import psutil
from confluent_kafka import Consumer, TopicPartition

from schemas.errors import ServiceUnavailable
from schemas.topics import CONNECTOR, PAYMENTS_TOPIC
from stack.local_http import local_get
from stack.native import Stack
from stack.topology import PROGRAMS

POLL_SECONDS = 0.2
SETTLE_SECONDS = 4.0
"""A worker counts its lag every two seconds."""
ANSWER_SECONDS = 30.0


def cpu_seconds(stack: Stack) -> dict[str, float]:
    """CPU seconds, user and system, of each process of the stack with its children."""
    spent: dict[str, float] = {}
    for program in PROGRAMS:
        pid = stack.pid(program.name)
        if pid is None:
            continue
        parent = psutil.Process(pid)
        spent[program.name] = 0.0
        for process in (parent, *parent.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent[program.name] += times.user + times.system
            # PostgreSQL's backends end with their clients; the parent's counters then have them.
            spent[program.name] += times.children_user + times.children_system
    return spent


def spent_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds of each process that was alive at both readings."""
    return {name: after[name] - before[name] for name in before if name in after}


class TopicEnd:
    """The end of the payments topic, in records and transaction markers."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "purser-bench", "log_level": 0}
        )
        metadata = self._consumer.list_topics(PAYMENTS_TOPIC, timeout=ANSWER_SECONDS)
        self._partitions = [
            TopicPartition(PAYMENTS_TOPIC, partition)
            for partition in metadata.topics[PAYMENTS_TOPIC].partitions
        ]

    def offsets(self) -> int:
        """Sum of the partitions' end offsets."""
        return sum(
            self._consumer.get_watermark_offsets(partition, timeout=ANSWER_SECONDS)[1]
            for partition in self._partitions
        )

    def close(self) -> None:
        """Close the connection to the broker."""
        self._consumer.close()


def set_connector(connect_url: str, state: str) -> None:
    """`pause` or `resume` Debezium and wait until its task has done so."""
    wanted = {"pause": "PAUSED", "resume": "RUNNING"}[state]
    base = f"{connect_url}/connectors/{CONNECTOR}"
    httpx.put(f"{base}/{state}", timeout=ANSWER_SECONDS).raise_for_status()

    def reached() -> bool:
        status = local_get(f"{base}/status", ANSWER_SECONDS).json()
        return [task["state"] for task in status["tasks"]] == [wanted]

    wait_until(reached, f"the connector did not {state}")


def wait_until(condition: Callable[[], bool], complaint: str, *, seconds: float = 600.0) -> float:
    """Poll until a condition holds; return the monotonic time at which it was first seen to hold.

    Raises:
        ServiceUnavailable: it did not hold within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return time.monotonic()
        time.sleep(POLL_SECONDS)
    raise ServiceUnavailable(f"{complaint} within {seconds:g} s")


def wait_quiet(stack: Stack, worker: str) -> None:
    """Wait until a worker has done everything that is in its topic."""
    time.sleep(SETTLE_SECONDS)
    wait_until(
        lambda: stack.worker_reports()[worker].get("lag_records") == 0,
        "the worker did not catch up",
    )
    time.sleep(SETTLE_SECONDS)
