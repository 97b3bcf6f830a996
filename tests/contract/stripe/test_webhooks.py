"""Events and webhooks: signed, stored with the object as it was, delivered until they are taken."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.simulator import SECRET, Receiver, Simulator, receiving, running
from tests.waiting import throughout, wait_until

QUIET_SECONDS = 1.5


def pay(client: stripe.StripeClient, token: str = "pm_card_visa", **more: Any) -> str:
    asked: Any = {
        "amount": 2500,
        "currency": "eur",
        "payment_method": token,
        "confirm": True,
        **more,
    }
    return client.v1.payment_intents.create(asked).id


@pytest.fixture
def endpoint(client: stripe.StripeClient, receiver: Receiver) -> Iterator[stripe.WebhookEndpoint]:
    made = client.v1.webhook_endpoints.create({"url": receiver.url, "enabled_events": ["*"]})
    yield made
    client.v1.webhook_endpoints.delete(made.id)


def of(receiver: Receiver, intent: str) -> list[dict[str, Any]]:
    """What came about one payment intent."""
    return [
        event
        for event in receiver.events
        if intent in (event["data"]["object"].get(name) for name in ("id", "payment_intent"))
    ]


def test_the_sdk_verifies_what_comes(
    client: stripe.StripeClient, receiver: Receiver, endpoint: stripe.WebhookEndpoint
) -> None:
    assert endpoint.secret is not None
    assert endpoint.secret.startswith("whsec_")
    intent = pay(client, metadata={"purser_payment_id": "p-1"})
    wait_until(lambda: len(of(receiver, intent)) == 3, "three events", seconds=20)
    with receiver.taking:
        taken = list(zip(receiver.bodies, receiver.signatures, strict=True))
    for body, signature in taken:
        event = stripe.Webhook.construct_event(body, signature, endpoint.secret)
        kept = client.v1.events.retrieve(event.id)
        assert kept.type == event.type
        assert kept.data.object["id"] == event.data.object["id"]
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(body, signature, "whsec_other")
    events = {event["type"]: event for event in of(receiver, intent)}
    assert set(events) == {"payment_intent.created", "charge.succeeded", "payment_intent.succeeded"}
    snapshot = events["payment_intent.created"]["data"]["object"]
    assert snapshot["status"] == "requires_payment_method"
    assert events["payment_intent.succeeded"]["data"]["object"]["status"] == "succeeded"
    assert snapshot["metadata"] == {"purser_payment_id": "p-1"}
    again = client.v1.webhook_endpoints.retrieve(endpoint.id).to_dict()
    assert again.get("secret") is None  # only the first answer has it


def test_an_endpoint_gets_the_types_that_it_wants(
    client: stripe.StripeClient, receiver: Receiver
) -> None:
    endpoint = client.v1.webhook_endpoints.create(
        {"url": receiver.url, "enabled_events": ["refund.created", "charge.refunded"]}
    )
    intent = pay(client)
    client.v1.refunds.create({"payment_intent": intent, "amount": 100})
    wait_until(lambda: len(receiver.bodies) == 2, "two events", seconds=20)
    assert Counter(receiver.types()) == {"refund.created": 1, "charge.refunded": 1}
    refunded = next(each for each in receiver.events if each["type"] == "charge.refunded")
    assert refunded["data"]["previous_attributes"] == {"amount_refunded": 0, "refunded": False}
    client.v1.webhook_endpoints.update(endpoint.id, {"disabled": True})
    client.v1.refunds.create({"payment_intent": intent, "amount": 100})
    for _ in throughout(QUIET_SECONDS):
        assert len(receiver.bodies) == 2
    client.v1.webhook_endpoints.delete(endpoint.id)
    assert endpoint.id not in [each.id for each in client.v1.webhook_endpoints.list().data]


def test_what_is_refused_is_sent_again_and_counts_as_undelivered(
    client: stripe.StripeClient,
    simulator: Simulator,
    receiver: Receiver,
    endpoint: stripe.WebhookEndpoint,
) -> None:
    receiver.status = 500
    intent = pay(client)

    def undelivered() -> list[stripe.Event]:
        listed = client.v1.events.list({"delivery_success": False, "limit": 100}).data
        return [each for each in listed if each.data.object["id"] == intent]

    assert [each.type for each in undelivered()] == [
        "payment_intent.succeeded",
        "payment_intent.created",
    ]
    assert {each.pending_webhooks for each in undelivered()} == {1}
    receiver.status = 200

    def taken() -> bool:
        simulator.advance(60)  # past the pauses between tries
        return not undelivered()

    wait_until(taken, "all are delivered", seconds=30)
    assert len(of(receiver, intent)) == 3


@pytest.mark.parametrize(
    ("do", "types"),
    [
        (
            lambda client: client.v1.payment_intents.capture(pay(client, capture_method="manual")),
            [
                "payment_intent.created",
                "charge.succeeded",
                "payment_intent.amount_capturable_updated",
                "charge.captured",
                "payment_intent.succeeded",
            ],
        ),
        (
            lambda client: client.v1.payment_intents.cancel(pay(client, capture_method="manual")),
            [
                "payment_intent.created",
                "charge.succeeded",
                "payment_intent.amount_capturable_updated",
                "payment_intent.canceled",
            ],
        ),
        (
            lambda client: pay(client, "pm_card_authenticationRequired"),
            ["payment_intent.created", "payment_intent.requires_action"],
        ),
        (
            lambda client: client.v1.refunds.create({"payment_intent": pay(client)}),
            [
                "payment_intent.created",
                "charge.succeeded",
                "payment_intent.succeeded",
                "refund.created",
                "charge.refunded",
            ],
        ),
    ],
)
def test_events_tell_what_happened_in_order(
    client: stripe.StripeClient, do: Any, types: list[str]
) -> None:
    before = client.v1.events.list({"limit": 1}).data
    do(client)
    asked: Any = {"limit": 100} | ({"ending_before": before[0].id} if before else {})
    told = client.v1.events.list(asked).data
    assert [each.type for each in reversed(told)] == types


def test_events_of_disputes_and_refunds_that_come_later(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    pay(client, "pm_card_createDispute")
    client.v1.refunds.create({"payment_intent": pay(client, "pm_card_refundFail")})
    simulator.advance(10)
    dispute = client.v1.disputes.list({"limit": 1}).data[0]
    client.v1.disputes.update(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    simulator.advance(10)
    wanted = [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.closed",
        "charge.dispute.funds_reinstated",
        "refund.failed",
        "refund.updated",
        "charge.refund.updated",
    ]
    told = client.v1.events.list({"types": wanted, "limit": 100}).data
    assert {each.type for each in told} == set(wanted)
    closed = next(each for each in told if each.type == "charge.dispute.closed")
    assert closed.data.object["status"] == "won"
    single = client.v1.events.list({"type": "charge.dispute.closed", "limit": 100}).data
    assert closed.id in [each.id for each in single]
    assert {each.type for each in single} == {"charge.dispute.closed"}


def test_events_say_which_request_caused_them(client: stripe.StripeClient) -> None:
    pay_options: Any = {"idempotency_key": "events-key-1"}
    intent = client.v1.payment_intents.create({"amount": 500, "currency": "eur"}, pay_options)
    event = client.v1.events.list({"limit": 1}).data[0]
    assert event.data.object["id"] == intent.id
    assert event.request is not None
    assert event.request.idempotency_key == "events-key-1"
    assert str(event.request.id).startswith("req_")


def test_the_endpoint_of_the_settings_survives_kill_9_with_what_it_owes(tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.status = 503
        settings = {
            "PURSER_SIMULATOR_WEBHOOK_URL": receiver.url,
            "PURSER_STRIPE_WEBHOOK_SECRET": f"whsec_new, {SECRET}",
        }
        with running(tmp_path, **settings) as simulator:
            intents = [pay(simulator.client()) for _ in range(20)]
            simulator.kill()
            receiver.status = 200
            simulator.start()
            wait_until(lambda: len(receiver.bodies) >= 20, "all come", seconds=30)
            wait_until(
                lambda: not simulator.client().v1.events.list({"delivery_success": False}).data,
                "all count as delivered",
                seconds=20,
            )
    assert {event["data"]["object"]["id"] for event in receiver.events} == set(intents)
    assert set(receiver.types()) == {"payment_intent.succeeded"}
    for secret in ("whsec_new", SECRET):  # while one rotates, both sign
        stripe.Webhook.construct_event(receiver.bodies[0], receiver.signatures[0], secret)
