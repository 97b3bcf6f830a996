"""The ends compared: PostgreSQL's newest events, found by the index and looked up in ClickHouse."""

import time

import psycopg
import pytest

from operations.health.ends import Ends, compare_ends, newest_events
from sinks.settings import ClickHouseSettings
from tests.integration.postgres.database import insert
from tests.integration.verify.world import World, append, marketplace

pytestmark = pytest.mark.integration

AT_ONCE = 0.001
"""The limit in seconds: everything in the table is older."""


def compare(world: World) -> Ends:
    return compare_ends(
        world.database.reader, ClickHouseSettings.load(world.clickhouse_url), AT_ONCE
    )


def test_nothing_is_wrong_when_all_is_visible(world: World) -> None:
    found = compare(world)
    assert found.compared == 100
    assert found.invisible == 0
    assert found.problems() == ()


def test_the_newest_events_come_first_and_are_committed(world: World) -> None:
    found = newest_events(world.database.reader, AT_ONCE)
    with psycopg.connect(world.database.reader) as session:
        rows = session.execute(
            "SELECT payment_id::text, seq, pg_xact_commit_timestamp(xmin) IS NOT NULL FROM payments"
            " ORDER BY recorded_at DESC LIMIT 100"
        ).fetchall()
    assert {event[:2] for event in found} == {(payment_id, seq) for payment_id, seq, _ in rows}
    assert all(known for *_, known in rows), "PostgreSQL records the times of commits"
    ages = [event.age_seconds for event in found]
    assert ages == sorted(ages)
    assert newest_events(world.database.reader, 3_600.0) == []


def test_rows_that_were_committed_just_now_do_not_hide_older_ones(new_world: World) -> None:
    limit_seconds = 2.0
    append(new_world.database.writer, marketplace(payments=2, seed=1))
    with psycopg.connect(new_world.database.reader) as session:
        [(older,)] = session.execute("SELECT count(*) FROM payments").fetchall()
    with psycopg.connect(new_world.database.writer) as session:
        for rows in marketplace(payments=30, seed=2):
            for row in rows:
                insert(session, row)
        time.sleep(1.5 * limit_seconds)  # a transaction that stays open after its last row
    found = newest_events(new_world.database.reader, limit_seconds)
    assert len(found) == older


def test_an_event_that_is_not_visible_is_told(world: World) -> None:
    event = newest_events(world.database.reader, AT_ONCE)[2]
    world.remove("payment_events", f"payment_id = '{event.payment_id}' AND seq = {event.seq}")
    found = compare(world)
    assert found.invisible == 1
    [problem] = found.problems()
    assert problem.text.startswith("an event, recorded ")


@pytest.mark.parametrize(("seq", "invisible"), [("{seq}", 0), ("0", 0), ("99", 1)])
def test_a_parked_event_is_not_missing(world: World, seq: str, invisible: int) -> None:
    event = newest_events(world.database.reader, AT_ONCE)[0]
    world.remove("payment_events", f"payment_id = '{event.payment_id}' AND seq = {event.seq}")
    value = f'{{"after":{{"seq":{seq.format(seq=event.seq)}}}}}'
    world.run(
        "INSERT INTO dead_letters_raw (topic, kafka_offset, parked_at, raw_key, raw_value)"
        f""" VALUES ('t', 0, now64(6), '{{"payment_id":"{event.payment_id}"}}', '{value}')"""
    )
    assert compare(world).invisible == invisible


def test_an_empty_table_has_nothing_to_compare(new_world: World) -> None:
    assert compare(new_world) == Ends(limit_seconds=AT_ONCE, compared=0)


def test_the_index_says_where_the_newest_are(world: World) -> None:
    with psycopg.connect(world.database.reader) as session:
        session.execute("SET LOCAL enable_seqscan = off")
        plan = session.execute(
            "EXPLAIN SELECT seq FROM payments WHERE recorded_at >= now() - interval '10 s'"
        ).fetchall()
    scans = [line for (line,) in plan if "Bitmap Index Scan" in line]
    assert len(scans) == 16, plan
    assert all("_recorded_at_idx" in line for line in scans), plan
