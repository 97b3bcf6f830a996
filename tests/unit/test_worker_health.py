"""Health: a worker that looks alive and does nothing is not well, and in the end is ended."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from schemas.errors import PurserError, ServiceUnavailable
from streams.source_topic import Brokers, ReaderGroup, SourceTopic
from streams.views.metrics import ViewsMetrics
from streams.worker.health import Health, StallLimits
from streams.worker.lag_monitor import (
    ConsumerState,
    LagMonitor,
    TopicLook,
    TopicProbe,
    WorkerStalled,
)

UNHEALTHY, EXIT = 30.0, 120.0


def starting(unhealthy_seconds: float = UNHEALTHY, exit_seconds: float = EXIT) -> Health:
    limits = StallLimits(
        unhealthy_seconds=unhealthy_seconds,
        exit_seconds=exit_seconds,
        unread_exit_seconds=2 * exit_seconds,
    )
    return Health(limits, topic="payments", topic_id="id-1")


def topic(topic_id: str = "id-1", partitions: int = 2) -> SourceTopic:
    return SourceTopic(topic_id=topic_id, partitions=frozenset(range(partitions)))


async def look_at_one_partition(_state: ConsumerState) -> TopicLook:
    return TopicLook(topic=topic(partitions=1))


def healthy() -> Health:
    health = starting()
    health.started()
    return health


def test_a_worker_that_is_starting_is_not_healthy() -> None:
    health = starting()
    assert health.judge(0.0).reasons == ("starting",)
    health.started()
    assert health.judge(0.0).healthy


def test_a_worker_with_nothing_to_do_stays_healthy() -> None:
    health = healthy()
    health.looked({0: 500}, {0: 500}, 0.0)
    health.looked({0: 500}, {0: 500}, 10_000.0)
    assert health.judge(10_000.0).healthy


def test_a_worker_far_behind_that_moves_is_healthy() -> None:
    health = healthy()
    for second in range(0, 600, 10):
        health.looked({0: 1_000_000}, {0: second}, float(second))
    assert health.judge(600.0).healthy
    assert health.report(600.0)["lag_records"] == 1_000_000 - 590


@pytest.mark.parametrize(
    ("still_seconds", "is_healthy", "is_stalled"),
    [(0, True, False), (29, True, False), (30, False, False), (119, False, False),
     (120, False, True)],
)  # fmt: skip
def test_a_partition_that_stands_still_with_records_waiting(
    still_seconds: int, is_healthy: bool, is_stalled: bool
) -> None:
    health = healthy()
    health.looked({0: 100, 1: 7}, {0: 40, 1: 7}, 0.0)
    health.looked({0: 200, 1: 7}, {0: 40, 1: 7}, float(still_seconds))
    judgement = health.judge(float(still_seconds))
    assert judgement.healthy is is_healthy
    assert (judgement.stalled is not None) is is_stalled
    if not is_healthy:
        [reason] = judgement.reasons
        assert "partition 0 has been stuck at offset 40" in reason
        assert "160 records waiting" in reason


def test_the_clock_begins_when_records_begin_to_wait() -> None:
    health = healthy()
    health.looked({0: 40}, {0: 40}, 0.0)
    health.looked({0: 41}, {0: 40}, 1_000.0)
    assert health.judge(1_000.0 + UNHEALTHY - 1).healthy
    assert not health.judge(1_000.0 + UNHEALTHY).healthy


def test_a_step_that_is_tried_again_is_unhealthy_but_no_reason_to_end() -> None:
    health = healthy()
    health.looked({0: 100}, {0: 40}, 0.0)
    health.retrying("write", ServiceUnavailable("ClickHouse is away"), 1.0)
    health.retrying("write", ServiceUnavailable("ClickHouse is away"), 100.0)
    judgement = health.judge(200.0)
    assert "write has been retried for 199.0 s: ClickHouse is away" in judgement.reasons
    assert judgement.stalled is None
    health.recovered("write", 200.0)
    assert health.judge(201.0).healthy, "the stall's clock begins anew"


def test_a_partition_that_was_taken_away_no_longer_counts() -> None:
    health = healthy()
    health.looked({0: 100}, {0: 40}, 0.0)
    health.looked({}, {}, 10.0)
    assert health.judge(1_000.0).healthy
    assert health.report(1_000.0)["partitions"] == {}


@pytest.mark.parametrize(
    ("still_seconds", "is_healthy", "is_stalled"),
    [(0, True, False), (29, True, False), (30, False, False), (239, False, False),
     (240, False, True)],
)  # fmt: skip
def test_a_partition_that_no_worker_reads(
    still_seconds: int, is_healthy: bool, is_stalled: bool
) -> None:
    health = healthy()
    health.topic_looked(topic(), {0, 1}, 0.0)
    health.topic_looked(topic(), {0}, 1_000.0)
    health.topic_looked(topic(), {0}, 1_000.0 + still_seconds)
    judgement = health.judge(1_000.0 + still_seconds)
    assert judgement.healthy is is_healthy
    assert (judgement.stalled is not None) is is_stalled
    if not is_healthy:
        assert judgement.reasons == (f"no worker has read partition 1 for {still_seconds:.1f} s",)
    health.topic_looked(topic(), {0, 1}, 2_000.0)
    assert health.judge(2_000.0).healthy


def test_a_worker_without_partitions_is_well_while_others_read_them() -> None:
    health = healthy()
    health.topic_looked(topic(), {0, 1}, 0.0)
    health.looked({}, {}, 10_000.0)
    assert health.judge(10_000.0).healthy


def test_nobody_can_read_while_kafka_is_away() -> None:
    health = healthy()
    health.topic_looked(topic(), {}, 0.0)
    health.probe_failed(ServiceUnavailable("Kafka is away"))
    health.topic_looked(topic(), {}, 2 * EXIT)
    assert health.judge(2 * EXIT).stalled is None, "the clock begins anew"


def test_a_topic_that_is_missing_is_unhealthy_but_a_restart_would_not_help() -> None:
    health = healthy()
    health.topic_looked(None, {}, 0.0)
    judgement = health.judge(10_000.0)
    assert judgement.reasons == ("topic payments does not exist; `purser repair topic` makes it",)
    assert judgement.stalled is None


def test_a_topic_that_was_made_anew_ends_the_worker_at_once() -> None:
    health = healthy()
    health.topic_looked(topic("id-2"), {0, 1}, 0.0)
    judgement = health.judge(0.0)
    assert judgement.stalled == (
        "topic payments was deleted and made anew; only a new worker reads it"
    )
    assert judgement.reasons == (judgement.stalled,)


def test_a_kafka_that_does_not_answer_is_unhealthy() -> None:
    health = healthy()
    health.probe_failed(ServiceUnavailable("Kafka is away"))
    assert health.judge(0.0).reasons == ("the lag is unknown: Kafka is away",)
    health.looked({}, {}, 1.0)
    assert health.judge(1.0).healthy


def test_a_failure_is_reported() -> None:
    health = healthy()
    health.failed(PurserError("a row was refused"))
    assert health.report(0.0)["reasons"] == ["a row was refused"]
    assert health.report(0.0)["status"] == "unhealthy"


def test_the_watchdog_ends_a_worker_at_a_stand() -> None:
    ended: list[PurserError] = []
    signs_of_life: list[None] = []
    ends = {0: 10}
    metrics = ViewsMetrics()

    async def end_offsets(partitions: list[int]) -> Mapping[int, int]:
        assert partitions == [0]
        return ends

    monitor = LagMonitor(
        health=starting(0.01, 0.1),
        metrics=metrics,
        end_offsets=end_offsets,
        topic_look=look_at_one_partition,
        consumer_state=lambda: ConsumerState(
            next_offsets={0: 4}, records_in_flight=3, seconds_since_commit=None, member_id="m"
        ),
        end=ended.append,
        loop_runs=lambda: signs_of_life.append(None),
        interval_seconds=0.01,
    )
    asyncio.run(asyncio.wait_for(monitor.run(), 10.0))
    [error] = ended
    assert isinstance(error, WorkerStalled)
    assert len(signs_of_life) > 1, "the guard hears of every look"
    assert "partition 0 has been stuck at offset 4" in str(error)
    assert metrics.registry.get_sample_value("purser_views_lag_records", {"partition": "0"}) == 6


def test_the_watchdog_outlives_a_kafka_that_does_not_answer() -> None:
    answers: list[Mapping[int, int] | None] = [None, {0: 4}]
    health = healthy()

    async def end_offsets(_partitions: list[int]) -> Mapping[int, int]:
        answer = answers.pop(0)
        if answer is None:
            raise ServiceUnavailable("Kafka is away")
        return answer

    monitor = LagMonitor(
        health=health,
        metrics=ViewsMetrics(),
        end_offsets=end_offsets,
        topic_look=look_at_one_partition,
        consumer_state=lambda: ConsumerState(
            next_offsets={0: 4}, records_in_flight=0, seconds_since_commit=1.0, member_id="m"
        ),
        end=lambda error: pytest.fail(str(error)),
        loop_runs=lambda: None,
        interval_seconds=0.01,
    )
    asyncio.run(monitor.look())
    assert not health.judge(0.0).healthy
    asyncio.run(monitor.look())
    assert health.judge(0.0).healthy


def test_what_the_group_gave_to_a_worker_that_does_not_read_it_is_read_by_nobody() -> None:
    """Only this worker knows that it has no position in partition 1."""
    probe = TopicProbe("127.0.0.1:1", "payments", "views")
    probe._brokers = cast(
        Brokers,
        SimpleNamespace(
            topic=lambda: topic(partitions=3),
            group=lambda _name: ReaderGroup(state="STABLE", owners={0: "m", 1: "m", 2: "other"}),
        ),
    )
    state = ConsumerState(
        next_offsets={0: 4}, records_in_flight=0, seconds_since_commit=None, member_id="m"
    )
    assert asyncio.run(probe(state)) == TopicLook(
        topic=topic(partitions=3), elsewhere=frozenset({2})
    )
