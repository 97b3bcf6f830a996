"""Totals are the sums of what was written, whatever was rolled up, by whomever, and when."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from msgspec.structs import replace

from schemas.clickhouse.totals import DAY, NOTED_LEVELS, STARTS
from sinks.roll_up import KEPT_DAYS
from sinks.roll_up_plan import LENGTHS, start_of
from tests.integration.roll_up.world import Killed, World, new_world, now_away_from_midnight
from tests.totals import settle

pytestmark = pytest.mark.integration


@pytest.fixture
def world(clickhouse_server_url: str) -> Iterator[World]:
    with new_world(clickhouse_server_url) as world:
        yield world


def ages(now: datetime) -> dict[str, datetime]:
    """Recording times of every kind: of this minute, of this day, of the last, and late ones."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return {
        "now": now,
        "minutes ago": max(midnight, now - timedelta(minutes=2)),
        "today": midnight + (now - midnight) / 2,
        "yesterday": midnight - timedelta(seconds=30),
        "a day and a half ago": now - timedelta(hours=36),
        "a week ago": now - timedelta(days=7),
        "last year": now - timedelta(days=400),
    }


@pytest.mark.parametrize("seed", range(3))
def test_after_every_step_of_a_random_story_totals_are_sums(world: World, seed: int) -> None:
    random = Random(seed)
    now = now_away_from_midnight()
    when = list(ages(now).values())
    written = []
    for _ in range(25):
        match random.choice(("write", "write", "again", "unnoted", "roll", "die", "finish")):
            case "write":
                events = world.events(random, random.randint(1, 6), random.choice(when))
                world.write(events, sink=random.randrange(2))
                written.append(events)
            case "again" if written:
                world.write(random.choice(written), sink=random.randrange(2))
            case "unnoted":
                # A worker died after it had written; it writes the same again when it is back.
                events = world.events(random, 2, random.choice(when))
                world.write(events, noted=False)
                random.choice(world.roll_ups).step(patient=False)
                world.write(events)
                written.append(events)
            case "roll":
                random.choice(world.roll_ups).step(patient=False)
            case "die":
                dying = random.choice(world.roll_ups)
                dying.dies_before = random.randint(1, 20)
                with suppress(Killed):
                    dying.step(patient=False)
                dying.dies_before = None
            case "finish":
                random.choice(world.roll_ups).finish()
                settle(world.client)
        world.check()
    world.roll_ups[0].finish()
    settle(world.client)
    world.check()
    assert world.open_buckets("day") <= {now.replace(hour=0, minute=0, second=0, microsecond=0)}, (
        "a day that is over was not rolled up"
    )


def test_entries_recorded_now_are_in_the_totals_before_they_are_noted(world: World) -> None:
    world.write(world.events(Random(1), 5, now_away_from_midnight()), noted=False)
    world.check()


def test_each_level_is_read_from_the_one_below_until_it_is_rolled_up(world: World) -> None:
    now = now_away_from_midnight()
    when = ages(now)
    for name in ("now", "today", "yesterday", "last year"):
        world.write(world.events(Random(name), 5, when[name]))
    world.roll_ups[0].finish()
    world.check()
    assert world.rows_of("total", "minute") > 0
    assert world.rows_of("total", "day") > 0
    assert world.rows_of("total", "month") > 0
    assert now.replace(second=0, microsecond=0) in world.open_buckets("minute")
    # What was rolled up is read, and not the entries: without them the totals of the past remain.
    settle(world.client)
    world.check()
    before = world.account_balances()
    world.client.command(
        "DELETE FROM ledger_entries_raw WHERE recorded_minute < now('UTC') - INTERVAL 3 DAY"
    )
    assert world.account_balances() == before


@pytest.mark.parametrize(("place", "level"), [*enumerate(NOTED_LEVELS)], ids=NOTED_LEVELS)
def test_a_level_that_is_rolled_up_is_read_instead_of_what_is_finer(
    world: World, place: int, level: str
) -> None:
    world.write(world.events(Random(level), 9, ages(now_away_from_midnight())["yesterday"]))
    # Each level takes a statement for the totals, and one that records them.
    world.roll_ups[0].dies_before = 2 * (place + 1) + 1
    with suppress(Killed):
        world.roll_ups[0].step(patient=False)
    assert [bool(world.rows_of("total", each)) for each in NOTED_LEVELS] == [
        each <= place for each in range(len(NOTED_LEVELS))
    ]
    settle(world.client)
    world.check()
    world.client.command("TRUNCATE TABLE recent_entries_raw")
    world.client.command(
        "DELETE FROM totals_raw WHERE kind = 'total' AND level < {level:String}",
        parameters={"level": level},
    )
    world.check()


def test_buckets_begin_in_clickhouse_as_in_python_and_lie_in_the_partitions_of_their_day(
    world: World,
) -> None:
    day = datetime(2026, 3, 1, tzinfo=UTC)
    moments = [day + timedelta(minutes=minute) for minute in range(0, 24 * 60, 7)]
    moments += [day + timedelta(hours=hour, seconds=-60) for hour in (0, 6, 12, 18, 24)]
    select = ", ".join(STARTS[level]("moment") for level in NOTED_LEVELS)
    rows = world.client.query(
        f"SELECT moment, {select} FROM"
        " (SELECT arrayJoin({moments:Array(DateTime('UTC'))}) AS moment)",
        parameters={"moments": moments},
    ).result_rows
    assert len(rows) == len(moments)
    for moment, *starts in ([each.replace(tzinfo=UTC) for each in row] for row in rows):
        assert starts == [start_of(moment, length) for length in LENGTHS.values()]
    for level in NOTED_LEVELS:
        world.client.command(
            "INSERT INTO totals_raw (kind, level, bucket, account_id)"
            " SELECT 'total', {level:String}, arrayJoin({moments:Array(DateTime('UTC'))}), ''",
            parameters={"level": level, "moments": moments},
            settings={"max_partitions_per_insert_block": 0},
        )
    found = world.client.query(
        "SELECT DISTINCT toString(level), _partition_id, toYYYYMMDD(bucket), toHour(bucket)"
        " FROM totals_raw"
    ).result_rows
    for level, partition, number, hour in found:
        within = {
            "minute": f"{hour:02}",
            "ten_minutes": f"{hour:02}",
            "hour": f"{30 + hour // 6}",
            "six_hours": "",
        }
        expected = f"{number}{within[level]}" if level in within else f"{number // 10_000}"
        assert partition == expected


@pytest.mark.parametrize("age", ["minutes ago", "today", "yesterday", "a week ago", "last year"])
def test_a_late_row_reopens_its_bucket_and_is_rolled_up_again(world: World, age: str) -> None:
    recorded_at = ages(now_away_from_midnight())[age]
    world.write(world.events(Random(1), 5, recorded_at))
    world.roll_ups[0].finish()
    settle(world.client)
    world.check()
    world.write(world.events(Random(2), 5, recorded_at))
    assert world.open_buckets("day")
    world.check()
    world.roll_ups[1].finish()
    settle(world.client)
    world.check()


def test_history_of_years_that_is_imported_today_is_counted_by_its_own_days(world: World) -> None:
    now = now_away_from_midnight()
    random = Random(3)
    history = [
        replace(event, occurred_at=now - timedelta(days=365 * years))
        for years in range(5)
        for event in world.events(random, 20, now - timedelta(minutes=2))
    ]
    world.write(history)
    world.check()
    world.roll_ups[0].finish()
    settle(world.client)
    world.check()
    assert len({day for *_, day in world.account_days()}) >= 5


def test_readers_see_the_same_totals_while_they_are_rolled_up(world: World) -> None:
    """A reader never sees a bucket twice, or not at all, between two statements of a roll-up."""
    now = now_away_from_midnight()
    for number, recorded_at in enumerate(ages(now).values()):
        world.write(world.events(Random(number), 20, recorded_at))
    expected = world.totals()
    seen: list[list[tuple[object, ...]]] = []
    over = threading.Event()

    asking = [threading.Lock(), threading.Lock()]

    def read(mine: threading.Lock) -> None:
        while not over.is_set():
            with mine:
                seen.append(world.totals())

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read, lock) for lock in asking]
        try:
            for _ in range(4):
                for roll_up in world.roll_ups:
                    roll_up.finish()
                # As if a minute had passed: no query from before the roll-up is still running.
                with asking[0], asking[1]:
                    settle(world.client)
                # A note without new rows: the bucket is open once more, and every total the same.
                world.sinks[0].note_minutes(
                    recorded_at.replace(second=0, microsecond=0)
                    for recorded_at in ages(now).values()
                )
        finally:
            over.set()
        for reader in readers:
            reader.result()
    assert len(seen) > 10
    assert all(totals == expected for totals in seen)


def test_roll_ups_that_race_end_with_all_entries(world: World) -> None:
    """One has read the notes, then more is written and another rolls it up, then it goes on."""
    recorded_at = ages(now_away_from_midnight())["today"]
    world.write(world.events(Random(1), 5, recorded_at))
    slow, quick = world.roll_ups
    interrupted: list[bool] = []

    def before(_sql: str) -> None:
        if not interrupted:
            interrupted.append(True)
            world.write(world.events(Random(2), 5, recorded_at))
            quick.finish()

    slow.before = before
    slow.step(patient=False)
    settle(world.client)
    world.check()
    slow.finish()
    settle(world.client)
    world.check()


def test_notes_of_a_table_that_was_exchanged_say_nothing_about_the_new_one(world: World) -> None:
    recorded_at = ages(now_away_from_midnight())["today"]
    for number in range(3):
        world.write(world.events(Random(number), 3, recorded_at))
    slow = world.roll_ups[0]

    def before(sql: str) -> None:
        if "note.1" in sql and not world.client.command("EXISTS TABLE others"):
            world.client.command("CREATE TABLE others AS totals_raw")
            world.client.command("EXCHANGE TABLES others AND totals_raw")

    slow.before = before
    slow.step(patient=False)
    assert world.rows_of("rolled", "minute") == 0


def test_old_entries_and_fine_totals_are_dropped_after_their_day_is_rolled_up(
    world: World,
) -> None:
    now = now_away_from_midnight()
    world.write(world.events(Random(1), 5, now - timedelta(days=1, hours=20)))
    old = now - timedelta(days=KEPT_DAYS + 2)
    events = world.events(Random(2), 5, old)
    world.write(events)
    # As if they had been written when they were recent.
    world.client.command(
        "INSERT INTO recent_entries_raw SELECT * FROM ledger_entries_raw"
        " WHERE recorded_minute < now('UTC') - INTERVAL 4 DAY"
    )
    counting = (
        "SELECT count() FROM recent_entries_raw WHERE recorded_minute < now('UTC') - INTERVAL 4 DAY"
    )
    assert world.client.query(counting).result_rows[0][0] > 0
    world.roll_ups[0].finish()
    assert world.client.query(counting).result_rows[0][0] > 0, "dropped while queries may need it"
    settle(world.client)
    world.roll_ups[1].finish()
    assert world.client.query(counting).result_rows[0][0] == 0
    assert world.client.query("SELECT count() FROM recent_entries_raw").result_rows[0][0] > 0
    world.check()


def test_what_readers_add_up_is_kept_until_the_roll_up_of_its_day_is_settled(world: World) -> None:
    """Nothing was rolled up for days; then all is, and old parts are dropped."""
    old = (datetime.now(UTC) - timedelta(days=KEPT_DAYS + 2)).replace(second=0, microsecond=0)
    world.write(world.events(Random(3), 5, old), noted=False)
    # As if they had been written and noted when they were recent.
    world.client.command("INSERT INTO recent_entries_raw SELECT * FROM ledger_entries_raw")
    starts = {
        "minute": old,
        "ten_minutes": old.replace(minute=old.minute // 10 * 10),
        "hour": old.replace(minute=0),
        "six_hours": old.replace(hour=old.hour // 6 * 6, minute=0),
        "day": old.replace(hour=0, minute=0),
    }
    for level, bucket in starts.items():
        world.client.command(
            "INSERT INTO totals_raw (kind, level, bucket, account_id, version)"
            f" SELECT 'written', '{level}', {{bucket:DateTime('UTC')}}, 'a writer', 1",
            parameters={"bucket": bucket},
        )
    world.check()
    assert world.roll_ups[0].finish().days == 1
    world.check()
    assert world.rows_of("total", "minute")
    settle(world.client)
    assert world.roll_ups[1].finish().dropped
    world.check()
    assert not any(world.rows_of("total", level) for level in NOTED_LEVELS if level != DAY)
    left = "SELECT count() FROM totals_raw WHERE startsWith(_partition_id, {day:String})"
    day = {"day": old.strftime("%Y%m%d")}
    assert world.client.query(left, parameters=day).result_rows == [(0,)]
