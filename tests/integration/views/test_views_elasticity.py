"""Workers of the views that join, leave and hang under load: every event in its rows, once."""

import os
import signal
import time
from itertools import islice

import pytest

from bench.hanging import BLOCKED_LOOP, NO_FETCH
from tests.envelopes import some_events
from tests.integration.views.support import PARTITIONS, Pipeline, Worker
from tests.integration.views.test_views_failures import traffic
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

HANGING = "bench.hanging"


def partitions(worker: Worker) -> int:
    return len(worker.health()[1].get("partitions", {}))


def test_workers_join_and_leave_under_load(pipeline: Pipeline) -> None:
    with traffic(pipeline, some_events(seed=21, count=6_000), per_transaction=25):
        workers = [pipeline.start_worker(worker_instance=f"worker-{n}") for n in (1, 2, 3)]

        def are_shared() -> bool:
            """Whether all have some; while they are given out, two may say they have the same."""
            found = [partitions(worker) for worker in workers]
            return all(found) and sum(found) == PARTITIONS

        wait_until(are_shared, "each of three has partitions of its own")
        status, _ = workers[0].stop()
        assert status == 0, workers[0].output()
        wait_until(lambda: sum(map(partitions, workers[1:])) == PARTITIONS, "two have all of them")
    pipeline.assert_views_are_right()


def test_a_worker_that_hangs_is_replaced_and_may_wake_again(pipeline: Pipeline) -> None:
    first = pipeline.start_worker(worker_instance="worker-1")
    hanging = pipeline.start_worker(worker_instance="worker-2")
    with traffic(pipeline, some_events(seed=22, count=6_000), per_transaction=25):
        wait_until(lambda: partitions(first) and partitions(hanging), "both have partitions")
        time.sleep(1.0)
        os.kill(hanging.process.pid, signal.SIGSTOP)
        try:
            wait_until(lambda: partitions(first) == PARTITIONS, "the other took over")
        finally:
            os.kill(hanging.process.pid, signal.SIGCONT)
        wait_until(lambda: partitions(first) < PARTITIONS, "it is back in the group")
    pipeline.assert_views_are_right()
    assert hanging.process.poll() is None, hanging.output()


def test_a_worker_that_does_not_fetch_shows_its_lag_and_ends(pipeline: Pipeline) -> None:
    events = some_events(seed=23, count=1_500)
    pipeline.send(events[:500])
    worker = pipeline.start_worker(module=HANGING, stall_unhealthy_seconds=3, stall_exit_seconds=30)
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    worker.process.send_signal(NO_FETCH)
    waiting = iter(events[500:])

    def is_unhealthy_while_records_come() -> bool:
        # A few at a time: the fetch that is under way still takes what comes first.
        pipeline.send(islice(waiting, 5))
        return worker.health()[0] == 503

    wait_until(is_unhealthy_while_records_come, "unhealthy")
    assert worker.health()[1]["lag_records"] > 0
    assert worker.metric("purser_views_lag_records") > 0
    assert worker.wait_ended() == 1
    assert "records waiting; exiting to be restarted" in worker.output()
    pipeline.send(waiting)
    pipeline.workers.remove(worker)
    pipeline.start_worker()
    pipeline.assert_views_are_right()


def test_a_worker_whose_event_loop_is_blocked_ends_although_it_is_still_a_member(
    pipeline: Pipeline,
) -> None:
    events = some_events(seed=24, count=1_500)
    pipeline.send(events[:500])
    worker = pipeline.start_worker(module=HANGING, stall_exit_seconds=15)
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    worker.process.send_signal(BLOCKED_LOOP)
    pipeline.send(events[500:])
    assert worker.wait_ended() == 1
    assert "Timeout" in worker.output(), "every thread's place is on standard error"
    assert "in _block" in worker.output()
    pipeline.workers.remove(worker)
    pipeline.start_worker()
    pipeline.assert_views_are_right()
