"""A buyer without JavaScript pays on the hosted page: a form, a button, a way back to the shop."""

import re
from html import unescape
from typing import Any

import httpx
import pytest
import stripe

from tests.simulator import Simulator

GOOD, DECLINED, SECURED = "4242 4242 4242 4242", "4000000000000002", "4000002760003184"


def opened(client: stripe.StripeClient, **more: Any) -> stripe.checkout.Session:
    price = {"currency": "eur", "unit_amount": 1250, "product_data": {"name": "An <umbrella>"}}
    asked: Any = {
        "mode": "payment",
        "line_items": [{"price_data": price, "quantity": 2}],
        "success_url": "https://shop.example/thanks?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/cart",
        "payment_intent_data": {"metadata": {"purser_payment_id": "p-1"}},
        **more,
    }
    return client.v1.checkout.sessions.create(asked)


def send(session: stripe.checkout.Session, **fields: str) -> httpx.Response:
    """Fill the form in and send it where the page says."""
    assert session.url is not None
    page = httpx.get(session.url).text
    assert 'name="card_number"' in page
    assert "<script" not in page
    assert "An &lt;umbrella&gt;" in page
    method = re.search(r'<form method="(\w+)" action="([^"]*)"', page)
    assert method is not None
    target = httpx.URL(session.url).join(unescape(method[2])) if method[2] else session.url
    return httpx.request(method[1].upper(), target, data=fields)


def test_a_buyer_pays_on_the_page(client: stripe.StripeClient) -> None:
    session = opened(client, metadata={"cart": "7"})
    assert (session.status, session.payment_status, session.amount_total) == (
        "open",
        "unpaid",
        2500,
    )
    assert session.payment_intent is None
    answer = send(session, card_number=GOOD, name="A Buyer")
    assert answer.status_code == 303
    assert answer.headers["Location"] == f"https://shop.example/thanks?session={session.id}"
    done = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge", "line_items"]}
    )
    assert (done.status, done.payment_status, done.url) == ("complete", "paid", None)
    intent: Any = done.payment_intent
    assert (intent.status, intent.metadata["purser_payment_id"]) == ("succeeded", "p-1")
    assert intent.latest_charge.billing_details.name == "A Buyer"
    assert done.line_items is not None
    assert [each.quantity for each in done.line_items.data] == [2]
    again = httpx.get(str(session.url))
    assert again.headers["Location"].endswith(session.id)
    found = client.v1.checkout.sessions.list({"payment_intent": intent.id}).data
    assert [each.id for each in found] == [session.id]


def test_a_second_click_does_not_pay_twice(client: stripe.StripeClient) -> None:
    session = opened(client)
    url = str(session.url)
    first, second = (httpx.post(url, data={"card_number": GOOD}) for _ in range(2))
    assert first.headers["Location"] == second.headers["Location"]
    intent = str(client.v1.checkout.sessions.retrieve(session.id).payment_intent)
    assert len(client.v1.charges.list({"payment_intent": intent}).data) == 1


@pytest.mark.parametrize(
    ("number", "status", "told"),
    [
        (DECLINED, 402, "Your card was declined."),
        ("4000000000009995", 402, "insufficient funds"),
        ("4242424242424241", 422, "Your card number is incorrect."),
        ("4111111111111111", 422, "non test card"),
        ("", 422, "Your card number is incorrect."),
    ],
)
def test_a_refused_card_can_be_followed_by_a_good_one(
    client: stripe.StripeClient, number: str, status: int, told: str
) -> None:
    session = opened(client)
    answer = send(session, card_number=number)
    assert answer.status_code == status
    assert told in unescape(answer.text)
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert send(session, card_number=GOOD).status_code == 303
    done = client.v1.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert done.payment_status == "paid"


@pytest.mark.parametrize(("decision", "status"), [("complete", "complete"), ("fail", "open")])
def test_three_d_secure_leads_back_to_the_page(
    client: stripe.StripeClient, decision: str, status: str
) -> None:
    session = opened(client)
    answer = send(session, card_number=SECURED)
    page = answer.headers["Location"]
    assert "/3ds/pi_" in page
    assert "Pay 25.00 EUR" in httpx.get(str(session.url)).text
    assert "want to pay 25.00 EUR." in httpx.get(page).text
    back = httpx.post(page, data={"decision": decision})
    landed = httpx.get(back.headers["Location"])
    done = client.v1.checkout.sessions.retrieve(session.id)
    assert done.status == status
    if decision == "complete":
        assert landed.headers["Location"].startswith("https://shop.example/thanks")
    else:
        assert "could not be authenticated" in landed.text
        assert send(session, card_number=GOOD).status_code == 303


def test_a_bank_transfer_on_the_page_is_paid_days_later(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    session = opened(client)
    assert send(session, bank_account="AT61 1904 3002 3457 3201").status_code == 303
    waiting = client.v1.checkout.sessions.retrieve(session.id)
    assert (waiting.status, waiting.payment_status) == ("complete", "unpaid")
    simulator.advance(5 * 86_400)
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    kinds = client.v1.events.list({"types": ["checkout.session.async_payment_succeeded"]}).data
    assert kinds[0].data.object["id"] == session.id


def test_sessions_expire_by_themselves_or_when_told(
    client: stripe.StripeClient, simulator: Simulator
) -> None:
    told, late = opened(client), opened(client)
    assert send(told, card_number=DECLINED).status_code == 402
    ended = client.v1.checkout.sessions.expire(told.id)
    assert ended.status == "expired"
    intent = client.v1.payment_intents.retrieve(str(ended.payment_intent))
    assert intent.status == "canceled"
    with pytest.raises(stripe.InvalidRequestError, match="can be expired"):
        client.v1.checkout.sessions.expire(told.id)
    assert httpx.get(str(told.url)).status_code == 410
    simulator.advance(86_400)
    assert client.v1.checkout.sessions.retrieve(late.id).status == "expired"
    assert httpx.post(str(late.url), data={"card_number": GOOD}).status_code == 410


def test_an_intent_of_an_open_session_is_cancelled_through_the_session(
    client: stripe.StripeClient,
) -> None:
    session = opened(client)
    send(session, card_number=DECLINED)
    intent = str(client.v1.checkout.sessions.retrieve(session.id).payment_intent)
    with pytest.raises(stripe.InvalidRequestError, match="created by a Checkout Session"):
        client.v1.payment_intents.cancel(intent)


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"mode": "subscription"}, "mode"),
        ({"line_items": [{"price": "price_1"}]}, "line_items[0][price]"),
        ({"expires_at": 1}, "expires_at"),
        ({"payment_intent_data": {"colour": "red"}}, "payment_intent_data[colour]"),
    ],
)
def test_bad_parameters_are_named(client: stripe.StripeClient, wrong: Any, param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as caught:
        opened(client, **wrong)
    assert caught.value.param == param


def test_unknown_pages_are_404(simulator: Simulator) -> None:
    for path in ("/c/pay/cs_none", "/3ds/pi_none", "/receipts/ch_none", "/nothing"):
        assert httpx.get(simulator.url + path).status_code == 404
