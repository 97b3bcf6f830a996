"""Stripe's own mock and the simulator side by side, field by field; and Stripe's description.

The mock answers with one example per object, so values differ. Names and types must not.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.contract.stripe import stripe_mock
from tests.contract.stripe.openapi import Description
from tests.simulator import Simulator, running

pytestmark = pytest.mark.timeout(1800)  # the first one may have to fetch and build programs

PRICE: Any = {"currency": "eur", "unit_amount": 900, "product_data": {"name": "An umbrella"}}
INTENT: Any = {
    "amount": 2500,
    "currency": "eur",
    "payment_method": "pm_card_visa",
    "confirm": True,
    "return_url": "https://shop.example/thanks",
    "metadata": {"purser_payment_id": "p-1"},
}
SESSION: Any = {
    "mode": "payment",
    "success_url": "https://shop.example/thanks",
    "line_items": [{"quantity": 1, "price_data": PRICE}],
    "payment_method_types": ["card"],
}


@pytest.fixture(scope="module")
def mock() -> Iterator[stripe.StripeClient]:
    with stripe_mock.running() as url:
        yield stripe.StripeClient(stripe_mock.KEY, base_addresses={"api": url})


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """A simulator in which everything has happened that it knows."""
    with running(tmp_path_factory.mktemp("lived")) as simulator:
        live(simulator)
        yield simulator


def pay(client: stripe.StripeClient, token: str, **more: Any) -> str:
    asked: Any = {**INTENT, "payment_method": token, **more}
    try:
        return client.v1.payment_intents.create(asked).id
    except stripe.CardError as declined:
        error: Any = declined.error
        return str(error.payment_intent["id"])


def live(simulator: Simulator) -> None:
    client = simulator.client()
    client.v1.webhook_endpoints.create(
        {"url": "http://127.0.0.1:9/none", "enabled_events": ["payout.paid"]}
    )
    client.v1.customers.create({"email": "buyer@example.com"})
    client.v1.checkout.sessions.create(SESSION)
    for token in (
        "pm_card_chargeDeclined",
        "pm_card_authenticationRequired",
        "pm_card_createDispute",
        "pm_card_createDisputeInquiry",
        "pm_card_createIssuerFraudRecord",
        "pm_success_at",
        "pm_failed_at",
    ):
        pay(client, token)
    for token in ("pm_usBankAccount_success", "pm_usBankAccount_insufficientFunds"):
        pay(client, token, currency="usd")
    for token in ("pm_card_visa", "pm_card_refundFail", "pm_card_pendingRefund"):
        client.v1.refunds.create({"payment_intent": pay(client, token), "amount": 400})
    for amount in (100, 2500):
        held = pay(client, "pm_card_visa", capture_method="manual")
        client.v1.payment_intents.capture(held, {"amount_to_capture": amount})
    client.v1.payment_intents.cancel(pay(client, "pm_card_visa", capture_method="manual"))
    simulator.advance(8 * 86_400)


CALLS: dict[str, Any] = {
    "payment_intent": lambda v1: v1.payment_intents.create(INTENT),
    "payment_intent list": lambda v1: v1.payment_intents.list(),
    "payment_intent search": lambda v1: v1.payment_intents.search({"query": "status:'succeeded'"}),
    "charge": lambda v1: v1.charges.list().data[0],
    "refund": lambda v1: v1.refunds.list().data[0],
    "dispute": lambda v1: v1.disputes.list().data[0],
    "event": lambda v1: v1.events.list().data[0],
    "balance_transaction": lambda v1: v1.balance_transactions.list().data[0],
    "payout": lambda v1: v1.payouts.list().data[0],
    "checkout session": lambda v1: v1.checkout.sessions.create(SESSION),
    "payment_method": lambda v1: v1.payment_methods.retrieve("pm_card_visa"),
    "customer": lambda v1: v1.customers.create({"email": "buyer@example.com"}),
    "webhook_endpoint": lambda v1: v1.webhook_endpoints.list().data[0],
}
OPTIONAL = {
    "payment_intent search": {"next_page", "total_count"},
    "charge": {"refunds"},
    "dispute": {"payment_method_details"},
    "checkout session": {"line_items"},
}


@pytest.mark.parametrize("name", sorted(CALLS))
def test_names_and_types_are_those_of_stripes_mock(
    lived: Simulator, mock: stripe.StripeClient, name: str
) -> None:
    ours = CALLS[name](lived.client().v1).to_dict()
    theirs = CALLS[name](mock.v1).to_dict()
    assert set(ours) ^ set(theirs) <= OPTIONAL.get(name, set())
    differ = {
        field: (value, theirs[field])
        for field, value in ours.items()
        if value is not None
        and theirs.get(field) is not None
        and type(value) is not type(theirs[field])
    }
    assert not differ


def test_everything_is_as_stripe_describes_it(lived: Simulator) -> None:
    description = Description(stripe_mock.description())
    client: Any = lived.client().v1
    found: dict[str, set[str]] = {}
    seen: set[str] = set()

    def check(body: dict[str, Any]) -> None:
        seen.add(body["object"])
        for problem in description.problems(body["object"], body):
            found.setdefault(problem, set()).add(body.get("id", ""))

    lists = (
        client.payment_intents,
        client.charges,
        client.refunds,
        client.disputes,
        client.balance_transactions,
        client.payouts,
        client.payment_methods,
        client.checkout.sessions,
        client.customers,
        client.webhook_endpoints,
        client.events,
    )
    for listed in lists:
        for each in listed.list({"limit": 100}).auto_paging_iter():
            check(each.to_dict())
    check(client.balance.retrieve().to_dict())
    for event in client.events.list({"limit": 100}).auto_paging_iter():
        check(event.data.object.to_dict())
    assert not found
    assert len(seen) == 13


@pytest.mark.parametrize(
    "form",
    [
        INTENT,
        {**INTENT, "capture_method": "manual", "statement_descriptor_suffix": "UMBRELLA"},
        {**INTENT, "payment_method_types": ["card"], "off_session": False},
        {**INTENT, "amount": "ten"},
        {**INTENT, "colour": "red"},
        {"currency": "eur"},
        {**INTENT, "capture_method": "later"},
    ],
)
def test_both_take_and_refuse_the_same_parameters(
    lived: Simulator, mock: stripe.StripeClient, form: Any
) -> None:
    def taken(client: stripe.StripeClient) -> bool:
        try:
            client.v1.payment_intents.create(form)
        except stripe.InvalidRequestError:
            return False
        return True

    assert taken(lived.client()) == taken(mock)


def test_the_description_finds_what_is_wrong() -> None:
    description = Description(stripe_mock.description())
    assert description.problems("refund", {"object": "refund", "amount": "1", "colour": 1}) != []


def test_the_sources_of_the_mock_are_pinned() -> None:
    assert {path.name for path in Path(stripe_mock.FOLDER).iterdir()} == {"go.mod", "go.sum"}
