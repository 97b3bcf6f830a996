"""Whatever is open, each minute is read exactly once, and from nothing that is open."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from schemas.clickhouse.totals import DAY, MONTH, NOTED_LEVELS
from sinks.roll_up_plan import LENGTHS, start_of
from tests.integration.roll_up.world import World, new_world, now_away_from_midnight
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

ONE_DAY, ONE_MINUTE = timedelta(days=1), timedelta(minutes=1)
DAYS = 3
PAYMENT = UUID(int=1)
WRONG = 1_000_000
"""What the totals of an open bucket count here: nobody may read them."""

HERE = "database = currentDatabase()"

Bucket = tuple[str, datetime]


@pytest.fixture
def world(clickhouse_server_url: str) -> Iterator[World]:
    with new_world(clickhouse_server_url) as world:
        yield world


def starts(since: datetime, until: datetime, length: timedelta) -> Iterator[datetime]:
    while since < until:
        yield since
        since += length


def write_one_entry_a_minute(world: World, since: datetime, until: datetime) -> None:
    """As if each had been written in time: into the ledger, and into what lies apart for days."""
    account = ("seller_pending", "seller-1", "EUR")
    rows = [
        (*account, minute.date(), PAYMENT, number, 0, "captured", -1, minute)
        for number, minute in enumerate(starts(since, until, ONE_MINUTE), 1)
    ]
    for table in ("ledger_entries_raw", "recent_entries_raw"):
        world.client.insert(table, rows)


def roll_up_everything(
    world: World, since: datetime, until: datetime, opened: set[Bucket], this_month: datetime
) -> None:
    """Write the totals of every bucket of each level; those of open ones are wrong."""
    buckets = [
        (level, start, length // ONE_MINUTE)
        for level, length in LENGTHS.items()
        for start in starts(since, until, length)
    ]
    if since < this_month:
        last_month = start_of_month(since)
        buckets.append((MONTH, last_month, (this_month - since) // ONE_MINUTE))
        if any(level == DAY and day < this_month for level, day in opened):
            opened = {*opened, (MONTH, last_month)}
    rows = []
    for level, start, minutes in buckets:
        count = WRONG if (level, start) in opened else minutes
        # A month has no day here: the views by days do not read it.
        rows.append(("total", level, "seller-1", "EUR", start.date(), start, -count, count, count))
    columns = ["kind", "level", "account_id", "currency", "day", "bucket"]
    sums = ["seller_pending_minor", "capture_count", "seller_entry_count"]
    # Far more hours than a roll-up writes at once.
    settings = {"max_partitions_per_insert_block": 0}
    world.client.insert("totals_raw", rows, [*columns, *sums], settings=settings)


def note(world: World, noted: set[Bucket], late: set[Bucket]) -> None:
    """Note that something was written into each of these buckets, or late into these days."""
    rows = [("written", level, "writer", start, 1) for level, start in noted]
    rows += [("written_late", level, "writer", start, 1) for level, start in late]
    columns = ["kind", "level", "account_id", "bucket", "version"]
    if rows:
        world.client.insert("totals_raw", rows, columns)


def start_of_month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0)


@pytest.mark.parametrize("seed", range(6))
def test_each_minute_is_read_once_whatever_is_open(world: World, seed: int) -> None:
    random = Random(seed)
    now = now_away_from_midnight().replace(second=0, microsecond=0)
    today = start_of(now, ONE_DAY)
    since = today - DAYS * ONE_DAY
    # Any buckets, also those whose parts or whole are closed, as after roll-ups that raced.
    noted = {
        (level, start_of(since + random.random() * (now - since), LENGTHS[level]))
        for level in NOTED_LEVELS
        for _ in range(random.choice((0, 1, 6)))
    }
    late = {(DAY, today - 2 * ONE_DAY)} if seed % 2 else set[Bucket]()
    write_one_entry_a_minute(world, since, now)
    roll_up_everything(world, since, now, noted | late, start_of_month(today))
    note(world, noted, late)

    by_day = world.client.query("SELECT day, capture_count FROM seller_revenue ORDER BY day")
    in_all = world.client.query("SELECT pending_minor, entry_count FROM seller_balances")

    days = [(day.date(), ONE_DAY // ONE_MINUTE) for day in starts(since, today, ONE_DAY)]
    minutes = (now - today) // ONE_MINUTE
    assert [tuple(row) for row in by_day.result_rows] == [*days, (today.date(), minutes)]
    expected = (now - since) // ONE_MINUTE
    assert [tuple(row) for row in in_all.result_rows] == [(expected, expected)]


def test_what_was_recorded_by_a_clock_ahead_is_read_from_its_entries(world: World) -> None:
    soon = now_away_from_midnight().replace(second=0, microsecond=0) + 2 * ONE_MINUTE
    write_one_entry_a_minute(world, soon, soon + ONE_MINUTE)
    note(world, {(level, start_of(soon, LENGTHS[level])) for level in NOTED_LEVELS}, set())

    found = world.client.query("SELECT capture_count FROM seller_revenue").result_rows

    assert [tuple(row) for row in found] == [(1,)]


def test_a_partition_of_totals_that_nothing_comes_into_becomes_one_part(world: World) -> None:
    """A query looks at each part of the table, so closed hours shall not have many."""
    now = now_away_from_midnight()
    for minute in range(3):
        world.write(world.events(Random(minute), 3, now - timedelta(hours=2, minutes=minute)))
        world.roll_ups[0].finish()
    age = (
        "SELECT extract(engine_full, 'min_age_to_force_merge_seconds = (\\d+)') FROM system.tables"
    )
    (seconds,) = world.client.query(f"{age} WHERE name = 'totals_raw' AND {HERE}").result_rows[0]
    # The minutes of an hour come one by one.
    assert 120 <= int(seconds) <= 600
    world.client.command("ALTER TABLE totals_raw MODIFY SETTING min_age_to_force_merge_seconds = 1")

    def parts() -> set[int]:
        counted = (
            "SELECT partition, count() FROM system.parts WHERE table = 'totals_raw' AND active"
        )
        return {n for _, n in world.client.query(f"{counted} AND {HERE} GROUP BY 1").result_rows}

    assert parts() != {1}
    wait_until(lambda: parts() == {1}, "parts are left unmerged", seconds=120)
    world.check()
