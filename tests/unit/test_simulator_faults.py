"""Seeded faults: each decision is the same in every run, and as frequent as the plan says."""

import sqlite3
from collections import Counter
from pathlib import Path
from uuid import uuid4, uuid5

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigurationError
from simulators.clock import Clock, Tasks
from simulators.database import Database
from simulators.faults import (
    NOTHING,
    PROMPT,
    Chosen,
    FaultRequest,
    Faults,
    Plan,
    RequestFault,
    draw,
    identity_of,
)
from simulators.settings import SimulatorSettings

MIXED = Plan(
    timeout_after_commit=0.1,
    http_500=0.1,
    http_500_after_commit=0.1,
    http_429=0.1,
    http_409=0.1,
    slow_seconds=(0.5, 2.0),
)
IDENTITIES = [
    identity_of("POST", "/v1/payment_intents", f"purser-{number}-1") for number in range(2000)
]


def planned(plan: Plan, seed: int = 7) -> Faults:
    faults = Faults()
    faults.put(FaultRequest(seed=seed, plan=plan))
    return faults


def chosen(faults: Faults, identities: list[str], *, changes: bool = True) -> dict[str, Chosen]:
    return {each: faults.of_request(each, changes=changes) for each in identities}


def test_a_draw_is_a_fixed_number() -> None:
    assert draw(7, "fault", "a", 1) == draw(7, "fault", "a", 1)
    assert draw(7, "fault", "a", 1) != draw(8, "fault", "a", 1)
    lots = [draw(1, number) for number in range(10_000)]
    assert all(0 <= lot < 1 for lot in lots)
    assert 0.48 < sum(lots) / len(lots) < 0.52


def test_no_plan_no_faults() -> None:
    faults = Faults()
    assert faults.of_request("a", changes=True) is NOTHING
    assert faults.of_webhook("a", "we_1") is PROMPT
    assert faults.of_payout("eur 1") is None


def test_the_order_of_requests_does_not_matter() -> None:
    forwards = chosen(planned(MIXED), IDENTITIES)
    backwards = chosen(planned(MIXED), IDENTITIES[::-1])
    assert forwards == backwards
    assert forwards != chosen(planned(MIXED, seed=8), IDENTITIES)


def test_faults_are_as_frequent_as_planned() -> None:
    counts = Counter(each.fault for each in chosen(planned(MIXED), IDENTITIES).values())
    for fault in RequestFault:
        assert 150 < counts[fault] < 250, fault
    assert 900 < counts[None] < 1100


def test_reads_have_no_faults_of_work_that_is_done() -> None:
    faults = {each.fault for each in chosen(planned(MIXED), IDENTITIES, changes=False).values()}
    assert faults == {None, RequestFault.HTTP_500, RequestFault.HTTP_429}


def test_the_second_try_of_a_key_is_a_draw_of_its_own() -> None:
    faults = planned(MIXED)
    first, second = chosen(faults, IDENTITIES), chosen(faults, IDENTITIES)
    assert first != second
    faults.put(faults.request)
    assert chosen(faults, IDENTITIES) == first


def test_delays_are_within_their_limits() -> None:
    plan = Plan(slow_seconds=(0.5, 2.0), latency_seconds=0.1, hang_seconds=3.0)
    delays = [each.delay_seconds for each in chosen(planned(plan), IDENTITIES).values()]
    assert 0.6 <= min(delays) < 0.7
    assert 2.0 < max(delays) < 2.1
    hangs = Counter(each.hang_seconds for each in chosen(planned(plan), IDENTITIES).values())
    assert set(hangs) == {0.0, 3.0}


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        (None, ""),
        ("purser-7-1", " purser-7-1"),
        (f"purser-{uuid5(uuid4(), 'x')}-1", None),
        (str(uuid4()), ""),
        (f"stripe-node-retry-{uuid4()}", ""),
        (str(uuid4()).upper(), ""),
    ],
)
def test_a_random_key_tells_nothing(key: str | None, kept: str | None) -> None:
    kept = f" {key}" if kept is None else kept
    assert identity_of("POST", "/v1/refunds", key) == f"POST /v1/refunds{kept}"


def test_webhooks_are_lost_doubled_and_late_as_planned() -> None:
    plan = Plan(webhook_lost=0.2, webhook_duplicated=0.3, webhook_delayed_seconds=(10, 20))
    decided = [planned(plan).of_webhook(each, "we_1") for each in IDENTITIES]
    assert 320 < sum(each.lost for each in decided) < 480
    kept = [each for each in decided if not each.lost]
    assert {len(each.delays_seconds) for each in kept} == {1, 2}
    assert all(10 <= delay <= 20 for each in kept for delay in each.delays_seconds)
    assert decided == [planned(plan).of_webhook(each, "we_1") for each in IDENTITIES]


def test_payouts_fail_within_five_days() -> None:
    faults = planned(Plan(paid_then_failed=0.5))
    days = [faults.of_payout(f"eur {day}") for day in range(400)]
    failing = [each for each in days if each is not None]
    assert 150 < len(failing) < 250
    assert all(0 < each < 5 for each in failing)


@pytest.mark.parametrize(
    "plan",
    [
        {"http_500": -0.1},
        {"http_500": 1.1},
        {"http_500": True},
        {"http_500": "0.1"},
        {"http_500": float("nan")},
        {"http_500": 0.6, "http_429": 0.6},
        {"slow_seconds": [2, 1]},
        {"slow_seconds": 1},
        {"unknown": 0.1},
    ],
)
def test_plans_that_are_refused(plan: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        FaultRequest.model_validate({"seed": 1, "plan": plan})


# ---- clock and settings


def test_time_is_real_time_plus_what_was_advanced_and_never_goes_back(tmp_path: Path) -> None:
    moment = [1000.0]
    database = Database(tmp_path / "x.sqlite3")
    clock = Clock(database, lambda: moment[0])
    assert clock.now() == 1000
    moment[0] = 990.0
    assert clock.now() == 1000
    moment[0] = 1010.0
    clock.move_to(2000)
    assert clock.now() == 2000
    moment[0] = 1020.0
    assert clock.now() == 2010
    clock.move_to(1500)
    assert clock.now() == 2010
    assert Clock(database, lambda: moment[0]).now() == 2010
    database.close()


def test_tasks_come_in_the_order_of_their_time(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    tasks = Tasks(database)
    earlier: list[str] = []
    tasks.on_earlier = lambda: earlier.append("x")
    for due, subject in ((30.0, "c"), (10.0, "a"), (20.0, "b")):
        tasks.add("task", subject, due)
    assert len(earlier) == 2
    assert tasks.next_due() == 10.0
    assert [tasks.take(25.0) for _ in range(3)] == [("task", "a", 10.0), ("task", "b", 20.0), None]
    assert tasks.known("task")
    assert tasks.take(30.0) == ("task", "c", 30.0)
    assert not tasks.known("task")
    database.close()


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    with pytest.raises(ZeroDivisionError), database.transaction():
        database.keep_meta("a", "1")
        _ = 1 / 0
    assert database.meta("a") is None
    with database.transaction():
        database.keep_meta("a", "1")
    with database.reading() as other:
        assert other.execute("SELECT value FROM meta").fetchall() == [("1",)]
    database.close()


def test_a_full_disk_ends_a_transaction_and_the_next_one_works(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    pages = int(database.row("PRAGMA page_count")[0])
    database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"), database.transaction():
        database.keep_meta("big", "x" * 100_000)
    assert not database.connection.in_transaction
    database.execute("PRAGMA max_page_count = 1000000")
    with database.transaction():
        database.keep_meta("big", "x" * 100_000)
    assert database.meta("big") is not None
    database.close()


def test_two_writers_of_one_file_are_refused(tmp_path: Path) -> None:
    database = Database(tmp_path / "x.sqlite3")
    with pytest.raises(ConfigurationError, match="PURSER_HOME: another simulator"):
        Database(tmp_path / "x.sqlite3")
    database.close()
    Database(tmp_path / "x.sqlite3").close()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SIMULATOR_URL", "https://127.0.0.1:9000"),
        ("SIMULATOR_URL", "http://127.0.0.1"),
        ("SIMULATOR_URL", "http://127.0.0.1:port"),
        ("SIMULATOR_URL", "http://127.0.0.1:9000/path"),
        ("SIMULATOR_LATENCY_SECONDS", "-1"),
        ("SIMULATOR_LATENCY_SECONDS", "nan"),
        ("SIMULATOR_WEBHOOK_URL", "ftp://x"),
        ("STRIPE_API_KEY", ""),
    ],
)
def test_bad_settings_are_refused_by_their_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv("PURSER_SIMULATOR_URL", "http://127.0.0.1:9000")
    monkeypatch.setenv(f"PURSER_{name}", value)
    with pytest.raises(ConfigurationError, match=f"PURSER_{name}: "):
        SimulatorSettings.load()


def test_secrets_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_STRIPE_WEBHOOK_SECRET", "whsec_new, whsec_old,")
    settings = SimulatorSettings.load(simulator_url="http://127.0.0.1:9000/")
    assert settings.webhook_secrets == ("whsec_new", "whsec_old")
    assert (settings.simulator_url, settings.port) == ("http://127.0.0.1:9000", 9000)
    assert "payment_intent.succeeded" in settings.webhook_events
    assert "whsec" not in repr(settings)
