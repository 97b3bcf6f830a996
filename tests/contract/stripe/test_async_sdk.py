"""The SDK's asynchronous face with its AIOHTTP client, and many payments at once."""

import asyncio
from collections import Counter
from typing import Any

import stripe

from tests.simulator import Simulator

PAYMENTS = 60


def test_a_payment_and_its_refund(simulator: Simulator) -> None:
    async def flow() -> None:
        client = simulator.client(http_client=stripe.AIOHTTPClient())
        try:
            intent = await client.v1.payment_intents.create_async(
                {
                    "amount": 2500,
                    "currency": "eur",
                    "payment_method": "pm_card_visa",
                    "confirm": True,
                    "capture_method": "manual",
                    "metadata": {"purser_payment_id": "async-1"},
                }
            )
            assert intent.status == "requires_capture"
            intent = await client.v1.payment_intents.capture_async(intent.id)
            assert intent.status == "succeeded"
            refund = await client.v1.refunds.create_async({"payment_intent": intent.id})
            assert refund.status == "succeeded"
            found = await client.v1.payment_intents.search_async(
                {"query": "metadata['purser_payment_id']:'async-1'"}
            )
            assert [each.id for each in found.data] == [intent.id]
            try:
                await client.v1.refunds.create_async({"payment_intent": intent.id})
            except stripe.InvalidRequestError as error:
                assert error.code == "charge_already_refunded"
            else:
                raise AssertionError("refunded twice")
        finally:
            await close(client)

    asyncio.run(flow())


def test_many_at_once(simulator: Simulator) -> None:
    async def pay(client: stripe.StripeClient, number: int) -> str:
        token = "pm_card_visa" if number % 3 else "pm_card_chargeDeclined"
        try:
            intent = await client.v1.payment_intents.create_async(
                {
                    "amount": 1000 + number,
                    "currency": "sek",
                    "payment_method": token,
                    "confirm": True,
                }
            )
        except stripe.CardError as error:
            return str(error.code)
        return intent.status

    async def flow() -> list[str]:
        client = simulator.client(http_client=stripe.AIOHTTPClient())
        try:
            return await asyncio.gather(*(pay(client, number) for number in range(PAYMENTS)))
        finally:
            await close(client)

    assert Counter(asyncio.run(flow())) == {"succeeded": 40, "card_declined": 20}
    sums = simulator.books("SEK")["charges"]
    taken = [1000 + number for number in range(PAYMENTS) if number % 3]
    assert (sums["count"], sums["sum"]) == (40, sum(taken))


async def close(client: stripe.StripeClient) -> None:
    requestor: Any = client._requestor
    await requestor._get_http_client().close_async()
