"""Stripe's own mock takes what the connector sends, and the connector reads what it answers.

The mock checks parameters, types and paths against the description of Stripe's API, and answers
with fixed objects. It has no memory; the simulator's tests are about that.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from connectors.charges import Charge, ChargeRequest, Processor
from connectors.stripe import poll
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from schemas.errors import OutcomeUnknown, ProcessorRefused
from tests.stripe_charges import CREATED_AT, DIRECT, PAGE, PAYMENT

pytestmark = pytest.mark.timeout(1800)  # the first one may have to fetch and build programs

Use = Callable[[StripeProcessor], Awaitable[object]]


def run(url: str, use: Use) -> object:
    settings = StripeSettings.load(
        api_base=url, api_key="sk_test_123", webhook_secret="whsec_test", attempts=1
    )

    async def main() -> object:
        async with StripeProcessor(settings) as processor:
            return await use(processor)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "request_of",
    [
        DIRECT,
        replace(DIRECT, capture_manually=True),
        replace(DIRECT, method="debit_card", return_url=None),
        replace(DIRECT, method="bank_transfer"),
        replace(DIRECT, method="bank_transfer", currency="USD"),
        replace(DIRECT, currency="JPY"),
        replace(DIRECT, currency="KWD"),
    ],
    ids=lambda request: f"{request.method}-{request.currency}-{request.capture_manually}",
)
def test_a_direct_charge_is_taken(stripe_mock_url: str, request_of: ChargeRequest) -> None:
    charge = run(stripe_mock_url, lambda stripe: stripe.charge(request_of))
    assert isinstance(charge, Charge)
    assert (charge.currency, charge.amount_minor) == (request_of.currency, request_of.amount_minor)


@pytest.mark.parametrize("manually", [False, True])
def test_a_page_is_taken(stripe_mock_url: str, manually: bool) -> None:
    """The mock's page is one without an amount, which only its answer shows."""
    page = replace(PAGE, capture_manually=manually)
    with pytest.raises(OutcomeUnknown, match="currency"):
        run(stripe_mock_url, lambda stripe: stripe.charge(page))


def test_a_wrong_parameter_is_refused_by_the_mock(stripe_mock_url: str) -> None:
    """Otherwise the tests here would prove nothing."""
    with pytest.raises(ProcessorRefused):
        run(stripe_mock_url, lambda s: s.client.post("/v1/payment_intents", {"amuont": 1}, "k"))


@pytest.mark.parametrize(
    "use",
    [
        lambda s: s.retrieve("pi_123"),
        lambda s: s.capture("pi_123", currency="USD", amount_minor=100, key="k", final=False),
        lambda s: s.cancel("pi_123", key="k"),
        lambda s: s.refund("pi_123", currency="USD", amount_minor=100, refund_id="r", key="k"),
    ],
    ids=["retrieve", "capture", "cancel", "refund"],
)
def test_every_change_of_a_charge_is_taken(stripe_mock_url: str, use: Use) -> None:
    charge = run(stripe_mock_url, use)
    assert isinstance(charge, Charge)
    assert charge.reference.startswith("pi_")


def test_the_lists_are_taken(stripe_mock_url: str) -> None:
    async def use(stripe: StripeProcessor) -> None:
        found = await stripe.find(PAYMENT, CREATED_AT, reference=None)
        events = [event async for event in stripe.events(CREATED_AT)]
        books = [
            line
            async for line in poll.book_entries(
                stripe.client, CREATED_AT, CREATED_AT + timedelta(days=1)
            )
        ]
        disputes = [p async for p in poll.pages(stripe.client.get, "/v1/disputes", {})]
        refunds = [p async for p in poll.pages(stripe.client.get, "/v1/refunds", {})]
        assert disputes
        assert refunds
        assert found.sources == ("search", "list", "list")
        assert found.complete
        assert events
        assert books

    run(stripe_mock_url, use)


def test_it_is_a_processor(stripe_mock_url: str) -> None:
    async def use(stripe: Processor) -> str:
        return stripe.name

    assert run(stripe_mock_url, use) == "stripe"
