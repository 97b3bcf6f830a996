"""What is not known is not called equal, nor different: a pipeline that lags."""

import threading
import time

import pytest

from schemas.topics import PAYMENTS_TOPIC
from streams.verify import Verdict
from tests.integration.verify.world import World

pytestmark = pytest.mark.integration


def test_a_pipeline_that_was_held_back_is_lagging(world: World) -> None:
    world.clear()
    total = world.pump.pump()
    world.clear()
    delivered = world.pump.pump(limit=total // 2)
    # Whole payments are there up to some point, the rest has never come.
    report = world.verify(timeout=1.0)
    assert report.exit_status == 2, report.to_json()
    assert report.reason.startswith("lagging:")
    assert f"{total - delivered:,} of {total:,} events" in report.reason
    events = next(check for check in report.checks if check.name == "payment_events")
    assert {found.problem for found in events.findings} == {"late"}
    assert all(check.verdict is Verdict.EQUAL for check in report.checks if check is not events), (
        report.to_json()
    )


def test_a_pipeline_that_never_began_is_lagging(world: World) -> None:
    world.clear()
    report = world.verify(timeout=0.5)
    assert report.exit_status == 2, report.to_json()
    assert report.clickhouse_events == 0


def test_a_pipeline_that_catches_up_in_time_is_equal(world: World) -> None:
    world.clear()

    def later() -> None:
        time.sleep(2.0)
        world.pump.pump()

    thread = threading.Thread(target=later)
    thread.start()
    try:
        report = world.verify(timeout=60.0)
    finally:
        thread.join()
    assert report.exit_status == 0, report.to_json()
    assert report.waited_seconds > 1.0


def test_a_worker_that_died_before_its_totals_is_undecided(world: World) -> None:
    partition = world.one("SELECT kafka_partition FROM payment_events LIMIT 1")
    # Rows are in, the totals are not, and nothing was noted as done: the worker will do it again.
    world.run("TRUNCATE TABLE seller_revenue")
    world.remove("pipeline_progress", f"partition = {partition} AND topic = '{PAYMENTS_TOPIC}'")
    report = world.verify(timeout=1.0)
    assert report.exit_status == 2, report.to_json()
    revenue = next(check for check in report.checks if check.name == "seller_revenue")
    assert revenue.verdict is Verdict.UNDECIDED


def test_a_difference_weighs_more_than_a_lag(world: World) -> None:
    world.clear()
    world.pump.pump(limit=100)
    world.replace("payment_events", "'x' AS idempotency_key", "seq = 1")
    assert world.verify(timeout=0.5).exit_status == 1


def test_events_of_an_initial_snapshot_that_is_under_way_are_in_a_newer_cut(world: World) -> None:
    world.run("INSERT INTO payment_events SELECT * REPLACE ('r' AS op) FROM payment_events FINAL")
    assert world.verify().exit_status == 0
