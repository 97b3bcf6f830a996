"""Idempotency-Key: the same answer again, and only for the same call, for a day."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
import stripe

from tests.simulator import KEY, Simulator

PAY = {"amount": "2500", "currency": "eur", "payment_method": "pm_card_visa", "confirm": "true"}


def post(
    simulator: Simulator, key: str, form: dict[str, str], path: str = "/v1/payment_intents"
) -> httpx.Response:
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Idempotency-Key": key,
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return httpx.post(
        simulator.url + path, content=urlencode(form), headers=headers, timeout=30, verify=False
    )


def test_the_same_answer_comes_again(simulator: Simulator, client: stripe.StripeClient) -> None:
    key = str(uuid4())
    first = post(simulator, key, PAY)
    assert first.status_code == 200
    assert "Idempotent-Replayed" not in first.headers
    assert first.headers["Idempotency-Key"] == key
    client.v1.refunds.create({"payment_intent": first.json()["id"]})
    again = post(simulator, key, dict(reversed(PAY.items())))
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Original-Request"] == first.headers["Request-Id"]
    assert again.headers["Request-Id"] != first.headers["Request-Id"]
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert len(client.v1.charges.list({"payment_intent": first.json()["id"]}).data) == 1


def test_a_decline_is_repeated_as_well(simulator: Simulator) -> None:
    key = str(uuid4())
    declined = PAY | {"payment_method": "pm_card_chargeDeclined"}
    first, again = (post(simulator, key, declined) for _ in range(2))
    assert (first.status_code, again.status_code) == (402, 402)
    assert first.content == again.content


def test_a_call_that_failed_in_its_work_is_repeated_and_one_that_is_wrong_is_not(
    simulator: Simulator, client: stripe.StripeClient
) -> None:
    intent = client.v1.payment_intents.create({"amount": 500, "currency": "eur"})
    capture = f"/v1/payment_intents/{intent.id}/capture"
    key, other = str(uuid4()), str(uuid4())
    assert post(simulator, key, {}, capture).status_code == 400
    assert post(simulator, other, {"amount_to_capture": "x"}, capture).status_code == 400
    client.v1.payment_intents.confirm(
        client.v1.payment_intents.update(
            intent.id, {"payment_method": "pm_card_visa", "capture_method": "manual"}
        ).id
    )
    assert post(simulator, key, {}, capture).json()["error"]["code"] == (
        "payment_intent_unexpected_state"
    )
    assert post(simulator, other, {"amount_to_capture": "500"}, capture).status_code == 200


@pytest.mark.parametrize(
    ("form", "path", "told"),
    [
        (PAY | {"amount": "2600"}, "/v1/payment_intents", "same parameters"),
        (PAY, "/v1/refunds", "same endpoint"),
    ],
)
def test_the_key_is_for_one_call(
    simulator: Simulator, form: dict[str, str], path: str, told: str
) -> None:
    key = str(uuid4())
    post(simulator, key, PAY)
    answer = post(simulator, key, form, path)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "idempotency_error"
    assert told in answer.json()["error"]["message"]
    assert post(simulator, key, PAY).status_code == 200


def test_the_sdk_raises_its_own_error(client: stripe.StripeClient) -> None:
    options: Any = {"idempotency_key": str(uuid4())}
    client.v1.payment_intents.create({"amount": 500, "currency": "eur"}, options)
    with pytest.raises(stripe.IdempotencyError):
        client.v1.payment_intents.create({"amount": 600, "currency": "eur"}, options)


def test_a_key_that_is_too_long_is_refused(simulator: Simulator) -> None:
    assert post(simulator, "k" * 256, PAY).status_code == 400
    assert post(simulator, f"{uuid4()}{'k' * 219}", PAY).status_code == 200


def test_a_key_is_forgotten_after_a_day(simulator: Simulator) -> None:
    key = str(uuid4())
    first = post(simulator, key, PAY)
    simulator.advance(86_400 - 60)
    assert post(simulator, key, PAY).json()["id"] == first.json()["id"]
    simulator.advance(120)
    late = post(simulator, key, PAY)
    assert "Idempotent-Replayed" not in late.headers
    assert late.json()["id"] != first.json()["id"]


def test_a_second_call_meets_the_first_one_in_flight(simulator: Simulator) -> None:
    simulator.ask("PUT", "/_simulator/faults", {"plan": {"latency_seconds": 1.0}})
    key, together = str(uuid4()), threading.Barrier(4)

    def call(_: int) -> httpx.Response:
        together.wait()
        return post(simulator, key, PAY)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(call, range(4)))
    simulator.ask("DELETE", "/_simulator/faults")
    assert sorted(each.status_code for each in answers) == [200, 409, 409, 409]
    refused = next(each for each in answers if each.status_code == 409).json()["error"]
    assert refused["code"] == "idempotency_key_in_use"
    assert post(simulator, key, PAY).headers["Idempotent-Replayed"] == "true"
