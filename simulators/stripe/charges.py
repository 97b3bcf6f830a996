"""Charges: what was taken from one payment method, in one attempt."""

from typing import Any

from simulators.clock import DAY
from simulators.stripe import fees, objects, parameters, transactions
from simulators.stripe.account import Account
from simulators.stripe.banks import US_BANK_ACCOUNT, Bank
from simulators.stripe.calls import Call
from simulators.stripe.cards import Card, Decline
from simulators.stripe.kinds import CHARGE, REFUND
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.store import Body

AUTHORIZATION_SECONDS = 7 * DAY
MULTICAPTURE = "request_multicapture"

_RISK_SCORES = {"normal": 12, "elevated": 68, "highest": 92}
_SELLER_MESSAGES = {
    "insufficient_funds": "The bank returned the decline code `insufficient_funds`.",
    "fraudulent": "Stripe blocked this payment as too risky.",
}


def make(
    account: Account, intent: Body, method: Body, behaves: Card | Bank, *, amount: int
) -> Body:
    """A charge of a payment intent that has not been decided; the caller keeps it."""
    bank = isinstance(behaves, Bank)
    details = (
        _bank_details(method, behaves)
        if isinstance(behaves, Bank)
        else _card_details(account, intent, method, behaves, amount)
    )
    return objects.charge(
        account.store.new_id(CHARGE, bank=bank),
        account.now,
        amount=amount,
        billing_details=method["billing_details"],
        currency=intent["currency"],
        customer=intent["customer"],
        description=intent["description"],
        metadata=dict(intent["metadata"]),
        payment_intent=intent["id"],
        payment_method=method["id"],
        payment_method_details=details,
        receipt_email=intent["receipt_email"],
        shipping=intent["shipping"],
        statement_descriptor=intent["statement_descriptor"],
        statement_descriptor_suffix=intent["statement_descriptor_suffix"],
        transfer_group=intent["transfer_group"],
    )


def option(intent: Body, name: str) -> Any:
    """What the caller asked for about cards."""
    return intent["payment_method_options"].get("card", {}).get(name)


def _card_details(account: Account, intent: Body, method: Body, card: Card, amount: int) -> Body:
    shown = method["card"]
    manual = intent["capture_method"] == "manual"
    multicapture = manual and option(intent, MULTICAPTURE) == "if_available"
    details: Body = {
        "amount_authorized": amount,
        "authorization_code": None,
        "brand": card.brand,
        "checks": dict(shown["checks"]),
        "country": card.country,
        "exp_month": shown["exp_month"],
        "exp_year": shown["exp_year"],
        "extended_authorization": {"status": "disabled"},
        "fingerprint": shown["fingerprint"],
        "funding": card.funding,
        "incremental_authorization": {"status": "unavailable"},
        "installments": None,
        "last4": card.last4,
        "mandate": None,
        "multicapture": {"status": "available" if multicapture else "unavailable"},
        "network": card.brand,
        "network_token": {"used": False},
        "network_transaction_id": None,
        "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
        "regulated_status": "unregulated",
        "three_d_secure": None,
        "transaction_link_id": None,
        "wallet": None,
    }
    if manual:
        details["capture_before"] = account.now + AUTHORIZATION_SECONDS
    return {"card": details, "type": "card"}


def _bank_details(method: Body, bank: Bank) -> Body:
    details = dict(method[bank.type])
    if bank.type == US_BANK_ACCOUNT:
        for name in ("networks", "status_details", "financial_connections_account"):
            details.pop(name)
        details["payment_reference"] = None
    else:
        details.pop("generated_from")
        details["mandate"] = None
    return {bank.type: details, "type": bank.type}


def authenticated(charge: Body, result: str) -> None:
    """Say how 3-D Secure ended."""
    if "card" in charge["payment_method_details"]:
        charge["payment_method_details"]["card"]["three_d_secure"] = {
            "authentication_flow": "challenge",
            "electronic_commerce_indicator": "05",
            "exemption_indicator": None,
            "result": result,
            "result_reason": None,
            "transaction_id": None,
            "version": "2.2.0",
        }


def approve(account: Account, charge: Body, behaves: Card | Bank) -> None:
    """The issuer or the bank says yes."""
    risk = behaves.risk if isinstance(behaves, Card) else "normal"
    charge["status"] = "succeeded"
    charge["paid"] = True
    charge["outcome"] = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "approved_by_network",
        "reason": None,
        "risk_level": risk,
        "risk_score": _RISK_SCORES[risk],
        "seller_message": "Payment complete.",
        "type": "authorized",
    }
    charge["receipt_url"] = f"{account.base_url}/receipts/{charge['id']}"


def decline(charge: Body, why: Decline, risk: str) -> None:
    """The issuer or Stripe says no."""
    charge["status"] = "failed"
    charge["failure_code"] = why.code
    charge["failure_message"] = why.message
    charge["outcome"] = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": why.network_status,
        "reason": why.decline_code,
        "risk_level": risk,
        "risk_score": _RISK_SCORES[risk],
        "seller_message": _SELLER_MESSAGES.get(
            why.decline_code, "The bank did not return any further details with this decline."
        ),
        "type": why.outcome,
    }


def fail_bank(charge: Body, code: str, message: str) -> None:
    """The bank did not pay."""
    charge["status"] = "failed"
    charge["paid"] = False
    charge["failure_code"] = code
    charge["failure_message"] = message
    charge["outcome"] = {
        "advice_code": None,
        "network_advice_code": None,
        "network_decline_code": None,
        "network_status": "declined_by_network",
        "reason": code,
        "seller_message": message,
        "type": "issuer_declined",
    }


def take(account: Account, charge: Body, amount: int, behaves: Card | Bank, *, last: bool) -> None:
    """Capture an amount, and say what that does to the balance.

    A single capture of a part makes two transactions: the whole charge, and the reversal of what
    was not captured. Of several captures each makes one.
    """
    currency = charge["currency"]
    first = charge["amount_captured"] == 0
    charge["amount_captured"] += amount
    charge["captured"] = True
    bank = isinstance(behaves, Bank)
    booked = charge["amount"] if first and last else amount
    transaction = transactions.record(
        account,
        kind="payment" if bank else "charge",
        category="charge",
        amount=booked,
        currency=currency,
        source=charge["id"],
        fee=fees.of_charge(amount, currency, bank=bank, first=first),
        description=charge["description"],
        at_once=isinstance(behaves, Card) and behaves.available_at_once,
    )
    if first:
        charge["balance_transaction"] = transaction["id"]
    if booked > amount:
        transactions.record(
            account,
            kind="refund",
            category="partial_capture_reversal",
            amount=amount - booked,
            currency=currency,
            source=charge["id"],
            description="The part of the authorization that was not captured",
            at_once=isinstance(behaves, Card) and behaves.available_at_once,
        )


_LIST = {
    **PAGING,
    "customer": parameters.text,
    "payment_intent": parameters.text,
    "transfer_group": parameters.anything,
}
_UPDATE = {
    "customer": parameters.optional_text,
    "description": parameters.optional_text,
    "fraud_details": parameters.hashed,
    "metadata": parameters.metadata,
    "receipt_email": parameters.optional_text,
    "shipping": parameters.hashed,
    "transfer_group": parameters.optional_text,
}


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/charges/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(CHARGE, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/charges/{id}."""
    given = parameters.checked(call.params, _UPDATE)
    body = account.store.get(CHARGE, call.identity)
    metadata = parameters.merged(body["metadata"], given.pop("metadata", None))
    body.update(given, metadata=metadata)
    account.store.save(CHARGE, body)
    account.emit("charge.updated", body)
    return body


def list_(account: Account, call: Call) -> Body:
    """GET /v1/charges."""
    given = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    conditions.equal(given, "customer", "payment_intent")
    return page_of(account.store, CHARGE, given, conditions)


def refunds(account: Account, call: Call) -> Body:
    """GET /v1/charges/{id}/refunds."""
    given = parameters.checked(call.params, PAGING)
    account.store.get(CHARGE, call.identity)
    conditions = Conditions()
    conditions.add("charge = ?", call.identity)
    path = f"/v1/charges/{call.identity}/refunds"
    return page_of(account.store, REFUND, given, conditions, path=path)


def refunds_of(account: Account, identity: str) -> Body:
    """The refunds of a charge, for `expand[]=refunds`."""
    conditions = Conditions()
    conditions.add("charge = ?", identity)
    path = f"/v1/charges/{identity}/refunds"
    return page_of(account.store, REFUND, {}, conditions, path=path, decoded=True)
