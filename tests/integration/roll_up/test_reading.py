"""Whatever is open, each minute is read exactly once, and from nothing that is open."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
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
WRONG = 10**12
"""What the totals of an open bucket amount to here: nobody may read them."""
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


def start_of_month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0)


@dataclass(frozen=True)
class Amounts:
    """An amount for each minute from `since` on, so different that none can stand for another."""

    since: datetime
    until: datetime
    sums: list[int]

    @classmethod
    def of(cls, random: Random, since: datetime, until: datetime) -> "Amounts":
        minutes = (until - since) // ONE_MINUTE
        amounts = (random.randint(1, 10**6) for _ in range(minutes))
        return cls(since, until, list(accumulate(amounts, initial=0)))

    def between(self, start: datetime, end: datetime) -> tuple[int, int]:
        """The amount of these minutes, as far as there are any, and their number."""
        first, last = (
            (min(max(moment, self.since), self.until) - self.since) // ONE_MINUTE
            for moment in (start, end)
        )
        return self.sums[last] - self.sums[first], last - first


def write_one_entry_a_minute(world: World, amounts: Amounts) -> None:
    """As if each had been written in time: into the ledger, and into what lies apart for days."""
    account = ("seller_pending", "seller-1", "EUR")
    rows = []
    for seq, minute in enumerate(starts(amounts.since, amounts.until, ONE_MINUTE), 1):
        amount, _ = amounts.between(minute, minute + ONE_MINUTE)
        rows.append((*account, minute.date(), PAYMENT, seq, 0, "captured", -amount, minute))
    for table in ("ledger_entries_raw", "recent_entries_raw"):
        world.client.insert(table, rows)


def roll_up_everything(world: World, amounts: Amounts, opened: set[Bucket]) -> None:
    """Write the totals of every bucket of each level; those of open ones are wrong."""
    ends = {
        (level, start): start + length
        for level, length in LENGTHS.items()
        for start in starts(amounts.since, amounts.until, length)
    }
    last_month, this_month = start_of_month(amounts.since), start_of_month(amounts.until)
    if last_month < this_month:
        ends[MONTH, last_month] = this_month
        if any(level == DAY and day < this_month for level, day in opened):
            opened = {*opened, (MONTH, last_month)}
    rows = []
    for (level, start), end in ends.items():
        amount, count = amounts.between(start, end)
        amount = WRONG if (level, start) in opened else amount
        rows.append(("total", level, "seller-1", "EUR", start.date(), start, -amount, count, count))
    columns = ["kind", "level", "account_id", "currency", "day", "bucket"]
    sums = ["seller_pending_minor", "capture_count", "seller_entry_count"]
    # Far more hours than a roll-up writes at once.
    settings = {"max_partitions_per_insert_block": 0}
    world.client.insert("totals_raw", rows, [*columns, *sums], settings=settings)


def note(world: World, noted: set[Bucket], late: set[Bucket]) -> None:
    """Note that something was written into each of these buckets, or late into these days."""
    rows = [("written", level, "writer", start, 1) for level, start in noted]
    rows += [("written_late", level, "writer", start, 1) for level, start in late]
    if rows:
        columns = ["kind", "level", "account_id", "bucket", "version"]
        world.client.insert("totals_raw", rows, columns)


@pytest.mark.parametrize("seed", range(6))
def test_each_minute_is_read_once_whatever_is_open(world: World, seed: int) -> None:
    random = Random(seed)
    now = now_away_from_midnight().replace(second=0, microsecond=0)
    today = start_of(now, ONE_DAY)
    amounts = Amounts.of(random, today - DAYS * ONE_DAY, now)
    # Any buckets, also those whose parts or whole are closed, as after roll-ups that raced.
    noted = {
        (level, start_of(amounts.since + random.random() * (now - amounts.since), LENGTHS[level]))
        for level in NOTED_LEVELS
        for _ in range(random.choice((0, 1, 6)))
    }
    late = {(DAY, today - 2 * ONE_DAY)} if seed % 2 else set[Bucket]()
    write_one_entry_a_minute(world, amounts)
    roll_up_everything(world, amounts, noted | late)
    note(world, noted, late)

    by_day = world.client.query(
        "SELECT day, pending_delta_minor, entry_count FROM seller_revenue ORDER BY day"
    )
    in_all = world.client.query("SELECT pending_minor, entry_count FROM seller_balances")

    assert [tuple(row) for row in by_day.result_rows] == [
        (day.date(), *amounts.between(day, day + ONE_DAY))
        for day in starts(amounts.since, now, ONE_DAY)
    ]
    assert [tuple(row) for row in in_all.result_rows] == [amounts.between(amounts.since, now)]


def test_what_was_recorded_by_a_clock_ahead_is_read_from_its_entries(world: World) -> None:
    soon = now_away_from_midnight().replace(second=0, microsecond=0) + 2 * ONE_MINUTE
    write_one_entry_a_minute(world, Amounts.of(Random(1), soon, soon + ONE_MINUTE))
    note(world, {(level, start_of(soon, LENGTHS[level])) for level in NOTED_LEVELS}, set())

    found = world.client.query("SELECT capture_count FROM seller_revenue").result_rows

    assert [tuple(row) for row in found] == [(1,)]


def test_a_partition_of_totals_that_nothing_comes_into_becomes_one_part(world: World) -> None:
    """A query looks at each part of the table, so hours that are over shall not have many."""
    now = now_away_from_midnight()
    for minute in range(3):
        world.write(world.events(Random(minute), 3, now - timedelta(hours=2, minutes=minute)))
        world.roll_ups[0].finish()
    ((engine,),) = world.client.query(
        f"SELECT engine_full FROM system.tables WHERE name = 'totals_raw' AND {HERE}"
    ).result_rows
    # Longer than from one minute of the current hour to the next: it is not merged each time.
    assert "min_age_to_force_merge_seconds = 180" in engine
    # Else old parts of a partition would be merged although others still come.
    assert "min_age_to_force_merge_on_partition_only = 1" in engine

    def most() -> int:
        return int(
            world.client.query(
                "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts"
                f" WHERE table = 'totals_raw' AND active AND {HERE} GROUP BY partition)"
            ).result_rows[0][0]
        )

    assert most() > 1
    world.client.command("ALTER TABLE totals_raw MODIFY SETTING min_age_to_force_merge_seconds = 1")
    wait_until(lambda: most() == 1, "parts are left unmerged", seconds=120, seen=most)
    world.check()
