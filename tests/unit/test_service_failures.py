"""Why a payment failed, in words: what they ask for is what can be done about the code."""

import asyncio
from typing import Any

import pytest

from connectors.charges import Charge, ChargeRequest
from schemas.errors import ProcessorRefused
from service.failures import failure_of
from tests.service_world import ApiWorld, body, key


@pytest.mark.parametrize(
    ("code", "shown", "retryable", "asks_for"),
    [
        ("insufficient_funds", "insufficient_funds", True, "may work later"),
        ("expired_card", "expired_card", False, "another way to pay"),
        ("stolen_card", "declined", False, "another way to pay"),
        (None, "declined", False, "another way to pay"),
        ("authentication_required", "authentication_required", False, "return_url"),
    ],
)
def test_what_to_do(code: str | None, shown: str, retryable: bool, asks_for: str) -> None:
    found = failure_of("stripe", code)
    assert (found["code"], found["retryable"]) == (shown, retryable)
    assert asks_for in found["message"]


def test_a_refused_request_is_not_the_buyers_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither another card nor another time helps: the shop's request is wrong."""
    world = ApiWorld()

    async def refuse(_request: ChargeRequest) -> Charge:
        raise ProcessorRefused("stripe", "amount_too_small", "at least 50", field="amount_minor")

    async def ask() -> list[Any]:
        async with world.client() as client:
            return [
                await client.post("/v1/payments", json=body(), headers=key("k")) for _ in range(2)
            ]

    monkeypatch.setattr(world.world.psp, "charge", refuse)
    try:
        answers = asyncio.run(ask())
    finally:
        world.close()
    assert [answer.status_code for answer in answers] == [402, 402]
    assert answers[0].content == answers[1].content
    found = answers[0].json()
    assert (found["code"], found["failure"]["code"]) == ("payment_declined", "amount_too_small")
    assert not found["failure"]["retryable"]
    for text in (found["detail"], found["failure"]["message"]):
        assert "refuses the request" in text
        assert "buyer" not in text
