"""The connector's repair: what it restarts, when, and what it says meanwhile."""

import asyncio
import re
import socket
import threading
from time import monotonic

import httpx
import pytest
from confluent_kafka import KafkaError, KafkaException

from connectors.debezium.client import ConnectClient, ConnectorHealth, TaskHealth
from connectors.debezium.orphaned_transactions import OrphanedTransactionRepair
from connectors.debezium.supervisor import (
    PAUSE_SECONDS_MOST,
    ConnectorRepair,
    Repair,
    RestartPolicy,
    Rounds,
    SupervisorSettings,
    application,
)
from schemas.errors import ConfigurationError
from stack.ports import lend_port
from tests.waiting import wait_until


def _health(task: str, state: str = "RUNNING") -> ConnectorHealth:
    tasks = (TaskHealth(number=0, state=task, error=None),)
    return ConnectorHealth(name="c", state=state, error=None, tasks=tasks)


@pytest.mark.parametrize(
    ("health", "restarts"),
    [
        (_health("RUNNING"), False),
        (_health("PAUSED", "PAUSED"), False),
        (_health("UNASSIGNED"), False),
        (_health("FAILED"), True),
        (_health("RUNNING", "FAILED"), True),
    ],
)
def test_only_what_has_failed_is_restarted(health: ConnectorHealth, restarts: bool) -> None:
    assert RestartPolicy().decide(health, 0.0) is restarts


def test_pauses_double_while_restarting_does_not_help() -> None:
    policy = RestartPolicy()
    restarted_at = [now for now in range(300) if policy.decide(_health("FAILED"), float(now))]
    assert restarted_at == [0, 2, 6, 14, 30, 62, 122, 182, 242]
    assert policy.pause_seconds == PAUSE_SECONDS_MOST


def test_what_worked_for_a_while_is_restarted_at_once_when_it_fails_again() -> None:
    policy = RestartPolicy()
    assert policy.decide(_health("FAILED"), 0.0)
    assert policy.decide(_health("FAILED"), 2.0)
    assert not policy.decide(_health("RUNNING"), 7.0)
    assert policy.decide(_health("FAILED"), 8.0)
    assert not policy.decide(_health("FAILED"), 9.0)
    assert policy.decide(_health("FAILED"), 10.0)


def _status(state: str, tasks: list[str]) -> httpx.Response:
    """Connect's answer about a connector and its tasks."""
    numbered = [{"id": number, "state": each} for number, each in enumerate(tasks)]
    return httpx.Response(200, json={"connector": {"state": state}, "tasks": numbered})


def _connect(tasks: list[str]) -> tuple[ConnectorRepair, list[str]]:
    """A repair of a Connect whose task has these states one after the other."""
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path}")
        if request.method == "POST":
            return httpx.Response(204)
        if (state := tasks.pop(0)) == "DOWN":
            raise httpx.ConnectError("refused")
        task = {"id": 0, "state": state, "trace": "org.Broken: no\n\tat"}
        body = {"connector": {"state": "RUNNING"}, "tasks": [task]}
        return httpx.Response(200, json=body)

    client = ConnectClient(
        "http://connect", retry_seconds=0.0, transport=httpx.MockTransport(answer)
    )
    return ConnectorRepair(client, "c"), asked


def _health_answer(rounds: Repair | Rounds) -> httpx.Response:
    asked = rounds if isinstance(rounds, Rounds) else Rounds(rounds)

    async def get() -> httpx.Response:
        transport = httpx.ASGITransport(application(asked))
        async with httpx.AsyncClient(transport=transport, base_url="http://repair") as client:
            return await client.get("/health")

    return asyncio.run(get())


def test_a_failed_task_is_restarted_and_told() -> None:
    repair, asked = _connect(["FAILED", "RUNNING", "DOWN"])
    assert _health_answer(repair).status_code == 503
    repair.look(0.0)
    assert asked == ["GET /connectors/c/status", "POST /connectors/c/restart"]
    answer = _health_answer(repair)
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["task 0 is FAILED: org.Broken: no"]
    repair.look(1.0)
    assert _health_answer(repair).json() == {"status": "healthy", "reasons": [], "restarts": 1}
    repair.look(2.0)
    assert "does not answer" in _health_answer(repair).json()["reasons"][0]


def test_a_task_that_keeps_failing_is_told_also_while_it_runs_in_between() -> None:
    repair, asked = _connect(["FAILED", "RUNNING", "FAILED", "RUNNING", "RUNNING"])
    for now in (0.0, 1.0, 2.0, 3.0):  # the second restart is followed by a pause of 4 s
        repair.look(now)
    assert asked.count("POST /connectors/c/restart") == 2
    assert list(repair.reasons) == ["the connector keeps failing: task 0 is FAILED: org.Broken: no"]
    repair.look(6.0)
    assert not repair.reasons


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (httpx.Response(404, json={"message": "no"}), "the connector is UNREGISTERED"),
        (_status("PAUSED", ["PAUSED"]), "PAUSED"),
        (_status("STOPPED", []), "the connector is STOPPED"),
        (_status("RUNNING", []), "the connector runs without a task"),
        (_status("RUNNING", ["UNASSIGNED"]), "task 0 is UNASSIGNED"),
    ],
)
def test_a_connector_that_does_nothing_is_told_and_left_alone(
    answer: httpx.Response, reason: str
) -> None:
    client = ConnectClient(
        "http://connect", retry_seconds=0.0, transport=httpx.MockTransport(lambda _: answer)
    )
    repair = ConnectorRepair(client, "c")
    repair.look(0.0)
    assert reason in " ".join(repair.reasons)
    assert _health_answer(repair).status_code == 503
    assert repair.restarts == 0


class _Faulty:
    """Fails at its first look."""

    def __init__(self) -> None:
        self.reasons: tuple[str, ...] = ()
        self.looks = 0

    def look(self, now: float) -> None:
        self.looks += 1
        if self.looks == 1:
            raise ValueError("what no one expected")
        wait_until(lambda: not self.reasons, "the test has seen them", poll_seconds=0.01)

    def report(self) -> dict[str, object]:
        return {}


def test_a_keeper_that_fails_is_told_and_looks_again() -> None:
    repair = _Faulty()
    with Rounds(repair, seconds=0.01):
        wait_until(lambda: repair.reasons and repair.looks > 1, "it looks again", poll_seconds=0.01)
        assert repair.reasons == ("_Faulty failed: ValueError('what no one expected')",)
        assert _health_answer(repair).status_code == 503
        repair.reasons = ()


class _Stuck:
    """Waits in its look until the test ends."""

    def __init__(self) -> None:
        self.reasons: tuple[str, ...] = ()
        self.end = threading.Event()

    def look(self, now: float) -> None:
        self.end.wait(10.0)

    def report(self) -> dict[str, object]:
        return {}


def test_a_look_that_does_not_end_is_told() -> None:
    repair, started = _Stuck(), monotonic()
    with Rounds(repair, seconds=60.0, seconds_most=0.05) as rounds:
        reasons = wait_until(rounds.reasons, "reasons", poll_seconds=0.01)
        [reason] = reasons
        told = re.fullmatch(
            r"_Stuck has been checking for (\d+) s; restart the connector supervisor", reason
        )
        assert told is not None
        assert int(told[1]) <= round(monotonic() - started)  # 0, unless this machine was held up
        assert _health_answer(rounds).status_code == 503
        repair.end.set()
        wait_until(lambda: not rounds.reasons(), "it is well again", poll_seconds=0.01)


def test_settings_name_the_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_CONNECT_URL", "connect:8083")
    monkeypatch.setenv("PURSER_KAFKA_BOOTSTRAP", "kafka:9092")
    monkeypatch.setenv("PURSER_WORKER_METRICS_PORT", "15406")
    with pytest.raises(ConfigurationError, match="PURSER_CONNECT_URL"):
        SupervisorSettings.load()


def test_a_connect_that_is_back_ends_its_own_transaction(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_repair: OrphanedTransactionRepair) -> None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    monkeypatch.setattr(OrphanedTransactionRepair, "_fence", fail)
    address = ("127.0.0.1", lend_port())
    repair = OrphanedTransactionRepair(f"http://127.0.0.1:{address[1]}", "127.0.0.1:1", "id")
    repair.look(0.0)
    assert "could not be ended" in repair.reasons[0]
    with socket.create_server(address):
        repair.look(1.0)
    assert repair.reasons == ()
