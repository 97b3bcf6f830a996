"""Stripe's webhooks: proven, stored, acknowledged, in this order."""

import asyncio
import hmac
import json
import time
from hashlib import sha256
from typing import Any, cast

import pytest

from connectors.charges import ProcessorEvent
from schemas.errors import ServiceUnavailable
from tests.service_world import WEBHOOK_SECRET, ApiWorld

EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "refund.updated",
    "created": 1_780_000_000,
    "data": {"object": {"id": "re_1", "object": "refund", "payment_intent": "pi_1"}},
}


def signature(content: bytes, secret: str = WEBHOOK_SECRET, age: int = 0) -> str:
    at = int(time.time()) - age
    mac = hmac.new(secret.encode(), f"{at}.".encode() + content, sha256).hexdigest()
    return f"t={at},v1={mac}"


def post(world: ApiWorld, content: bytes, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}

    async def once() -> Any:
        async with world.client("") as client:
            return await client.post("/webhooks/stripe", content=content, headers=given)

    try:
        return asyncio.run(once())
    finally:
        world.close()


CONTENT = json.dumps(EVENT).encode()


def test_an_event_is_stored_as_it_came() -> None:
    world = ApiWorld()
    answer = post(world, CONTENT, Stripe_Signature=signature(CONTENT))
    assert (answer.status_code, world.inbox.events) == (200, {"evt_1": CONTENT})


def test_what_says_nothing_about_a_charge_is_acknowledged_only() -> None:
    world = ApiWorld()
    content = json.dumps(EVENT | {"type": "payout.paid"}).encode()
    answer = post(world, content, Stripe_Signature=signature(content))
    assert (answer.status_code, world.inbox.events) == (200, {})


def test_an_event_of_an_unknown_type_is_stored() -> None:
    world = ApiWorld()
    content = json.dumps(EVENT | {"type": "refund.exploded"}).encode()
    answer = post(world, content, Stripe_Signature=signature(content))
    assert (answer.status_code, world.inbox.events) == (200, {"evt_1": content})


@pytest.mark.parametrize(
    "content",
    [b'{"id": "evt_1", "object": "v2.core.event", "type": "v1.refund"}', b"not JSON", b"[]"],
    ids=["thin", "text", "list"],
)
def test_what_stripe_signed_and_nobody_can_read_is_kept(content: bytes) -> None:
    world = ApiWorld()
    answer = post(world, content, Stripe_Signature=signature(content))
    assert answer.status_code == 200, answer.text
    assert list(world.inbox.events.values()) == [content]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        signature(CONTENT, "another"),
        signature(CONTENT + b" "),
        signature(CONTENT, age=400),
        signature(CONTENT).replace("v1=", "v0="),
    ],
    ids=["none", "nonsense", "other secret", "other body", "too old", "other scheme"],
)
def test_whoever_is_not_stripe_stores_nothing(header: str) -> None:
    world = ApiWorld()
    answer = post(world, CONTENT, Stripe_Signature=header)
    assert (answer.status_code, answer.json()["code"]) == (400, "signature_invalid")
    assert "PURSER_" not in answer.text  # anybody can ask
    assert world.inbox.events == {}


def test_what_is_not_stored_is_not_acknowledged() -> None:
    world = ApiWorld()

    async def down(_event: ProcessorEvent, _body: bytes) -> None:
        raise ServiceUnavailable("Kafka is down")

    cast(Any, world.inbox).put = down
    answer = post(world, CONTENT, Stripe_Signature=signature(CONTENT))
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
