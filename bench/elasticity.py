"""Measures how long partitions stall when workers join, leave, die and hang under a steady load.

The section copies records that Debezium wrote, at a steady rate, to a topic that only its own
workers read. The stall of a partition is the longest time in which its newest visible row did not
change although records arrived all the time. The figure of a case is that of the partition that
waited longest. At the end every record sent must be in the views exactly once.
"""

import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from threading import Thread
from uuid import uuid4

from clickhouse_connect.driver.client import Client
from confluent_kafka import Consumer

from bench.figures import Figure, at_most
from bench.hanging import BLOCKED_LOOP, NO_FETCH
from bench.sections import Bench, worker_stopped
from bench.servers import wait_until
from bench.workers import PARTITIONS, STALL_EXIT_SECONDS, Group, Sender, Watch
from schemas.errors import ServiceUnavailable
from schemas.topics import PAYMENTS_TOPIC
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from streams.worker.lag_monitor import PROBE_SECONDS

SECTION = f"elasticity, longest stall of {PARTITIONS} partitions"
STEADY_SECONDS = 4.0
EFFECT_SECONDS = 4.0
"""Time for a signal to take effect: a worker may finish the work in progress."""
PATIENCE_SECONDS = 120.0
GENTLE_GOAL_SECONDS = 6.0
HARD_GOAL_SECONDS = 15.0
MESSAGES_MAX = 40_000
ANSWER_SECONDS = 10.0

Message = tuple[bytes | None, bytes | None]


def elasticity(bench: Bench) -> list[Figure]:
    """The longest stall of each case, and a check that nothing was lost or doubled."""
    messages = _recorded(bench)
    with ExitStack() as stack:
        stack.enter_context(worker_stopped(bench))
        group = Group(bench.stack, bench.folder)
        group.create()
        stack.callback(group.end)
        client = stack.enter_context(connect(ClickHouseSettings.load(group.clickhouse_url)))
        watch = Watch(client)
        sender = Sender(group.bootstrap, group.name, messages)
        threads = [Thread(target=sender.run), Thread(target=watch.run)]
        for thread in threads:
            thread.start()
        try:
            figures = _cases(group, watch)
        finally:
            sender.stop()
            watch.stop()
            for thread in threads:
                thread.join()
        if sender.exhausted:
            raise ServiceUnavailable("the recorded messages ran out; give more --events")
        with connect(ClickHouseSettings.load(group.clickhouse_url)) as reader:
            return [*figures, _nothing_lost(reader, sender.sent)]


def _cases(group: Group, watch: Watch) -> list[Figure]:
    group.start("worker-1")
    wait_until(watch.all_move, "the first worker wrote nothing", seconds=PATIENCE_SECONDS)
    figures: list[Figure] = []

    def case(
        what: str, action: Callable[[], None], goal: float | None, joins: str | None = None
    ) -> None:
        figures.append(_case(watch, what, action, goal, lambda: _has_joined(group, joins)))

    def kill(name: str) -> None:
        group.send_signal(name, signal.SIGKILL)
        group.wait_ended(name)

    def kill_and_start(name: str) -> None:
        kill(name)
        group.start(name)

    def send(name: str, number: int) -> Callable[[], None]:
        return lambda: group.send_signal(name, number)

    gentle, hard = GENTLE_GOAL_SECONDS, HARD_GOAL_SECONDS
    case("one worker, nothing happens", lambda: None, None)
    case("a second worker joins", lambda: group.start("worker-2"), gentle, "worker-2")
    case("a third worker joins", lambda: group.start("worker-3"), gentle, "worker-3")
    case("a worker leaves (SIGTERM)", send("worker-3", signal.SIGTERM), gentle)
    case("kill -9, restarted", lambda: kill_and_start("worker-2"), hard, "worker-2")
    case("kill -9, not restarted", lambda: kill("worker-2"), hard)
    case("its successor joins", lambda: group.start("worker-2"), gentle, "worker-2")
    group.restart_when_it_ends("worker-1")
    case("hang (SIGSTOP)", send("worker-1", signal.SIGSTOP), hard)
    case("it wakes (SIGCONT)", send("worker-1", signal.SIGCONT), gentle, "worker-1")
    ends, start = STALL_EXIT_SECONDS, HARD_GOAL_SECONDS
    case(f"alive, fetches nothing: ends after {ends} s", send("worker-1", NO_FETCH), ends + start)
    ends += int(PROBE_SECONDS)
    case(f"event loop blocked: ends after {ends} s", send("worker-1", BLOCKED_LOOP), ends + start)
    return figures


def _has_joined(group: Group, name: str | None) -> bool:
    return name is None or group.has_partitions(name)


def _settle(watch: Watch) -> None:
    """Wait until every partition has moved for a while without a break."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    since = time.monotonic()
    while time.monotonic() - since < STEADY_SECONDS:
        if not watch.all_move():
            since = time.monotonic()
        if time.monotonic() > deadline:
            raise ServiceUnavailable(f"partitions did not move within {PATIENCE_SECONDS:g} s")
        time.sleep(0.05)


def _case(
    watch: Watch,
    what: str,
    action: Callable[[], None],
    goal: float | None,
    has_effect: Callable[[], bool],
) -> Figure:
    _settle(watch)
    watch.begin()
    action()
    time.sleep(EFFECT_SECONDS)
    wait_until(has_effect, f"{what}: no effect", seconds=PATIENCE_SECONDS)
    _settle(watch)
    text, met = ("", None) if goal is None else at_most(goal, max(watch.stalls()))
    stalls = watch.stalls()
    return Figure(
        section=SECTION,
        name=what,
        value=max(stalls),
        unit=f"s, median partition {median(stalls):.1f}",
        goal=text,
        met=met,
    )


def _recorded(bench: Bench) -> list[Message]:
    """The records that Debezium wrote to the payments topic, once each."""
    consumer = Consumer(
        {
            "bootstrap.servers": bench.stack.endpoints.kafka_bootstrap,
            "group.id": uuid4().hex,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([PAYMENTS_TOPIC])
    messages: list[Message] = []
    try:
        while len(messages) < MESSAGES_MAX:
            batch = consumer.consume(5_000, ANSWER_SECONDS)
            if not batch:
                return messages
            messages += [(each.key(), each.value()) for each in batch]
    finally:
        consumer.close()
    return messages


def _nothing_lost(client: Client, sent: int) -> Figure:
    """Records in the views minus records sent; anything but 0 is a fault."""

    def rows() -> int:
        query = "SELECT count() FROM payment_events"
        count: int = client.query(query).result_rows[0][0]
        return count

    wait_until(lambda: rows() >= sent, "records are missing in the views", seconds=PATIENCE_SECONDS)
    text, met = at_most(0, rows() - sent)
    return Figure(
        section=SECTION,
        name=f"events too many or missing, of {sent:,}",
        value=rows() - sent,
        unit="events",
        goal=text,
        met=met,
    )
