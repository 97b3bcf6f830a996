"""Stripe's objects as its API returns them, cut down to what matters here; written after the
descriptions and examples of https://docs.stripe.com/api.
"""

from typing import Any

PAYMENT = "8b1ed3cf-7b1a-4f3a-9c59-0b6f5a3f1c11"
AT = 1_796_000_000
Json = dict[str, Any]


def intent(status: str = "succeeded", **changed: Any) -> Json:
    """A PaymentIntent of 25 euros that Purser made; `changed` replaces fields."""
    taken = 2500 if status == "succeeded" else 0
    reserved = 2500 if status == "requires_capture" else 0
    return {
        "id": "pi_3PqA",
        "object": "payment_intent",
        "amount": 2500,
        "amount_capturable": reserved,
        "amount_received": taken,
        "canceled_at": AT + 60 if status == "canceled" else None,
        "cancellation_reason": None,
        "capture_method": "automatic",
        "client_secret": "pi_3PqA_secret_Zz",
        "created": AT,
        "currency": "eur",
        "last_payment_error": None,
        "latest_charge": "ch_3PqA" if taken or reserved else None,
        "livemode": False,
        "metadata": {
            "purser_payment_id": PAYMENT,
            "purser_intent_seq": "1",
            "purser_flow": "direct",
        },
        "next_action": None,
        "payment_method": "pm_1PqA",
        "payment_method_types": ["card"],
        "status": status,
    } | changed


def charge(**changed: Any) -> Json:
    """The charge of that intent, with no refunds."""
    return {
        "id": "ch_3PqA",
        "object": "charge",
        "amount": 2500,
        "amount_captured": 2500,
        "amount_refunded": 0,
        "captured": True,
        "created": AT + 2,
        "currency": "eur",
        "disputed": False,
        "metadata": {"purser_payment_id": PAYMENT},
        "paid": True,
        "payment_intent": "pi_3PqA",
        "payment_method_details": {
            "card": {"amount_authorized": None, "brand": "visa", "last4": "4242"},
            "type": "card",
        },
        "refunds": listed("/v1/charges/ch_3PqA/refunds"),
        "status": "succeeded",
    } | changed


def listed(url: str, *data: Json, more: bool = False) -> Json:
    """A page of a list."""
    return {"object": "list", "data": list(data), "has_more": more, "url": url}


def refund(number: int = 1, status: str = "succeeded", **changed: Any) -> Json:
    """A refund of 5 euros."""
    return {
        "id": f"re_{number}",
        "object": "refund",
        "amount": 500,
        "charge": "ch_3PqA",
        "created": AT + 100 + number,
        "currency": "eur",
        "metadata": {"purser_refund_id": f"refund-{number}"},
        "payment_intent": "pi_3PqA",
        "reason": "requested_by_customer",
        "status": status,
    } | changed


def dispute(status: str = "needs_response", **changed: Any) -> Json:
    """A dispute of the whole charge; the money was withdrawn."""
    return {
        "id": "du_1",
        "object": "dispute",
        "amount": 2500,
        "balance_transactions": [{"id": "txn_1", "amount": -2500, "created": AT + 500}],
        "charge": "ch_3PqA",
        "created": AT + 490,
        "currency": "eur",
        "is_charge_refundable": False,
        "metadata": {},
        "payment_intent": "pi_3PqA",
        "reason": "fraudulent",
        "status": status,
    } | changed


def page(status: str = "open", **changed: Any) -> Json:
    """A Checkout Session; it has no intent until the buyer pays."""
    return {
        "id": "cs_test_a1",
        "object": "checkout.session",
        "amount_total": 2500,
        "created": AT,
        "currency": "eur",
        "expires_at": AT + 86_400,
        "metadata": {
            "purser_payment_id": PAYMENT,
            "purser_intent_seq": "1",
            "purser_flow": "hosted",
        },
        "mode": "payment",
        "payment_intent": None,
        "payment_status": "unpaid",
        "status": status,
        "url": None if status != "open" else "https://checkout.stripe.com/c/pay/cs_test_a1",
    } | changed


def card_error(code: str = "card_declined", **changed: Any) -> Json:
    """The error object of a decline."""
    return {
        "type": "card_error",
        "code": code,
        "decline_code": "insufficient_funds",
        "message": "Your card has insufficient funds.",
        "charge": "ch_3PqA",
    } | changed


def declined(**error: Any) -> Json:
    """The answer to a charge that the bank declined: status 402."""
    failed = card_error(**error)
    inside = intent("requires_payment_method", last_payment_error=failed, payment_method=None)
    return {"error": failed | {"payment_intent": inside}}


def event(event_type: str, about: Json, **changed: Any) -> Json:
    """An event with a snapshot of what it is about."""
    return {
        "id": "evt_1",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": AT + 5,
        "data": {"object": about},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": "req_1", "idempotency_key": "k"},
        "type": event_type,
    } | changed


def balance_transaction(number: int = 1, **changed: Any) -> Json:
    """A line of the books, for a charge of 25 euros."""
    return {
        "id": f"txn_{number}",
        "object": "balance_transaction",
        "amount": 2500,
        "available_on": AT + 3 * 86_400,
        "created": AT,
        "currency": "eur",
        "fee": 103,
        "net": 2397,
        "source": "ch_3PqA",
        "status": "pending",
        "type": "charge",
    } | changed
