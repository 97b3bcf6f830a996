"""Whatever is killed whenever: every event ends in its rows, once, and the totals are right."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka.admin import NewPartitions

from schemas.events import Event
from tests.envelopes import some_events
from tests.integration.views.proxy import CuttingProxy
from tests.integration.views.support import PARTITIONS, Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

STOP_SECONDS = 10.0


@contextmanager
def traffic(pipeline: Pipeline, events: list[Event], *, per_transaction: int) -> Iterator[None]:
    """Write events in the background, a transaction every 50 ms; all are written at the end."""
    failed: list[BaseException] = []

    def write() -> None:
        try:
            for start in range(0, len(events), per_transaction):
                pipeline.send(events[start : start + per_transaction])
                time.sleep(0.05)
        except BaseException as error:
            failed.append(error)
            raise

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    yield
    thread.join()
    assert not failed


def test_kill_9_again_and_again_loses_and_doubles_nothing(pipeline: Pipeline) -> None:
    chance = random.Random(7)
    with traffic(pipeline, some_events(seed=7, count=6_000), per_transaction=30):
        for _ in range(3):
            worker = pipeline.start_worker(roll_up_seconds=0.2)
            worker.wait_ready()
            time.sleep(chance.uniform(0.2, 2.0))
            worker.kill()
    pipeline.start_worker(roll_up_seconds=0.2)
    pipeline.assert_views_are_right()
    pipeline.wait_for_roll_up()
    pipeline.assert_views_are_right()


@pytest.mark.parametrize("table", ["ledger_entries", "payment_events", "totals"])
@pytest.mark.parametrize("whole", [False, True], ids=["half-sent", "unanswered"])
def test_kill_9_in_the_middle_of_an_insert(pipeline: Pipeline, table: str, whole: bool) -> None:
    events = some_events(seed=8, count=1_500)
    pipeline.send(events[:1_000])
    with CuttingProxy(pipeline.server.port) as proxy:
        url = pipeline.clickhouse_url.replace(f":{pipeline.server.port}/", f":{proxy.port}/")
        worker = pipeline.start_worker(clickhouse_url=url)
        worker.wait_ready()
        proxy.cut_next_insert(table, whole=whole, action=worker.process.kill)
        pipeline.send(events[1_000:])
        worker.wait_ended()
        assert proxy.cuts == 1
    pipeline.start_worker()
    pipeline.assert_views_are_right()


@pytest.mark.parametrize("whole", [False, True], ids=["half-sent", "unanswered"])
def test_a_connection_that_breaks_in_an_insert_is_tried_again(
    pipeline: Pipeline, whole: bool
) -> None:
    events = some_events(seed=9, count=1_000)
    with CuttingProxy(pipeline.server.port) as proxy:
        url = pipeline.clickhouse_url.replace(f":{pipeline.server.port}/", f":{proxy.port}/")
        worker = pipeline.start_worker(clickhouse_url=url)
        worker.wait_ready()
        proxy.cut_next_insert("payment_events", whole=whole, action=lambda: None)
        pipeline.send(events)
        pipeline.assert_views_are_right()
        assert proxy.cuts == 1
        assert worker.metric("purser_views_retries_total") >= 1
        assert worker.stop()[0] == 0


def test_clickhouse_killed_under_load_is_waited_for(pipeline: Pipeline) -> None:
    worker = pipeline.start_worker()
    worker.wait_ready()
    with traffic(pipeline, some_events(seed=10, count=4_000), per_transaction=40):
        time.sleep(1.0)
        pipeline.server.kill()
        try:
            wait_until(lambda: worker.health()[0] == 503, "unhealthy while it cannot write")
            assert "has been retried for" in " ".join(worker.health()[1]["reasons"])
            time.sleep(1.0)
        finally:
            pipeline.server.start()
        wait_until(lambda: worker.health()[0] == 200, "healthy when it can write again")
    pipeline.assert_views_are_right()
    assert worker.process.poll() is None


def test_two_workers_share_the_work_and_one_takes_over_when_the_other_dies(
    pipeline: Pipeline,
) -> None:
    first = pipeline.start_worker()
    first.wait_ready()
    with traffic(pipeline, some_events(seed=11, count=6_000), per_transaction=25):
        second = pipeline.start_worker()
        wait_until(
            lambda: (
                len(second.health()[1].get("partitions", {})) == 2
                and len(first.health()[1].get("partitions", {})) == 2
            ),
            "both have partitions",
        )
        time.sleep(1.0)
        first.kill()
    pipeline.assert_views_are_right()
    assert second.metric("purser_views_records_total") > 0


def test_a_stop_under_load_is_quick_and_loses_nothing(pipeline: Pipeline) -> None:
    with traffic(pipeline, some_events(seed=12, count=5_000), per_transaction=50):
        for _ in range(2):
            worker = pipeline.start_worker()
            worker.wait_ready()
            time.sleep(1.0)
            status, seconds = worker.stop()
            assert status == 0, worker.output()
            assert seconds < STOP_SECONDS
            assert "Traceback" not in worker.output()
    pipeline.start_worker()
    pipeline.assert_views_are_right()


def test_a_stop_while_clickhouse_is_away_is_quick_and_acknowledges_nothing(
    pipeline: Pipeline,
) -> None:
    events = some_events(seed=13, count=1_000)
    pipeline.send(events[:500])
    worker = pipeline.start_worker()
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    committed = pipeline.committed()
    pipeline.server.kill()
    try:
        pipeline.send(events[500:])
        wait_until(lambda: worker.health()[0] == 503, "unhealthy")
        _, seconds = worker.stop()
        assert seconds < STOP_SECONDS
        assert pipeline.committed() == committed
    finally:
        pipeline.server.start()
    pipeline.start_worker()
    pipeline.assert_views_are_right()


def test_a_worker_that_cannot_write_ends_rather_than_acknowledge(pipeline: Pipeline) -> None:
    events = some_events(seed=14, count=1_000)
    pipeline.send(events[:500])
    worker = pipeline.start_worker(give_up_seconds=3)
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    committed = pipeline.committed()
    pipeline.server.kill()
    try:
        pipeline.send(events[500:])
        assert worker.wait_ended() == 2
        assert "exiting, nothing was acknowledged: ClickHouse at " in worker.output()
        assert "Traceback" not in worker.output()
        assert pipeline.committed() == committed
    finally:
        pipeline.server.start()
    pipeline.workers.remove(worker)
    pipeline.start_worker()
    pipeline.assert_views_are_right()


@contextmanager
def frozen(pipeline: Pipeline) -> Iterator[None]:
    """The ClickHouse server accepts connections and answers nothing."""
    os.kill(pipeline.server.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pipeline.server.pid, signal.SIGCONT)


def test_a_worker_that_stands_still_is_unhealthy_and_ends(pipeline: Pipeline) -> None:
    events = some_events(seed=16, count=1_000)
    pipeline.send(events[:500])
    first = pipeline.start_worker()
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    first.stop()
    # It has nothing to do until it is frozen: a busy machine must not look like a standstill.
    worker = pipeline.start_worker(stall_unhealthy_seconds=2, stall_exit_seconds=10)
    worker.wait_ready()
    committed = pipeline.committed()
    with frozen(pipeline):
        pipeline.send(events[500:])
        wait_until(lambda: worker.health()[0] == 503, "unhealthy")
        assert "has been stuck at offset" in worker.health()[1]["reasons"][0]
        assert worker.wait_ended() == 1
        assert "exiting, nothing was acknowledged: partition " in worker.output()
        assert "Traceback" not in worker.output()
        assert pipeline.committed() == committed
    pipeline.workers.remove(worker)
    pipeline.start_worker()
    pipeline.assert_views_are_right()


def test_partitions_that_nobody_reads_end_the_worker_and_its_successor_reads_them(
    pipeline: Pipeline,
) -> None:
    """The group notices new partitions only when it gives them out again."""
    worker = pipeline.start_worker(
        worker_instance="one", stall_unhealthy_seconds=2, stall_exit_seconds=10,
        rebalance_timeout_seconds=2,
    )  # fmt: skip
    worker.wait_ready()
    pipeline.admin.create_partitions([NewPartitions(pipeline.name, PARTITIONS + 2)])[
        pipeline.name
    ].result()
    unread = f"no worker has read partition {PARTITIONS}"
    wait_until(lambda: unread in str(worker.health()[1].get("reasons")), unread)
    assert worker.health()[0] == 503
    assert worker.wait_ended() == 1
    assert "Traceback" not in worker.output()
    pipeline.workers.remove(worker)
    pipeline.send(some_events(seed=21, count=200))
    successor = pipeline.start_worker(worker_instance="one")
    successor.wait_ready()
    wait_until(
        lambda: len(successor.health()[1].get("partitions", ())) == PARTITIONS + 2,
        "it reads all partitions",
    )
    pipeline.assert_views_are_right()
    assert len(pipeline.written_offsets()) == PARTITIONS + 2


def test_a_stop_while_an_insert_hangs_is_quick_and_acknowledges_nothing(
    pipeline: Pipeline,
) -> None:
    events = some_events(seed=17, count=1_000)
    pipeline.send(events[:500])
    worker = pipeline.start_worker(stall_unhealthy_seconds=1)
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    committed = pipeline.committed()
    with frozen(pipeline):
        pipeline.send(events[500:])
        wait_until(lambda: worker.health()[0] == 503, "unhealthy")
        _, seconds = worker.stop()
        assert seconds < STOP_SECONDS
        assert pipeline.committed() == committed
    pipeline.start_worker()
    pipeline.assert_views_are_right()


def test_a_row_that_clickhouse_refuses_is_named_and_ends_the_worker(pipeline: Pipeline) -> None:
    events = some_events(seed=15, count=1_000)
    refused = events[700]
    condition = f"NOT (payment_id = '{refused.payment_id}' AND seq = {refused.seq})"
    pipeline.query(f"ALTER TABLE payment_events_raw ADD CONSTRAINT test CHECK {condition}")
    pipeline.send(events)
    worker = pipeline.start_worker()
    assert worker.wait_ended() == 1
    assert f"'payment_id': '{refused.payment_id}', 'seq': '{refused.seq}'" in worker.output()
    assert "Traceback" not in worker.output()
    committed = pipeline.committed()
    pipeline.query("ALTER TABLE payment_events_raw DROP CONSTRAINT test")
    pipeline.workers.remove(worker)
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    row = f"payment_id = '{refused.payment_id}' AND seq = {refused.seq}"
    [(partition, offset)] = pipeline.query(
        f"SELECT kafka_partition, kafka_offset FROM payment_events WHERE {row}"
    )
    assert committed.get(partition, 0) <= offset
