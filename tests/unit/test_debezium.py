"""The Debezium connector: its configuration, Connect's answers, the slot's judgement."""

from collections.abc import Callable

import httpx
import pytest

from connectors.debezium.client import ConnectClient, ConnectorHealth, TaskHealth
from connectors.debezium.config import SNAPSHOT_CONDITION, connector_config
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import SlotHealth
from connectors.debezium.topic import topic_config
from operations import bring_up
from schemas.errors import ConfigurationError, ServiceUnavailable
from stack.credentials import Credentials
from stack.endpoints import Endpoints
from stack.settings import StackSettings

Handler = Callable[[httpx.Request], httpx.Response]
CONFIG = {"tasks.max": "1"}


def client(handler: Handler) -> ConnectClient:
    return ConnectClient(
        "http://connect", retry_seconds=0.3, transport=httpx.MockTransport(handler)
    )


def slot(**changes: object) -> SlotHealth:
    values: dict[str, object] = {
        "name": "purser",
        "active": True,
        "wal_status": "reserved",
        "invalidation_reason": None,
        "lag_bytes": 1_000,
        "safe_bytes": 1_000_000,
        "heartbeat_age_seconds": 2.0,
    }
    return SlotHealth(**{**values, **changes})  # type: ignore[arg-type]


def test_configuration_holds_what_rows_were_lost_without() -> None:
    config = connector_config(DebeziumSettings(heartbeat_seconds=2, topic_partitions=7))
    expected = {
        "exactly.once.support": "required",
        "message.key.columns": "public.payments:payment_id",
        "table.include.list": "public.payments",
        "publication.autocreate.mode": "disabled",
        "offset.mismatch.strategy": "trust_offset",
        "slot.failover": "true",
        "producer.override.transaction.timeout.ms": "10000",
        "errors.max.retries": "-1",
        "heartbeat.interval.ms": "2000",
        "topic.creation.default.partitions": "7",
        "topic.creation.default.retention.ms": "-1",
        "database.password": "${env:PURSER_CDC_PASSWORD}",
    }
    assert expected.items() <= config.items()
    assert all(isinstance(value, str) for value in config.values())


def test_connect_creates_the_topic_as_purser_does() -> None:
    config = connector_config(DebeziumSettings())
    for name, value in topic_config(DebeziumSettings()).items():
        assert config[f"topic.creation.default.{name}"] == value


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_PORT", "0"),
        ("TOPIC_PARTITIONS", "-1"),
        ("HEARTBEAT_SECONDS", "0"),
        ("SLOT", "Purser-Slot"),
        ("DATABASE_HOST", ""),
    ],
)
def test_bad_setting_is_refused_by_its_name(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(f"PURSER_DEBEZIUM_{variable}", value)
    with pytest.raises(ConfigurationError, match=f"PURSER_DEBEZIUM_{variable}: .*correct it"):
        DebeziumSettings.load()


def test_registering_the_same_again_sends_nothing() -> None:
    methods: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        methods.append(request.method)
        return httpx.Response(200, json={"name": "x", **CONFIG})

    with client(handler) as connect:
        assert connect.register("x", CONFIG) is False
        assert connect.register("x", {**CONFIG, "more": "1"}) is True
    assert methods == ["GET", "GET", "PUT"]


def test_rebalancing_connect_is_asked_again() -> None:
    answers = [httpx.Response(409, json={"message": "rebalance"}), httpx.Response(404)]
    answers.append(httpx.Response(201, json={}))
    with client(lambda _: answers.pop(0)) as connect:
        assert connect.register("x", CONFIG) is True
    assert not answers


def test_refused_configuration_is_not_tried_again() -> None:
    calls = []

    def handler(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        if request.method == "GET":
            return httpx.Response(404)
        return httpx.Response(400, json={"message": "slot.name:\n is empty"})

    with client(handler) as connect, pytest.raises(ConfigurationError, match=r"slot.name: is emp"):
        connect.register("x", CONFIG)
    assert len(calls) == 2


def test_connect_that_is_down_is_unavailable() -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with client(handler) as connect, pytest.raises(ServiceUnavailable, match="does not answer at"):
        connect.health("x")


def test_running_connector_with_a_failed_task_is_not_healthy() -> None:
    body = {
        "connector": {"state": "RUNNING"},
        "tasks": [{"id": 0, "state": "FAILED", "trace": "PSQLException: no slot\n\tat Main\n"}],
    }
    with client(lambda _: httpx.Response(200, json=body)) as connect:
        health = connect.health("x")
        assert health.failed
        assert not health.healthy
        assert health.problem() == "task 0 is FAILED: PSQLException: no slot"
        with pytest.raises(ServiceUnavailable, match="task 0 is FAILED: PSQLException: no slot"):
            connect.wait_healthy("x", timeout_seconds=5)


@pytest.mark.parametrize(
    ("state", "task_states", "healthy"),
    [
        ("RUNNING", ("RUNNING",), True),
        ("RUNNING", (), False),
        ("RUNNING", ("RUNNING", "UNASSIGNED"), False),
        ("PAUSED", ("RUNNING",), False),
        ("UNREGISTERED", (), False),
    ],
)
def test_connector_is_healthy_only_with_all_its_tasks(
    state: str, task_states: tuple[str, ...], healthy: bool
) -> None:
    tasks = tuple(
        TaskHealth(number=number, state=each, error=None) for number, each in enumerate(task_states)
    )
    health = ConnectorHealth(name="x", state=state, error=None, tasks=tasks)
    assert health.healthy is healthy
    assert bool(health.problem()) is not healthy


@pytest.mark.parametrize(
    ("health", "words"),
    [
        (slot(), None),
        (slot(wal_status="extended"), None),
        (slot(wal_status=None), "does not exist"),
        (slot(wal_status="lost", active=False, invalidation_reason="wal_removed"), "IS LOST"),
        (slot(active=False), "nobody reads"),
        (slot(wal_status="unreserved"), "about to be lost"),
        (slot(lag_bytes=900, safe_bytes=100), "about to be lost"),
        (slot(heartbeat_age_seconds=31.0), "last heartbeat is 31 s old"),
        (slot(heartbeat_age_seconds=None), "never written its heartbeat"),
    ],
)
def test_slot_tells_its_worst_problem_first(health: SlotHealth, words: str | None) -> None:
    problems = health.problems(heartbeat_seconds=5.0)
    if words is None:
        assert problems == ()
    else:
        assert words in problems[0]


@pytest.mark.parametrize(
    ("state", "repair", "words"),
    [
        ("STOPPED", {}, "is STOPPED and was left alone"),
        ("PAUSED", {}, "is PAUSED and was left alone"),
        ("STOPPED", {SNAPSHOT_CONDITION: "public.payments"}, "is configured by a repair"),
        ("RUNNING", {SNAPSHOT_CONDITION: "public.payments"}, "is configured by a repair"),
    ],
)
def test_up_leaves_a_connector_to_its_repair(
    monkeypatch: pytest.MonkeyPatch, state: str, repair: dict[str, str], words: str
) -> None:
    asked, said = [], list[str]()

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=connector_config(DebeziumSettings()) | repair)
        return httpx.Response(200, json={"connector": {"state": state}, "tasks": []})

    monkeypatch.setattr(bring_up, "lower_transaction_version", lambda *_: False)
    monkeypatch.setattr(bring_up, "ensure_topic", lambda *_: False)
    monkeypatch.setattr(bring_up, "ConnectClient", lambda _url: client(handler))
    monkeypatch.setattr(bring_up, "CONNECTOR_SECONDS", 0.0)
    monkeypatch.setattr(bring_up, "read_slot", lambda *_: pytest.fail("nobody reads the slot"))
    endpoints = Endpoints.of(StackSettings(), Credentials())
    bring_up.register_local_connector(endpoints, said.append)
    assert set(asked) == {"GET"}
    assert words in said[0]
    assert "`purser repair slot --apply` goes on" in said[0]


@pytest.mark.parametrize("lowered", [True, False])
def test_a_connector_is_restarted_after_the_version_of_transactions_was_lowered(
    monkeypatch: pytest.MonkeyPatch, lowered: bool
) -> None:
    settings, restarts = DebeziumSettings(), list[str]()

    def handler(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            restarts.append(f"{request.url.path}?{request.url.query.decode()}")
            return httpx.Response(202)
        if request.url.path.endswith("/config"):
            return httpx.Response(200, json=connector_config(settings))
        tasks = [{"id": 0, "state": "RUNNING"}]
        return httpx.Response(200, json={"connector": {"state": "RUNNING"}, "tasks": tasks})

    monkeypatch.setattr(bring_up, "lower_transaction_version", lambda *_: lowered)
    monkeypatch.setattr(bring_up, "ensure_topic", lambda *_: False)
    monkeypatch.setattr(bring_up, "ConnectClient", lambda _url: client(handler))
    said = list[str]()
    assert bring_up.register_connector("kafka:9092", "http://connect", settings, said.append)
    expected = [f"/connectors/{settings.connector}/restart?includeTasks=true"] if lowered else []
    assert restarts == expected
    assert any("restart Kafka Connect" in line for line in said) is lowered


def test_up_refuses_a_lost_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints.of(StackSettings(), Credentials())
    monkeypatch.setattr(bring_up, "register_connector", lambda *_: True)
    monkeypatch.setattr(bring_up, "read_slot", lambda *_: slot(active=False, wal_status="lost"))
    with pytest.raises(ServiceUnavailable, match="REPLICATION SLOT purser IS LOST"):
        bring_up.register_local_connector(endpoints, print)


def test_up_waits_until_debezium_reads_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [slot(wal_status=None, active=False), slot(active=False), slot()]
    monkeypatch.setattr(bring_up, "register_connector", lambda *_: True)
    monkeypatch.setattr(bring_up, "POLL_SECONDS", 0.0)
    monkeypatch.setattr(bring_up, "read_slot", lambda *_: answers.pop(0))
    bring_up.register_local_connector(Endpoints.of(StackSettings(), Credentials()), print)
    assert not answers
