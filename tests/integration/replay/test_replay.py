"""`purser replay` on a whole stack under live traffic: the views come out the same, and right."""

import json
import time
import uuid
from functools import partial
from urllib.parse import urlsplit

import psycopg
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from msgspec.structs import replace

from bench.analyst import Analyst
from operations.replay.choice import Choice
from operations.replay.database import ReplayDatabase
from operations.replay.state import Exchange, Step
from tests.envelopes import EnvelopeProducer, some_events
from tests.integration.replay.outsiders import OUTSIDERS, listening, ports_called
from tests.integration.replay.world import (
    WORKER,
    World,
    kill,
    readers_of,
)
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

# What a replay says when a step begins, in order.
STEPS = (
    "build in database",
    "read ",
    "roll up the totals",
    "follow the topic and verify",
    "swap buyer_orders",
    "swap payouts",
    "swap ledger_entries",
    "swap seller_revenue",
    "swap payment_events",
    "follow the topic past the live worker",
    "verify the live tables",
)


def test_a_random_history_with_duplicates_and_kills_gives_bit_identical_tables(
    world: World,
) -> None:
    with world.traffic(seed=11):
        world.stack.kill(WORKER)
        world.send_again(500)
        time.sleep(2.0)
        world.stack.wait_ready(WORKER)
        world.stack.kill("kafka")
        time.sleep(2.0)
        world.stack.wait_ready("kafka")
        world.send_again(300)
    world.assert_equal()
    world.wait_quiet()
    world.replay()
    digests = world.digests()
    live, old = digests.values()
    assert live == old
    assert all(not text.startswith("0 ") for text in live.values()), live


def test_views_are_right_before_during_and_after_and_an_analyst_sees_nothing_wrong(
    world: World,
) -> None:
    analyst = Analyst(world.stack.endpoints.clickhouse_url, day="2011-01-01")
    with world.traffic(seed=12), analyst.asking():
        world.assert_equal()
        run = world.start("--json")
        assert run.wait_for("follow the topic and verify"), run.said
        world.assert_equal()
        assert run.finish() == 0, run.said
        world.assert_equal()
    assert analyst.answers > 5
    assert analyst.wrong == []
    document = json.loads(run.output)
    assert document["records"] > 20_000
    assert document["verify_before_swap"]["verdict"] == "equal"
    assert document["verify_after_swap"]["verdict"] == "equal"
    world.assert_equal()


def test_the_largest_rows_come_through_and_are_rebuilt(world: World) -> None:
    """Debezium, the topic, the worker, the sink and a replay take all that the table takes."""
    count = world.append_largest_rows()
    world.assert_equal()
    assert world.one("SELECT count() FROM payment_events WHERE length(details) > 60000") == count
    world.replay("--dry-run")


def test_damaged_views_are_mended_under_live_traffic(world: World) -> None:
    world.wait_quiet()
    world.remove("buyer_orders", "cityHash64(order_id) % 7 = 0")
    world.remove("ledger_entries", "cityHash64(payment_id) % 11 = 0")
    world.remove("payment_events", "cityHash64(payment_id) % 13 = 0")
    world.remove("recent_entries", "cityHash64(payment_id) % 5 = 0")
    world.remove("totals", "cityHash64(account_id) % 3 = 0")
    assert world.verify().exit_status == 1
    with world.traffic(seed=13):
        world.replay()
        world.assert_equal()


def test_a_replay_of_everything_calls_only_the_three_servers(world: World) -> None:
    endpoints = world.stack.endpoints
    postgres = urlsplit(endpoints.postgres_reader_dsn).port
    clickhouse = urlsplit(endpoints.clickhouse_url).port
    kafka = int(endpoints.kafka_bootstrap.rsplit(":", 1)[1])
    with listening() as outsiders:
        told = {
            variable: f"http://127.0.0.1:{outsiders[name].port}"
            for name, variables in OUTSIDERS.items()
            for variable in variables
        }
        run = world.start("--json", **told)
        seen = ports_called(run)
        assert run.finish() == 0, run.said
        assert {
            name: outsider.connections for name, outsider in outsiders.items()
        } == dict.fromkeys(OUTSIDERS, 0)
    assert seen == {postgres, clickhouse, kafka}


def test_it_goes_on_after_kill_9_at_every_step(world: World) -> None:
    reached = []
    with world.traffic(seed=14):
        for step in STEPS:
            run = world.start()
            if run.wait_for(step):
                reached.append(step)
                if step == "read ":
                    wait_until(partial(readers_of, run), "readers")
            run.kill()
        last = world.start()
        status = last.finish()
        # Killed when only the last look at the live tables was left, it is done already.
        assert status == 0 or "is done and its old tables are kept" in last.said, last.said
        world.assert_equal()
    assert reached == list(STEPS)
    world.wait_quiet()
    world.replay("--cleanup")
    world.replay()
    live, old = world.digests().values()
    assert live == old


@pytest.mark.usefixtures("reserved_disk")
def test_it_does_not_begin_without_room_for_a_second_copy(world: World) -> None:
    world.wait_quiet()
    rows = world.one("SELECT count() FROM payment_events")
    with world.full_disk():
        said = world.refused()
    assert "MiB free and a second copy of the views takes about" in said
    assert world.one("SELECT count() FROM payment_events") == rows
    world.assert_equal()


@pytest.mark.usefixtures("reserved_disk")
def test_it_stops_when_the_disk_fills_up_and_goes_on_once_there_is_room(world: World) -> None:
    with world.traffic(seed=19):
        run = world.start(PURSER_REPLAY_ROWS_MAX="500", PURSER_REPLAY_GIVE_UP_SECONDS="2")
        assert run.wait_for("read "), run.said
        with world.full_disk():
            assert run.finish() == 2, run.said
            assert "kept free; nothing was written" in run.lines[-1]
            assert "Traceback" not in run.said
            assert world.one("SELECT sum(amount_minor) FROM ledger_entries") == 0
        resumed = world.start("--json")
        assert resumed.finish() == 0, resumed.said
        # The live worker's own inserts were refused meanwhile: nothing of them may be missing.
        world.assert_equal()
    assert json.loads(resumed.output)["resumed_at"] == "read"


def test_a_reader_that_dies_is_started_anew_where_it_stopped(world: World) -> None:
    run = world.start(PURSER_REPLAY_ROWS_MAX="500")
    assert run.wait_for("read "), run.said
    kill(wait_until(lambda: readers_of(run), "readers")[0])
    assert run.finish() == 0, run.said
    world.assert_equal()


@pytest.mark.parametrize("server", ["clickhouse", "kafka", "postgres"])
def test_a_server_that_dies_half_way_costs_nothing(world: World, server: str) -> None:
    views = ("payouts", "seller_revenue")
    run = world.start(*views, PURSER_REPLAY_ROWS_MAX="500")
    assert run.wait_for("read "), run.said
    world.stack.kill(server)
    status = run.finish()
    world.stack.wait_ready(server)
    if status != 0:
        # It met the server's absence: then it says so, and is run again.
        assert status == 2, run.said
        assert "Traceback" not in run.said
        world.replay(*views)
    world.assert_equal()


def test_history_comes_from_postgresql_when_the_topic_has_lost_it(world: World) -> None:
    with world.traffic(seed=16):
        world.replay("--source", "postgres")
        world.assert_equal()
    assert world.one("SELECT count() FROM payment_events WHERE op = 'r'") > 20_000
    world.replay("--cleanup")
    world.replay()
    assert world.one("SELECT count() FROM payment_events WHERE op = 'r'") == 0


def test_after_a_rebuild_from_postgresql_an_event_that_waits_is_not_called_lost(
    world: World,
) -> None:
    payment_id = world.open_payment("rebuilt")
    world.wait_quiet()
    world.replay("payment_events", "--source", "postgres")
    with world.without_worker():
        world.capture(payment_id)
        report = world.verify(timeout_seconds=1.0)
    assert report.exit_status == 2, report.to_json()
    assert report.reason.startswith("lagging: 1 of "), report.reason
    world.assert_equal()
    world.replay("--rollback")
    world.assert_equal()


def test_a_topic_without_its_first_records_is_refused_with_the_way_out(world: World) -> None:
    bootstrap = world.stack.endpoints.kafka_bootstrap
    topic = f"cut_off_{uuid.uuid4().hex}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result()
    EnvelopeProducer(bootstrap, topic, topic).send(some_events(seed=3, count=100))
    place = TopicPartition(topic, 0, 50)
    admin.delete_records([place])[place].result()
    for mode in ((), ("--dry-run",)):
        line = world.refused(*mode, PURSER_PAYMENTS_TOPIC=topic)
        assert "begins at offset 50" in line
        assert "--source postgres" in line
    assert "does not exist" in world.refused(PURSER_PAYMENTS_TOPIC="no_such_topic")


def test_the_old_tables_come_back_up_to_date(world: World) -> None:
    with world.traffic(seed=17):
        world.replay("buyer_orders", "seller_revenue")
        time.sleep(2.0)  # what comes now, the old tables do not have
        world.replay("--rollback")
        world.assert_equal()
    assert "already done" in world.refused("--rollback")
    assert "was rolled back" in world.refused()
    world.replay("--cleanup")
    assert "nothing to roll back" in world.refused("--rollback")
    assert "nothing to drop" in world.replay("--cleanup").output


def test_a_rollback_that_the_topic_cannot_serve_changes_nothing(world: World) -> None:
    world.wait_quiet()
    world.replay("payouts")
    before = world.table_uuids()
    written = world.one("SELECT max(last_offset) FROM pipeline_progress_raw")
    topic = world.topic_that_begins_at(written + 2)  # the old tables lack what follows it
    line = world.refused("--rollback", PURSER_PAYMENTS_TOPIC=topic)
    assert "need its records from" in line
    assert "nothing was changed" in line
    assert world.table_uuids() == before
    with ReplayDatabase(world.stack.endpoints.clickhouse_url) as database:
        kept = database.state()
    assert kept is not None
    assert (kept.step, kept.rolled_back) == (Step.DONE, False)
    world.replay("--rollback")
    assert world.table_uuids() != before
    world.assert_equal()


def test_a_replay_that_nothing_can_finish_is_removed_by_force(world: World) -> None:
    world.replay("payouts")
    live = world.table_uuids()
    with ReplayDatabase(world.stack.endpoints.clickhouse_url) as database:
        done = database.state()
        assert done is not None
        foreign = Exchange(new=live["payouts_raw"], old="of-another-process")
        database.save(replace(done, step=Step.SWAP, exchanges={"payouts_raw": foreign}))
        assert "--cleanup --force" in world.refused("payouts")
        assert "--cleanup --force" in world.refused("--cleanup")
        database.save(replace(done, format=99))
        for mode in ((), ("--rollback",), ("--cleanup",)):
            assert "--cleanup --force" in world.refused(*mode)
    assert "run `purser verify`" in world.replay("--cleanup", "--force").said
    assert world.replay_databases() == 0
    assert world.table_uuids() == live
    world.assert_equal()


def test_a_swap_that_has_moved_nothing_is_cleaned_up(world: World) -> None:
    world.replay("payouts")
    live = world.table_uuids()
    with ReplayDatabase(world.stack.endpoints.clickhouse_url) as database:
        done = database.state()
        assert done is not None
        now = database.uuids(Choice.of(done.views).swapped)
        database.save(replace(done, step=Step.SWAP, exchanges=now))
    world.replay("--cleanup")
    assert world.replay_databases() == 0
    assert world.table_uuids() == live


def test_a_dry_run_tells_equal_from_damaged_and_swaps_nothing(world: World) -> None:
    world.wait_quiet()
    assert "live      equal" in world.replay("payouts", "--dry-run").output
    with world.traffic(seed=18):
        assert json.loads(world.replay("--dry-run", "--json").output)["status"] == "equal"
    world.wait_quiet()
    rows = world.one("SELECT count() FROM buyer_orders WHERE cityHash64(order_id) % 97 = 0")
    world.remove("buyer_orders", "cityHash64(order_id) % 97 = 0")
    before = world.table_uuids(), world.digests()
    run = world.start("buyer_orders", "seller_revenue", "--dry-run", "--json")
    assert run.finish() == 1, run.said
    document = json.loads(run.output)
    assert document["status"] == "differs"
    assert document["verify_rebuilt"]["verdict"] == "equal"
    wrong = [each for each in document["verify_live"]["checks"] if each["verdict"] != "equal"]
    assert [(each["name"], each["differences"]) for each in wrong] == [("buyer_orders", rows)]
    assert (world.table_uuids(), world.digests()) == before
    assert world.replay_databases() == 0
    world.replay("buyer_orders")
    world.assert_equal()


def test_a_dry_run_begins_afresh_and_disturbs_no_replay(world: World) -> None:
    run = world.start("payouts", "--dry-run")
    assert run.wait_for("follow the topic and verify"), run.said
    run.kill()
    world.replay("payouts")
    # The finished replay's old tables are kept meanwhile.
    assert json.loads(world.replay("payouts", "--dry-run", "--json").output)["status"] == "equal"
    assert world.replay_databases() == 1
    run = world.start("--dry-run")
    assert run.wait_for("read "), run.said
    run.kill()
    assert "_replay, " in world.replay("--cleanup").output
    assert world.replay_databases() == 0


def test_what_an_interrupted_drop_has_left_is_no_replay(world: World) -> None:
    world.replay("payouts")
    name = f"{world.client.database}_replay"
    world.client.command(f"DROP TABLE {name}.replay_state SYNC")
    world.client.command(f"DROP TABLE {name}.payouts_raw SYNC")
    world.replay("payouts")
    world.assert_equal()


def test_only_one_replay_at_a_time_and_only_with_the_same_views(world: World) -> None:
    with psycopg.connect(world.stack.endpoints.postgres_reader_dsn) as session:
        session.execute(
            "SELECT pg_advisory_lock(hashtextextended(%s, 0))", [f"replay {world.client.database}"]
        )
        assert "another one is running" in world.refused()
    first = world.start("payouts")
    assert first.wait_for("read "), first.said
    first.kill()
    assert "is unfinished" in world.refused("buyer_orders")
    assert "nothing to roll back" in world.refused("--rollback")
    world.replay("payouts")
    assert "its old tables are kept" in world.refused("payouts")


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (("orders",), {}, "'orders' cannot be replayed"),
        (("--digest", "--dry-run"), {}, "cannot be together"),
        (("--force", "--dry-run"), {}, "force: cannot be together with --dry-run"),
        (("--rate", "0"), {}, "rate: give records per second"),
        (("--processes", "999"), {}, "processes: give 1 to 256"),
        ((), {"PURSER_REPLAY_ROWS_MAX": "0"}, "PURSER_REPLAY_ROWS_MAX"),
        ((), {"PURSER_KAFKA_BOOTSTRAP": "127.0.0.1:9"}, "Kafka at 127.0.0.1:9 does not answer"),
        (
            (),
            {"PURSER_CLICKHOUSE_URL": "http://purser:x@127.0.0.1:9/purser"},
            "ClickHouse at 127.0.0.1:9 does not answer",
        ),
        (
            (),
            {"PURSER_POSTGRES_READER_DSN": "postgresql://x:y@127.0.0.1:9/purser"},
            "cannot read PostgreSQL",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    world: World, arguments: tuple[str, ...], settings: dict[str, str], message: str
) -> None:
    status = 64 if arguments else 2  # wrong usage, or a setting or a server
    assert message in world.refused(*arguments, status=status, **settings)
    assert world.replay_databases() == 0
