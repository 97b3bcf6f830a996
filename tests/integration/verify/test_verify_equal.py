"""What must not alarm: equal views, however they came about."""

from datetime import date

import pytest

from operations.verify import Window
from operations.verify.checks import NAMES
from schemas.views import TABLES
from tests.integration.verify.world import World

pytestmark = pytest.mark.integration


def test_views_that_were_made_from_the_events_are_equal(world: World) -> None:
    report = world.verify()
    assert report.exit_status == 0, report.to_json()
    assert [check.name for check in report.checks] == list(NAMES)
    assert report.postgres_events == report.clickhouse_events == len(world.pump.delivered)
    assert all(check.compared > 0 for check in report.checks), report.to_json()


def test_rows_that_came_twice_are_equal(world: World) -> None:
    for table in TABLES:
        world.run(f"INSERT INTO {table}_raw SELECT * FROM {table}_raw")
    # Emitted again by Debezium, under later offsets.
    world.pump.delivered.clear()
    world.pump.pump()
    assert world.one("SELECT count() FROM payment_events_raw") > len(world.pump.delivered)
    assert world.verify().exit_status == 0


def test_a_window_is_equal_and_counts_only_its_events(world: World) -> None:
    window = Window(since=date(2024, 3, 2), until=date(2024, 3, 4))
    report = world.verify(window=window)
    assert report.exit_status == 0, report.to_json()
    expected = world.one(
        "SELECT count() FROM payment_events_raw FINAL"
        " WHERE toDate(occurred_at) BETWEEN '2024-03-02' AND '2024-03-04'"
    )
    assert report.postgres_events == expected
    assert 0 < expected < len(world.pump.delivered)


def test_empty_databases_are_equal(new_world: World) -> None:
    report = new_world.verify()
    assert report.exit_status == 0, report.to_json()
    assert report.postgres_events == 0
