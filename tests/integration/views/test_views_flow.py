"""Records of a real topic become rows of a real ClickHouse, each once, whole and in time."""

import random

import pytest

from tests.envelopes import message, some_events
from tests.integration.views.support import Pipeline
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def test_every_event_becomes_its_rows_and_every_total_is_right(pipeline: Pipeline) -> None:
    events = some_events(seed=1, count=5_000)
    pipeline.send(events[:3_000])
    worker = pipeline.start_worker()
    worker.wait_ready()
    for start in range(3_000, 5_000, 100):
        pipeline.send(events[start : start + 100])
    pipeline.assert_views_are_right()
    wait_until(lambda: worker.health()[1].get("lag_records") == 0, "lag")
    assert worker.metric("purser_views_events_total") == 5_000
    assert worker.metric("purser_views_freshness_seconds_count") > 0
    assert worker.metric("purser_views_dead_letters_total") == 0


def test_totals_are_rolled_up_beside_the_stream_and_stay_right(pipeline: Pipeline) -> None:
    events = some_events(seed=6, count=2_000)
    pipeline.send(events[:1_000])
    worker = pipeline.start_worker(roll_up_seconds=0.2)
    pipeline.assert_views_are_right()
    pipeline.wait_for_roll_up()
    pipeline.assert_views_are_right()
    assert worker.metric("purser_views_rolled_up_buckets_total") > 0
    pipeline.send(events[1_000:])  # into the same days
    pipeline.assert_views_are_right()
    pipeline.wait_for_roll_up()
    pipeline.assert_views_are_right()


def test_totals_that_cannot_be_rolled_up_are_right_and_stop_no_stream(pipeline: Pipeline) -> None:
    pipeline.query("ALTER TABLE totals_raw ADD CONSTRAINT test CHECK kind != 'total'")
    events = some_events(seed=15, count=1_000)
    pipeline.send(events[:500])
    worker = pipeline.start_worker(roll_up_seconds=0.2)
    wait_until(lambda: "could not be rolled up" in worker.output(), "a warning")
    pipeline.send(events[500:])
    pipeline.assert_views_are_right()
    assert worker.health()[0] == 200
    pipeline.query("ALTER TABLE totals_raw DROP CONSTRAINT test")
    pipeline.wait_for_roll_up()
    pipeline.assert_views_are_right()


def test_a_record_sent_again_under_another_offset_changes_nothing(pipeline: Pipeline) -> None:
    events = some_events(seed=2, count=500)
    pipeline.send(events)
    pipeline.producer.send(random.Random(2).sample(events, 200))
    pipeline.start_worker()
    pipeline.wait_for_rows(500)
    pipeline.producer.send(events[:100])
    pipeline.assert_views_are_right()


def test_a_transaction_that_was_rolled_back_is_never_read(pipeline: Pipeline) -> None:
    events = some_events(seed=3, count=600)
    pipeline.send(events[:200])
    pipeline.producer.send_raw((message(event) for event in events[200:400]), abort=True)
    worker = pipeline.start_worker()
    worker.wait_ready()
    pipeline.producer.send_raw((message(event) for event in events[200:400]), abort=True)
    pipeline.send(events[400:])
    pipeline.assert_views_are_right()


def test_the_progress_tells_how_far_the_views_are(pipeline: Pipeline) -> None:
    pipeline.send(some_events(seed=4, count=1_000))
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    progress = pipeline.query(
        "SELECT partition, last_offset, consumer, topic FROM pipeline_progress"
    )
    assert {row[0]: row[1] for row in progress} == pipeline.written_offsets()
    assert {row[2:] for row in progress} == {(pipeline.name, pipeline.name)}


def test_after_a_restart_nothing_is_read_again(pipeline: Pipeline) -> None:
    events = some_events(seed=5, count=1_000)
    pipeline.send(events[:500])
    first = pipeline.start_worker()
    pipeline.wait_for_rows(500)
    pipeline.wait_for_acknowledgement()
    assert first.stop()[0] == 0
    second = pipeline.start_worker()
    second.wait_ready()
    pipeline.send(events[500:])
    pipeline.assert_views_are_right()
    assert second.metric("purser_views_records_total") == 500
