"""Checkout sessions: a page of Stripe's on which a buyer pays. The page itself is in `pages`.

The payment intent comes into being when the buyer first tries to pay, as at Stripe.
"""

import json
from collections.abc import Mapping
from typing import Any

from simulators.stripe import amounts, intents, objects, parameters, paying
from simulators.stripe.account import Account
from simulators.stripe.calls import Call
from simulators.stripe.errors import StripeError, missing
from simulators.stripe.intent_parameters import CREATE as INTENT_CREATE
from simulators.stripe.kinds import CUSTOMER, INTENT, SESSION
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.parameters import Check
from simulators.stripe.store import Body

EXPIRY_SECONDS = 24 * 3600
EXPIRY_SECONDS_LEAST = 30 * 60
ITEMS_MOST = 100

_PRODUCT: Mapping[str, Check] = {
    "name": parameters.text,
    **dict.fromkeys(
        ("description", "images", "metadata", "tax_code", "tax_details", "unit_label"),
        parameters.anything,
    ),
}
_PRICE: Mapping[str, Check] = {
    "currency": parameters.text,
    "product": parameters.anything,
    "product_data": parameters.shape(_PRODUCT, required=("name",)),
    "tax_behavior": parameters.anything,
    "unit_amount": parameters.not_negative,
}
_ITEM: Mapping[str, Check] = {
    "adjustable_quantity": parameters.anything,
    "metadata": parameters.metadata,
    "price": parameters.text,
    "price_data": parameters.shape(_PRICE, required=("currency", "unit_amount")),
    "quantity": parameters.positive,
}
_INTENT_NAMES = (
    "application_fee_amount", "capture_method", "description", "metadata", "on_behalf_of",
    "receipt_email", "setup_future_usage", "shipping", "statement_descriptor",
    "statement_descriptor_suffix", "transfer_data", "transfer_group",
)  # fmt: skip
_INTENT_DATA: Mapping[str, Check] = {name: INTENT_CREATE[name] for name in _INTENT_NAMES}


def _items(name: str, value: Any) -> list[Body]:
    listed = parameters.hashes(name, value)
    if not 0 < len(listed) <= ITEMS_MOST:
        raise StripeError(f"{name} must have 1 to {ITEMS_MOST} entries", param=name)
    check = parameters.shape(_ITEM)
    return [check(f"{name}[{place}]", each) for place, each in enumerate(listed)]


_IGNORED = dict.fromkeys(
    (
        "adaptive_pricing", "after_expiration", "allow_promotion_codes", "automatic_tax",
        "billing_address_collection", "branding_settings", "consent_collection", "currency",
        "custom_fields", "custom_text", "customer_account", "customer_creation", "customer_update",
        "discounts", "excluded_payment_method_types", "integration_identifier", "invoice_creation",
        "locale", "managed_payments", "name_collection", "optional_items", "origin_context",
        "payment_method_collection", "payment_method_configuration", "payment_method_data",
        "permissions", "phone_number_collection", "redirect_on_completion", "return_url",
        "saved_payment_method_options", "shipping_address_collection", "shipping_options",
        "submit_type", "tax_id_collection", "wallet_options",
    ),
    parameters.anything,
)  # fmt: skip
_CREATE: Mapping[str, Check] = {
    **_IGNORED,
    "cancel_url": parameters.text,
    "client_reference_id": parameters.text,
    "customer": parameters.text,
    "customer_email": parameters.text,
    "expires_at": parameters.integer,
    "line_items": _items,
    "metadata": parameters.metadata,
    "mode": parameters.choice("payment"),
    "payment_intent_data": parameters.shape(_INTENT_DATA),
    "payment_method_options": parameters.hashes_by_name,
    "payment_method_types": INTENT_CREATE["payment_method_types"],
    "success_url": parameters.text,
    "ui_mode": parameters.choice("hosted", "hosted_page"),
}
_COPIED = (
    "cancel_url", "client_reference_id", "customer", "customer_email", "payment_method_options",
    "success_url", "ui_mode",
)  # fmt: skip
_LIST = {
    **PAGING,
    "customer": parameters.text,
    "payment_intent": parameters.text,
    "status": parameters.choice("open", "complete", "expired"),
}


def create(account: Account, call: Call) -> Body:
    """POST /v1/checkout/sessions."""
    given = parameters.checked(call.params, _CREATE, required=("line_items", "success_url", "mode"))
    identity = account.store.new_id(SESSION)
    items, currency = _lines(identity, given["line_items"])
    total = sum(each["amount_total"] for each in items)
    amounts.check(total, currency, "line_items")
    if "customer" in given:
        account.store.get(CUSTOMER, given["customer"], param="customer", status=400)
    expires_at = given.get("expires_at", account.now + EXPIRY_SECONDS)
    if not EXPIRY_SECONDS_LEAST <= expires_at - account.now <= EXPIRY_SECONDS:
        raise StripeError(
            "The `expires_at` timestamp must be between 30 minutes and 24 hours from Checkout"
            " Session creation.",
            param="expires_at",
        )
    body = objects.session(
        identity,
        account.now,
        amount_subtotal=total,
        amount_total=total,
        currency=currency,
        expires_at=expires_at,
        metadata=parameters.merged({}, given.get("metadata")),
        payment_method_types=given.get("payment_method_types") or intents.types_of(currency),
        url=f"{account.base_url}/c/pay/{identity}",
        **{name: given[name] for name in _COPIED if name in given},
    )
    kept = {"payment_method_options": given.get("payment_method_options", {})}
    kept |= given.get("payment_intent_data", {})
    account.store.insert(SESSION, body, line_items=json.dumps(items), given=json.dumps(kept))
    account.tasks.add("session_expires", identity, expires_at)
    return body


def _lines(identity: str, given: list[Body]) -> tuple[list[Body], str]:
    """The lines of a session and their currency; raises StripeError."""
    items: list[Body] = []
    for place, each in enumerate(given):
        name = f"line_items[{place}]"
        if "price" in each:
            raise StripeError(
                f"No such price: '{each['price']}'", code="resource_missing", param=f"{name}[price]"
            )
        if "price_data" not in each:
            raise missing(f"{name}[price_data]")
        price = each["price_data"]
        currency = amounts.currency_of(price["currency"], f"{name}[price_data][currency]")
        if items and currency != items[0]["currency"]:
            raise StripeError(
                "The line items must have one currency.", param=f"{name}[price_data][currency]"
            )
        amount = price["unit_amount"] * each.get("quantity", 1)
        items.append(
            objects.line_item(
                f"li_{identity[-12:]}{place}",
                amount_subtotal=amount,
                amount_total=amount,
                currency=currency,
                description=price.get("product_data", {}).get("name"),
                metadata=each.get("metadata", {}),
                quantity=each.get("quantity", 1),
            )
        )
    return items, str(items[0]["currency"])


def pay(account: Account, session: Body, method: Body) -> StripeError | None:
    """The buyer tries to pay an open session; an error says that it was declined."""
    intent = account.find(INTENT, session["payment_intent"]) or _intent(account, session)
    given = {"return_url": f"{account.base_url}/c/pay/{session['id']}/return"}
    error = paying.attempt(account, intent, method, given)
    account.store.save(INTENT, intent)
    after_payment(account, intent)
    return error


def _intent(account: Account, session: Body) -> Body:
    data = json.loads(account.store.hidden(SESSION, session["id"], "given"))
    data |= {
        "amount": session["amount_total"],
        "customer": session["customer"],
        "payment_method_types": session["payment_method_types"],
    }
    intent = intents.new(account, data, session["currency"])
    account.store.insert(INTENT, intent)
    account.store.keep_metadata(intent["id"], {}, intent["metadata"])
    account.emit("payment_intent.created", intent)
    session["payment_intent"] = intent["id"]
    account.store.save(SESSION, session)
    return intent


def after_payment(account: Account, intent: Body) -> None:
    """Tell the session of an intent, if it has one, how the payment went."""
    for session in account.store.where(SESSION, {"payment_intent": intent["id"]}):
        _follow(account, session, intent)


def _follow(account: Account, session: Body, intent: Body) -> None:
    status = intent["status"]
    if session["status"] == "open":
        if status not in ("succeeded", "requires_capture", "processing"):
            return  # the buyer may try again
        session["status"] = "complete"
        session["payment_status"] = "paid" if status == "succeeded" else "unpaid"
        session["url"] = None
        event = "checkout.session.completed"
    elif session["status"] == "complete" and session["payment_status"] == "unpaid":
        if status == "succeeded":
            session["payment_status"] = "paid"
        event = (
            f"checkout.session.async_payment_{'succeeded' if status == 'succeeded' else 'failed'}"
        )
    else:
        return
    account.store.save(SESSION, session)
    account.emit(event, session)


def expires(account: Account, identity: str) -> None:
    """Nobody has paid in time."""
    session = account.store.get(SESSION, identity)
    if session["status"] == "open":
        _expire(account, session)


def _expire(account: Account, session: Body) -> None:
    session["status"] = "expired"
    session["url"] = None
    account.store.save(SESSION, session)
    account.emit("checkout.session.expired", session)
    intent = account.find(INTENT, session["payment_intent"])
    if intent is not None and intent["status"] in intents.OPEN:
        intents.end(account, intent, "automatic")


def line_items_of(account: Account, identity: str) -> Body:
    """The lines of a session."""
    items = json.loads(account.store.hidden(SESSION, identity, "line_items"))
    path = f"{SESSION.path}/{identity}/line_items"
    return {"object": "list", "data": items, "has_more": False, "url": path}


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/checkout/sessions/{id}."""
    parameters.checked(call.params, {})
    return account.store.get(SESSION, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/checkout/sessions/{id}."""
    given = parameters.checked(call.params, {"metadata": parameters.metadata})
    session = account.store.get(SESSION, call.identity)
    session["metadata"] = parameters.merged(session["metadata"], given.get("metadata"))
    account.store.save(SESSION, session)
    return session


def expire(account: Account, call: Call) -> Body:
    """POST /v1/checkout/sessions/{id}/expire."""
    parameters.checked(call.params, {})
    session = account.store.get(SESSION, call.identity)
    if session["status"] != "open":
        raise StripeError(
            'Only Checkout Sessions with a status in ["open"] can be expired. This Checkout Session'
            f" has a status of {session['status']}.",
            executed=True,
        )
    _expire(account, session)
    return session


def line_items(account: Account, call: Call) -> Body:
    """GET /v1/checkout/sessions/{id}/line_items."""
    parameters.checked(call.params, PAGING)
    account.store.get(SESSION, call.identity)
    return line_items_of(account, call.identity)


def list_(account: Account, call: Call) -> Body:
    """GET /v1/checkout/sessions."""
    given: Mapping[str, Any] = parameters.checked(call.params, _LIST)
    conditions = Conditions()
    conditions.equal(given, "customer", "payment_intent", "status")
    return page_of(account.store, SESSION, given, conditions)
