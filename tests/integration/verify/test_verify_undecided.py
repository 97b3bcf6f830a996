"""What is not known is not called equal, nor different: a pipeline that lags."""

import threading
import time

import pytest

from operations.verify import Verdict
from schemas.topics import PAYMENTS_TOPIC
from schemas.views import TOTALS
from tests.integration.verify.world import World, append, marketplace

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


OF_TOTALS = {"seller_revenue", "account_days", "account_balances"}


def test_a_worker_that_died_before_its_totals_is_undecided(old_world: World) -> None:
    world = old_world
    partition = world.one("SELECT kafka_partition FROM payment_events_raw LIMIT 1")
    # Rows are in, their minutes are not noted, nor is the progress: the worker will do it again.
    world.run(f"TRUNCATE TABLE {TOTALS}")
    world.remove("pipeline_progress", f"partition = {partition} AND topic = '{PAYMENTS_TOPIC}'")
    report = world.verify(timeout=1.0)
    assert report.exit_status == 2, report.to_json()
    verdicts = {check.name: check.verdict for check in report.checks}
    assert {name for name in verdicts if verdicts[name] is Verdict.UNDECIDED} == OF_TOTALS
    assert {verdicts[name] for name in verdicts.keys() - OF_TOTALS} == {Verdict.EQUAL}


def test_what_is_written_twice_before_its_totals_is_equal_in_the_end(old_world: World) -> None:
    """As above, and then the worker comes back."""
    old_world.run(f"TRUNCATE TABLE {TOTALS}")
    old_world.pump.delivered.clear()
    old_world.pump.pump()
    assert old_world.verify().exit_status == 0
    old_world.roll_up()
    assert old_world.verify().exit_status == 0


def test_a_difference_weighs_more_than_a_lag(world: World) -> None:
    world.clear()
    world.pump.pump(limit=100)
    world.replace("payment_events", "'x' AS idempotency_key", "seq = 1")
    assert world.verify(timeout=0.5).exit_status == 1


def test_rows_of_an_initial_snapshot_count_as_visible(world: World) -> None:
    world.replace("payment_events", "'r' AS op, toUInt32(4000000000) AS txid", "1")
    assert world.verify().exit_status == 0


def test_rows_that_a_running_initial_snapshot_brings_after_the_cut_need_a_newer_one(
    new_world: World,
) -> None:
    append(new_world.database.writer, marketplace(payments=5, seed=1))
    new_world.pump.pump()
    cuts = []

    def meanwhile(what: str, _done: int, _total: int) -> None:
        if what != "reading PostgreSQL":
            return
        cuts.append(what)
        if len(cuts) == 1:  # the snapshot is taken, ClickHouse was not asked yet
            append(new_world.database.writer, marketplace(payments=3, seed=2))
            new_world.pump.pump(op="r")

    report = new_world.verify(on_progress=meanwhile)
    assert report.exit_status == 0, report.to_json()
    assert len(cuts) == 2
    assert report.postgres_events == len(new_world.pump.delivered)


def test_a_row_with_a_txid_that_no_cut_holds_is_undecided(world: World) -> None:
    world.replace("payment_events", "toUInt32(txid + 1000000) AS txid", "seq = 2")
    report = world.verify(timeout=0.5)
    assert report.exit_status == 2, report.to_json()
    assert "no cut held" in report.reason
