"""Seeded faults over HTTP, the clock, and bad input to the paths that are ours."""

import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
import stripe

from tests.simulator import KEY, Receiver, Simulator, running
from tests.waiting import throughout, wait_until

PAY = {"amount": "2500", "currency": "eur", "payment_method": "pm_card_visa", "confirm": "true"}
FORM = "application/x-www-form-urlencoded"


def put(simulator: Simulator, seed: int = 7, **plan: Any) -> None:
    status, answer = simulator.ask("PUT", "/_simulator/faults", {"seed": seed, "plan": plan})
    assert status == 200, answer


def post(simulator: Simulator, key: str, form: dict[str, str] | None = None) -> str:
    """Status of the answer, or the error of a connection that ended without one."""
    headers = {"Authorization": f"Bearer {KEY}", "Idempotency-Key": key, "Content-Type": FORM}
    try:
        return str(
            httpx.post(
                f"{simulator.url}/v1/payment_intents",
                content=urlencode(PAY if form is None else form),
                headers=headers,
                timeout=20,
                verify=False,
            ).status_code
        )
    except httpx.RemoteProtocolError:
        return "ended"
    except httpx.ReadError:
        return "ended"


def made_for(client: stripe.StripeClient, mark: str) -> list[stripe.PaymentIntent]:
    return client.v1.payment_intents.search({"query": f"metadata['mark']:'{mark}'"}).data


@pytest.mark.parametrize(
    ("fault", "seen", "made", "again"),
    [
        ("timeout_after_commit", "ended", 1, "200"),
        ("http_500", "500", 0, "200"),
        ("http_500_after_commit", "500", 1, "500"),
        ("http_429", "429", 0, "200"),
        ("http_409", "409", 0, "200"),
    ],
)
def test_each_fault_leaves_what_it_says(
    simulator: Simulator,
    client: stripe.StripeClient,
    fault: str,
    seen: str,
    made: int,
    again: str,
) -> None:
    mark = str(uuid4())
    form = PAY | {"metadata[mark]": mark}
    plan: Any = {fault: 1.0, "hang_seconds": 0.3}
    put(simulator, **plan)
    assert post(simulator, mark, form) == seen
    simulator.ask("DELETE", "/_simulator/faults")
    assert len(made_for(client, mark)) == made
    assert post(simulator, mark, form) == again
    assert len(made_for(client, mark)) == 1


def test_the_sdk_gets_through_faults_by_itself(simulator: Simulator) -> None:
    put(simulator, timeout_after_commit=0.2, http_500=0.1, http_429=0.0, http_409=0.1,
        hang_seconds=0.05)  # fmt: skip
    client = simulator.client(retries=8)
    mark = str(uuid4())
    for number in range(20):
        client.v1.payment_intents.create(
            {
                "amount": 1000 + number,
                "currency": "eur",
                "payment_method": "pm_card_visa",
                "confirm": True,
                "metadata": {"mark": mark},
            }
        )
    simulator.ask("DELETE", "/_simulator/faults")
    found = simulator.client().v1.payment_intents.search(
        {"query": f"metadata['mark']:'{mark}'", "limit": 100}
    )
    assert sorted(each.amount for each in found.data) == [1000 + number for number in range(20)]


def test_the_same_seed_and_requests_give_the_same_faults(tmp_path: Path) -> None:
    def run(name: str, seed: int, keys: list[str]) -> list[str]:
        with running(tmp_path / name) as simulator:
            put(simulator, seed, timeout_after_commit=0.2, http_500=0.2, http_429=0.1, http_409=0.1,
                hang_seconds=0)  # fmt: skip
            seen = {key: post(simulator, key) for key in keys}
            reads = [
                str(httpx.get(f"{simulator.url}/v1/balance", auth=(KEY, "")).status_code)
                for _ in range(20)
            ]
            return [seen[key] for key in sorted(keys)] + reads

    keys = [f"key-{number}" for number in range(40)]
    first = run("a", 7, keys)
    assert run("b", 7, keys[::-1]) == first
    assert run("c", 8, keys) != first
    assert set(first[:40]) == {"200", "ended", "500", "429", "409"}
    assert set(first[40:]) == {"200", "500", "429"}


def test_slow_calls_and_a_constant_latency(simulator: Simulator) -> None:
    put(simulator, slow_seconds=[0.2, 0.3], latency_seconds=0.1)
    began = time.monotonic()
    assert post(simulator, str(uuid4())) == "200"
    assert time.monotonic() - began >= 0.3


def test_the_latency_of_the_settings(tmp_path: Path) -> None:
    with running(tmp_path, PURSER_SIMULATOR_LATENCY_SECONDS="0.25") as simulator:
        began = time.monotonic()
        assert post(simulator, "k") == "200"
        assert time.monotonic() - began >= 0.25


def webhooks_of(
    simulator: Simulator, receiver: Receiver, count: int, *, all_come: bool = True, **plan: Any
) -> tuple[list[str], list[str]]:
    """What is made, and what comes about it, under a plan for webhooks."""

    def came() -> list[str]:
        return [event["data"]["object"]["id"] for event in receiver.events]

    client = simulator.client()
    endpoint = client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["payment_intent.succeeded"]}
    )
    put(simulator, **plan)
    made: list[str] = []
    form: Any = PAY
    for number in range(count):
        options: Any = {"idempotency_key": f"{min(plan)}-{number}"}
        made.append(client.v1.payment_intents.create(form, options).id)
    if all_come:
        wait_until(lambda: set(made) <= set(came()), "something comes about each", seconds=30)
    for _ in throughout(3.5):  # for what comes late, or twice
        pass
    client.v1.webhook_endpoints.delete(endpoint.id)
    return made, came()


def test_lost_webhooks_never_come_and_are_told_as_undelivered(
    simulator: Simulator, client: stripe.StripeClient, receiver: Receiver
) -> None:
    made, came = webhooks_of(simulator, receiver, 30, all_come=False, webhook_lost=0.5)
    lost = set(made) - set(came)
    assert 5 <= len(lost) <= 25
    assert len(came) == len(set(came))
    told = client.v1.events.list({"delivery_success": False, "limit": 100}).data
    assert lost <= {each.data.object["id"] for each in told}


def test_duplicated_webhooks_come_twice(simulator: Simulator, receiver: Receiver) -> None:
    made, came = webhooks_of(simulator, receiver, 20, webhook_duplicated=0.5)
    assert set(made) == set(came)
    assert set(Counter(came).values()) == {1, 2}


def test_webhooks_out_of_order(simulator: Simulator, receiver: Receiver) -> None:
    made, came = webhooks_of(simulator, receiver, 20, webhook_out_of_order=True)
    assert sorted(made) == sorted(came)
    assert made != came


def test_delayed_webhooks_wait_for_the_simulators_clock(
    simulator: Simulator, receiver: Receiver
) -> None:
    client = simulator.client()
    endpoint = client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["payment_intent.succeeded"]}
    )
    put(simulator, webhook_delayed_seconds=[50, 60])
    post(simulator, str(uuid4()))
    for _ in throughout(1.0):
        assert receiver.bodies == []
    simulator.advance(60)
    wait_until(lambda: len(receiver.bodies) == 1, "it comes", seconds=20)
    client.v1.webhook_endpoints.delete(endpoint.id)


def test_search_can_lag_behind(simulator: Simulator, client: stripe.StripeClient) -> None:
    put(simulator, search_delay_seconds=30)
    mark = str(uuid4())
    post(simulator, mark, PAY | {"metadata[mark]": mark})
    assert made_for(client, mark) == []
    simulator.advance(31)
    assert len(made_for(client, mark)) == 1


def test_a_plan_survives_a_restart_and_ends_when_it_is_deleted(tmp_path: Path) -> None:
    with running(tmp_path) as simulator:
        put(simulator, 3, http_500=1.0)
        simulator.kill()
        simulator.start()
        assert post(simulator, "k") == "500"
        kept = simulator.get("/_simulator/faults")
        assert (kept["active"], kept["seed"], kept["plan"]["http_500"]) == (True, 3, 1.0)
        assert simulator.ask("DELETE", "/_simulator/faults")[0] == 200
        assert not simulator.get("/_simulator/faults")["active"]
        assert post(simulator, "k") == "200"


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "field"),
    [
        ("PUT", "faults", b"{", 400, "/"),
        ("PUT", "faults", [], 422, "/"),
        ("PUT", "faults", {"seed": 1}, 422, "/plan"),
        ("PUT", "faults", {"seed": -1, "plan": {}}, 422, "/seed"),
        ("PUT", "faults", {"seed": "x", "plan": {}}, 422, "/seed"),
        ("PUT", "faults", {"seed": 1, "plan": {}, "more": 1}, 422, "/more"),
        ("PUT", "faults", {"plan": {"http_500": 1.5}}, 422, "/plan/http_500"),
        ("PUT", "faults", {"plan": {"http_500": "0.5"}}, 422, "/plan/http_500"),
        ("PUT", "faults", {"plan": {"http_500": True}}, 422, "/plan/http_500"),
        ("PUT", "faults", {"plan": {"http_404": 0.5}}, 422, "/plan/http_404"),
        ("PUT", "faults", {"plan": {"slow_seconds": [1]}}, 422, "/plan/slow_seconds/1"),
        ("PUT", "faults", {"plan": {"slow_seconds": [2, 1]}}, 422, "/plan"),
        ("PUT", "faults", {"plan": {"http_500": 0.6, "http_429": 0.6}}, 422, "/plan"),
        ("POST", "clock", {"advance_seconds": -1}, 422, "/advance_seconds"),
        ("POST", "clock", {"advance_seconds": "day"}, 422, "/advance_seconds"),
        ("POST", "clock", {"advance_seconds": 1e12}, 422, "/advance_seconds"),
        ("POST", "clock", {}, 422, "/advance_seconds"),
        ("POST", "clock", b"x", 400, "/"),
        ("POST", "disputes", {"charge": "ch_none"}, 422, "/charge"),
        ("POST", "disputes", {"charge": "ch_none", "amount": 0}, 422, "/amount"),
        ("GET", "charges?limit=0", None, 422, "limit"),
        ("GET", "charges?limit=x", None, 422, "limit"),
        ("GET", "charges?cursor=-1", None, 422, "cursor"),
        ("GET", "reports/settlement", None, 422, "date"),
        ("GET", "reports/settlement?date=today", None, 422, "date"),
        ("GET", "reports/settlement?date=20260101", None, 422, "date"),
        ("GET", "reports/settlement?date=2999-01-01", None, 422, "date"),
    ],
)
def test_bad_input_is_named(
    simulator: Simulator, method: str, path: str, body: Any, status: int, field: str
) -> None:
    answer = simulator.ask(method, f"/_simulator/{path}", body)
    assert answer[0] == status, answer
    assert answer[1]["error"]["field"] == field
    assert answer[1]["error"]["message"]


def test_the_clock_moves_on_and_never_back(tmp_path: Path) -> None:
    with running(tmp_path) as simulator:
        before = simulator.get("/_simulator/clock")
        assert abs(before["now_seconds"] - time.time()) < 30
        simulator.advance(86_400.5)
        after = simulator.get("/_simulator/clock")
        assert after["now_seconds"] - before["now_seconds"] >= 86_400
        simulator.kill()
        simulator.start()
        assert simulator.get("/_simulator/clock")["now_seconds"] >= after["now_seconds"]
        health = simulator.get("/health")
        assert (health["status"], health["reasons"], health["webhooks_waiting"]) == (
            "healthy",
            [],
            0,
        )
        assert health["clock_ahead_seconds"] >= 86_400
        assert simulator.stop() == 143
