"""Repairs: facts lead to problems and steps, counts lead to what a snapshot sends."""

from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import MagicMock

import psycopg
import pytest

from connectors.debezium.client import ConnectorHealth, TaskHealth
from connectors.debezium.config import (
    SNAPSHOT_CONDITION,
    connector_config,
    with_partial_snapshot,
    with_whole_snapshot,
)
from connectors.debezium.publication import OPERATIONS, TABLES, Publication, PublishedTable
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import SlotHealth
from operations.repair import (
    Facts,
    Part,
    RepairSettings,
    Step,
    TopicFacts,
    extent,
    make_plan,
    world,
)
from operations.repair.extent import extent_of
from operations.repair.patience import Patience
from schemas.errors import ServiceUnavailable

SLOT = SlotHealth(
    name="purser",
    active=True,
    wal_status="reserved",
    invalidation_reason=None,
    lag_bytes=1_000,
    safe_bytes=1_000_000,
    heartbeat_age_seconds=2.0,
)
NO_SLOT = replace(SLOT, active=False, wal_status=None)
LOST = replace(SLOT, active=False, wal_status="lost", invalidation_reason="wal_removed")
IDLE = replace(SLOT, active=False)
PUBLICATION = Publication(
    name="purser",
    exists=True,
    tables=tuple(PublishedTable(name=name) for name in TABLES),
    operations=OPERATIONS,
    via_root=True,
)
NO_PUBLICATION = Publication(name="purser", exists=False)
ONLY_UPDATES = replace(PUBLICATION, operations=("update",))
NO_HEARTBEAT = replace(PUBLICATION, tables=PUBLICATION.tables[1:])
TOPIC = TopicFacts(name="payments")
NO_TOPIC = replace(TOPIC, exists=False)
ANEW = replace(TOPIC, made_anew=True, stale_positions=True)
RUNNING = ConnectorHealth(
    name="c",
    state="RUNNING",
    error=None,
    tasks=(TaskHealth(number=0, state="RUNNING", error=None),),
)
STOPPED = replace(RUNNING, state="STOPPED", tasks=())
PAUSED = replace(RUNNING, state="PAUSED")
UNREGISTERED = replace(STOPPED, state="UNREGISTERED")
FAILED = replace(RUNNING, tasks=(TaskHealth(number=0, state="FAILED", error="slot is gone"),))
STREAMING = {"lsn": 1_000}
IN_SNAPSHOT = {"lsn": 900, "snapshot": "INITIAL"}

MEASURED = (
    Step.MEASURE,
    Step.STOP_CONNECTOR,
    Step.DROP_SLOT,
    Step.FORGET_OFFSETS,
    Step.SNAPSHOT,
    Step.AWAIT_STREAM,
    Step.WHOLE_CONFIG,
    Step.VERIFY,
)
PUBLISHED = (*MEASURED[:3], Step.MAKE_PUBLICATION, *MEASURED[3:])
FILLED = (
    *MEASURED[:4],
    Step.FORGET_PROGRESS,
    *MEASURED[4:6],
    Step.FORGET_LATE_PROGRESS,
    Step.FORGET_TOPICS,
    Step.REBUILD_POSITIONS,
    Step.VERIFY,
)


def facts(**changes: object) -> Facts:
    values: dict[str, object] = {
        "connector": RUNNING,
        "offset": STREAMING,
        "partial_snapshot": False,
        "slot": SLOT,
        "slot_position": 1_000,
        "may_drop_slot": True,
        "publication": PUBLICATION,
        "topic": TOPIC,
        "dead_letters_topic": "dead",
        "dead_letters_exist": True,
    }
    return Facts(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("part", list(Part))
def test_nothing_wrong_is_nothing_to_do(part: Part) -> None:
    plan = make_plan(part, facts())
    assert plan.problems == plan.steps == ()
    assert plan.refused == ""


@pytest.mark.parametrize(
    ("part", "changes", "words", "steps"),
    [
        (Part.SLOT, {"slot": LOST, "connector": FAILED}, "IS LOST (wal_removed)", MEASURED),
        (Part.SLOT, {"slot": NO_SLOT, "slot_position": None}, "does not exist", MEASURED),
        (Part.SLOT, {"slot_position": 1_001}, "begins after Debezium's position", MEASURED),
        (
            Part.SLOT,
            {"slot": NO_SLOT, "slot_position": None, "connector": UNREGISTERED, "offset": None},
            "does not exist",
            (Step.MEASURE, Step.REGISTER_STOPPED, *MEASURED[2:]),
        ),
        # Where an interrupted repair goes on.
        (
            Part.SLOT,
            {"slot": NO_SLOT, "slot_position": None, "connector": STOPPED, "offset": None},
            "does not exist",
            MEASURED,
        ),
        (
            Part.SLOT,
            {"slot": IDLE, "offset": IN_SNAPSHOT, "partial_snapshot": True},
            "interrupted",
            (Step.AWAIT_STREAM, Step.WHOLE_CONFIG, Step.VERIFY),
        ),
        (
            Part.SLOT,
            {"partial_snapshot": True},
            "interrupted",
            (Step.WHOLE_CONFIG, Step.VERIFY),
        ),
        # A snapshot that begins now would not be the slot's own.
        (
            Part.SLOT,
            {"connector": STOPPED, "slot": IDLE, "offset": None},
            "slot purser has no snapshot",
            MEASURED,
        ),
        (
            Part.SLOT,
            {"connector": PAUSED, "slot": IDLE, "offset": IN_SNAPSHOT},
            "slot purser has no snapshot",
            MEASURED,
        ),
        # Nothing was lost.
        (
            Part.SLOT,
            {"connector": STOPPED, "slot": IDLE},
            "connector c is STOPPED",
            (Step.RESUME, Step.AWAIT_STREAM, Step.VERIFY),
        ),
        (
            Part.SLOT,
            {"connector": UNREGISTERED, "slot": IDLE},
            "connector c is UNREGISTERED",
            (Step.REGISTER, Step.AWAIT_STREAM, Step.VERIFY),
        ),
        (Part.PUBLICATION, {"publication": NO_PUBLICATION}, "does not exist", PUBLISHED),
        (Part.PUBLICATION, {"publication": ONLY_UPDATES}, "not publish inserts", PUBLISHED),
        (
            Part.PUBLICATION,
            {"publication": NO_HEARTBEAT},
            "lacks table public.heartbeat",
            (Step.MAKE_PUBLICATION, Step.VERIFY),
        ),
        # Killed after it had made the publication.
        (
            Part.PUBLICATION,
            {"slot": NO_SLOT, "slot_position": None, "connector": STOPPED},
            "replication slot purser does not exist",
            MEASURED,
        ),
        (
            Part.TOPIC,
            {"topic": NO_TOPIC},
            "does not exist",
            (*FILLED[:4], Step.CREATE_TOPIC, *FILLED[4:]),
        ),
        (Part.TOPIC, {"topic": ANEW}, "deleted and made anew", FILLED),
        (
            Part.TOPIC,
            {"topic": replace(TOPIC, cut_off=(2,))},
            "in partitions 2",
            (*FILLED[:4], Step.DELETE_TOPIC, Step.CREATE_TOPIC, *FILLED[4:]),
        ),
        (
            Part.TOPIC,
            {"topic": ANEW, "publication": NO_PUBLICATION},
            "deleted and made anew",
            (*FILLED[:3], Step.MAKE_PUBLICATION, *FILLED[3:]),
        ),
        (
            Part.TOPIC,
            {"topic": ANEW, "slot": IDLE, "offset": IN_SNAPSHOT},
            "deleted and made anew",
            (Step.FORGET_PROGRESS, Step.AWAIT_STREAM, *FILLED[-4:]),
        ),
        # The running snapshot is only a part.
        (
            Part.TOPIC,
            {"topic": ANEW, "slot": IDLE, "offset": IN_SNAPSHOT, "partial_snapshot": True},
            "deleted and made anew",
            FILLED,
        ),
        (
            Part.TOPIC,
            {"topic": replace(TOPIC, stale_positions=True)},
            "name offsets",
            (Step.FORGET_PROGRESS, Step.REBUILD_POSITIONS, Step.VERIFY),
        ),
        (
            Part.TOPIC,
            {"topic": replace(ANEW, wrong_config={"retention.ms": ("1", "-1")})},
            "deleted and made anew",
            (*FILLED[:4], Step.CONFIGURE_TOPIC, *FILLED[4:]),
        ),
        (
            Part.TOPIC,
            {"dead_letters_exist": False},
            "topic dead does not exist",
            (Step.CREATE_DEAD_LETTERS, Step.VERIFY),
        ),
    ],
)
def test_each_problem_has_its_steps(
    part: Part, changes: dict[str, object], words: str, steps: tuple[Step, ...]
) -> None:
    plan = make_plan(part, facts(**changes))
    assert words in plan.problems[0]
    assert plan.steps == steps
    assert plan.refused == ""


@pytest.mark.parametrize(
    ("part", "changes", "other"),
    [
        (Part.SLOT, {"slot": LOST, "publication": ONLY_UPDATES}, "repair publication"),
        (Part.SLOT, {"slot": LOST, "topic": NO_TOPIC}, "repair topic"),
        (Part.PUBLICATION, {"publication": NO_PUBLICATION, "topic": ANEW}, "repair topic"),
    ],
)
def test_the_repair_that_heals_both_is_named(
    part: Part, changes: dict[str, object], other: str
) -> None:
    plan = make_plan(part, facts(**changes))
    assert plan.problems
    assert plan.steps == ()
    assert f"`purser {other}` heals this as well" in plan.refused


def test_an_owner_without_the_right_is_told_how_to_get_it() -> None:
    plan = make_plan(Part.SLOT, facts(slot=LOST, may_drop_slot=False))
    assert plan.steps == ()
    assert "GRANT purser_cdc TO purser_owner" in plan.refused


def test_all_of_history_is_sent_when_asked_for_or_needed() -> None:
    lost = facts(slot=LOST)
    assert not make_plan(Part.SLOT, lost).everything
    assert make_plan(Part.SLOT, lost, everything=True).everything
    assert make_plan(Part.TOPIC, facts(topic=ANEW)).everything


def test_force_takes_a_snapshot_without_a_problem() -> None:
    assert make_plan(Part.SLOT, facts(), force=True).steps == MEASURED
    assert make_plan(Part.TOPIC, facts(), force=True).steps == FILLED
    assert make_plan(Part.TOPIC, facts(), force=True).everything


NOW = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
HOUR = int(NOW.timestamp()) // 3600
"""Noon; a transaction may have been open since half past midnight."""


@pytest.mark.parametrize(
    ("recorded", "arrived", "missing", "to_send", "since_hours_ago"),
    [
        ({}, {}, 0, 0, 12),
        ({HOUR: 5, HOUR - 20: 9}, {HOUR: 5, HOUR - 20: 9}, 0, 5, 12),
        ({HOUR - 12: 3, HOUR - 13: 4}, {HOUR - 12: 3, HOUR - 13: 4}, 0, 3, 12),
        ({HOUR: 5, HOUR - 20: 9}, {HOUR: 2, HOUR - 20: 9}, 3, 5, 12),
        ({HOUR: 5, HOUR - 20: 9, HOUR - 30: 7}, {HOUR: 5, HOUR - 20: 8, HOUR - 30: 7}, 1, 14, 20),
        ({HOUR - 20: 9, HOUR - 30: 7}, {HOUR - 20: 9}, 7, 16, 30),
        # PostgreSQL was restored: what it has lost may hide what the views lack.
        ({HOUR: 5, HOUR - 20: 9}, {HOUR: 5, HOUR - 20: 10}, 0, 14, 20),
        ({HOUR: 5, HOUR - 20: 9}, {HOUR: 5, HOUR - 20: 9, HOUR - 30: 1}, 0, 14, 30),
        # A row whose time is seen in another hour never hides a missing one.
        ({HOUR - 20: 9, HOUR - 21: 9}, {HOUR - 20: 10, HOUR - 21: 8}, 1, 18, 21),
    ],
)
def test_a_snapshot_begins_with_the_first_hour_that_lacks_an_event(
    recorded: dict[int, int],
    arrived: dict[int, int],
    missing: int,
    to_send: int,
    since_hours_ago: int,
) -> None:
    found = extent_of(recorded, arrived, NOW)
    assert (found.missing, found.to_send) == (missing, to_send)
    assert found.events == sum(recorded.values())
    assert found.since == NOW.replace(minute=0) - timedelta(hours=since_hours_ago)


def test_the_last_hours_are_those_before_the_first_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [NOW]

    class Clock(datetime):
        @classmethod
        def now(cls, _zone: object = None) -> datetime:  # type: ignore[override]
            return clock[0]

    def count(_sql: str) -> list[tuple[int, int]]:
        clock[0] += timedelta(hours=3)
        return []

    views, session = MagicMock(), MagicMock()
    views.return_value.__enter__.return_value.rows = count
    session.return_value.__enter__.return_value.execute.return_value.fetchall.return_value = []
    monkeypatch.setattr(extent, "datetime", Clock)
    monkeypatch.setattr(extent, "Views", views)
    monkeypatch.setattr(psycopg, "connect", session)
    found = extent.measure(MagicMock(), everything=False, on_progress=lambda *_: None)
    assert found.since == NOW.replace(minute=0) - timedelta(hours=12)


Look = tuple[ConnectorHealth, int, bool, float]
"""The connector's health, the events sent, whether the slot is read, and when."""


@pytest.mark.parametrize(
    ("looks", "words"),
    [
        ([(RUNNING, 0, False, 0.0), (RUNNING, 0, False, 9_999.0)], ""),
        ([(FAILED, 0, False, 0.0), (FAILED, 0, False, 179.0)], ""),
        ([(FAILED, 0, False, 0.0), (FAILED, 0, False, 181.0)], "task 0 is FAILED: slot is gone"),
        # A restarted task is RUNNING until it fails again.
        (
            [(FAILED, 0, False, 0.0), (RUNNING, 0, False, 100.0), (FAILED, 0, False, 181.0)],
            "task 0 is FAILED",
        ),
        ([(FAILED, 0, False, 0.0), (RUNNING, 0, False, 181.0)], ""),
        # It has done something in between.
        ([(FAILED, 0, False, 0.0), (RUNNING, 5, False, 100.0), (FAILED, 5, False, 181.0)], ""),
        ([(FAILED, 0, False, 0.0), (RUNNING, 0, True, 100.0), (FAILED, 0, False, 181.0)], ""),
        # Nobody starts it.
        ([(RUNNING, 0, False, 0.0), (STOPPED, 0, False, 1.0)], "connector c is STOPPED"),
        ([(RUNNING, 0, False, 0.0), (UNREGISTERED, 0, False, 1.0)], "connector c is UNREGISTERED"),
        ([(STOPPED, 0, False, 31.0)], "connector c is STOPPED"),
        # Connect has not begun yet to do what it was told.
        ([(STOPPED, 0, False, 1.0), (RUNNING, 0, False, 2.0)], ""),
    ],
)
def test_waiting_ends_when_debezium_does_nothing(looks: list[Look], words: str) -> None:
    patience = Patience(began=0.0)
    *earlier, last = looks
    for health, sent, active, now in earlier:
        patience.check(health, sent=sent, active=active, now=now)
    health, sent, active, now = last
    with pytest.raises(ServiceUnavailable, match=words) if words else nullcontext():
        patience.check(health, sent=sent, active=active, now=now)


def test_a_topic_that_is_not_gone_in_time_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world, "ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(world, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(world, "Brokers", MagicMock())  # it describes every topic
    admin = MagicMock()
    admin.return_value.delete_topics.return_value = {"payments": MagicMock()}
    monkeypatch.setattr(world, "admin_client", admin)
    settings = RepairSettings(
        postgres_admin_dsn="postgresql://owner@db/purser",
        postgres_reader_dsn="postgresql://reader@db/purser",
        clickhouse_url="http://clickhouse",
        kafka_bootstrap="kafka:9092",
        connect_url="http://connect",
    )
    servers = world.World(
        settings,
        DebeziumSettings(),
        everything=False,
        verify_seconds=1.0,
        on_step=lambda _text: None,
        on_progress=lambda *_: None,
    )
    with closing(servers), pytest.raises(ServiceUnavailable, match="still being deleted; run"):
        servers.do(Step.DELETE_TOPIC)


def test_a_partial_snapshot_is_configured_and_taken_back() -> None:
    config = connector_config(DebeziumSettings())
    partial = with_partial_snapshot(config, NOW)
    assert partial[SNAPSHOT_CONDITION] == "public.payments"
    assert partial[f"{SNAPSHOT_CONDITION}.public.payments"] == (
        "SELECT * FROM public.payments WHERE recorded_at >= '2026-03-01T12:30:00+00:00'"
    )
    assert with_whole_snapshot(partial) == config
