"""Payment intents: create, update, confirm, capture, cancel. Each state allows some of them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from simulators.stripe import amounts, charges, ids, methods, objects, parameters, paying
from simulators.stripe.account import Account
from simulators.stripe.banks import CURRENCY_OF
from simulators.stripe.calls import Call, Declined
from simulators.stripe.errors import StripeError
from simulators.stripe.intent_parameters import (
    CANCEL,
    CAPTURE,
    CONFIRM,
    COPIED,
    CREATE,
    LIST,
    UPDATE,
)
from simulators.stripe.kinds import CHARGE, CUSTOMER, INTENT, METHOD
from simulators.stripe.lists import Conditions, page_of
from simulators.stripe.store import Body

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action")

ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "update": OPEN,
        "confirm": OPEN,
        "capture": ("requires_capture",),
        "cancel": (*OPEN, "requires_capture"),
    }
)
"""What is done -> the states in which it can be done."""

_DONE = {"update": "updated", "confirm": "confirmed", "capture": "captured", "cancel": "canceled"}
_NEVER_ENDS = "pm_usBankAccount_processing"


def create(account: Account, call: Call) -> Body | Declined:
    """POST /v1/payment_intents."""
    given = parameters.checked(call.params, CREATE, required=("amount", "currency"))
    currency = amounts.currency_of(given["currency"])
    amounts.check(given["amount"], currency)
    if given.get("confirm") is not True and (wrong := given.keys() & {"off_session", "return_url"}):
        name = min(wrong)
        raise StripeError(
            f"You cannot provide `{name}` when `confirm` is not set to true.", param=name
        )
    intent = new(account, given, currency)
    method = _method(account, intent, given)
    account.emit("payment_intent.created", intent)
    error = None
    if method is not None:
        intent["payment_method"] = method["id"]
        intent["status"] = "requires_confirmation"
    if given.get("confirm"):
        error = _confirm(account, intent, method, given)
    account.store.insert(INTENT, intent)
    account.store.keep_metadata(intent["id"], {}, intent["metadata"])
    return intent if error is None else Declined(error=error)


def new(account: Account, given: Mapping[str, Any], currency: str) -> Body:
    """A payment intent of checked parameters; the caller keeps it."""
    identity = account.store.new_id(INTENT)
    copied = {name: given[name] for name in COPIED if name in given}
    types = given.get("payment_method_types") or None
    automatic = given.get("automatic_payment_methods")
    if types is not None and automatic is not None and automatic.get("enabled"):
        raise StripeError(
            "You may only specify one of these parameters: automatic_payment_methods,"
            " payment_method_types.",
            param="payment_method_types",
        )
    if types is None:
        redirects = (automatic or {}).get("allow_redirects", "always")
        copied["automatic_payment_methods"] = {"allow_redirects": redirects, "enabled": True}
    if given.get("customer") is not None:
        account.store.get(CUSTOMER, given["customer"], param="customer", status=400)
    return objects.intent(
        identity,
        account.now,
        amount=given["amount"],
        client_secret=f"{identity}_secret_{ids.random_text(ids.SECRET_LENGTH)}",
        currency=currency,
        metadata=parameters.merged({}, given.get("metadata")),
        payment_method_types=types or types_of(currency),
        **copied,
    )


def types_of(currency: str) -> list[str]:
    """The types of payment methods of a currency."""
    return ["card", *(bank for bank, only in CURRENCY_OF.items() if only == currency)]


def _method(account: Account, intent: Body, given: Mapping[str, Any]) -> Body | None:
    """The payment method that is given, or None."""
    if given.get("payment_method") is not None:
        return methods.resolve(account, given["payment_method"])
    if "payment_method_data" in given:
        return methods.make(account, given["payment_method_data"])
    return (
        account.store.get(METHOD, intent["payment_method"])
        if (intent["payment_method"] is not None)
        else None
    )


def _confirm(
    account: Account, intent: Body, method: Body | None, given: dict[str, Any]
) -> StripeError | None:
    if method is None:
        raise StripeError(
            "You cannot confirm this PaymentIntent because it's missing a payment method. You can"
            " either update the PaymentIntent with a payment method and then confirm it again, or"
            " confirm it again directly with a payment method or ConfirmationToken.",
            code="payment_intent_unexpected_state",
            executed=True,
        )
    return paying.attempt(account, intent, method, given)


def must_allow(intent: Body, what: str) -> None:
    """Raise StripeError unless the intent's state allows it."""
    allowed = ALLOWED[what]
    if intent["status"] in allowed:
        return
    raise StripeError(
        f"You cannot {what} this PaymentIntent because it has a status of {intent['status']}."
        " Only a PaymentIntent with one of the following statuses may be"
        f" {_DONE[what]}: {', '.join(allowed)}.",
        code="payment_intent_unexpected_state",
        executed=True,
        payment_intent=intent,
    )


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/payment_intents/{id}."""
    given = parameters.checked(call.params, {"client_secret": parameters.text})
    intent = account.store.get(INTENT, call.identity)
    if given.get("client_secret", intent["client_secret"]) != intent["client_secret"]:
        raise StripeError(
            "The client_secret provided does not match any associated PaymentIntent on this"
            " account.",
            code="payment_intent_invalid_parameter",
            param="client_secret",
        )
    return intent


def list_(account: Account, call: Call) -> Body:
    """GET /v1/payment_intents."""
    given = parameters.checked(call.params, LIST)
    conditions = Conditions()
    if "customer" in given:
        conditions.add("customer = ?", given["customer"])
    return page_of(account.store, INTENT, given, conditions)


def update(account: Account, call: Call) -> Body:
    """POST /v1/payment_intents/{id}."""
    given = parameters.checked(call.params, UPDATE)
    intent = account.store.get(INTENT, call.identity)
    if given.keys() - {"metadata", "description", "receipt_email", "shipping", "transfer_group"}:
        must_allow(intent, "update")
    currency = amounts.currency_of(str(given.get("currency", intent["currency"])))
    amount: int = given["amount"] if "amount" in given else intent["amount"]
    if (amount, currency) != (intent["amount"], intent["currency"]):
        amounts.check(amount, currency)
    old = intent["metadata"]
    intent["metadata"] = parameters.merged(old, given.get("metadata"))
    intent["amount"], intent["currency"] = amount, currency
    intent.update({name: given[name] for name in COPIED if name in given})
    if given.get("payment_method_types"):
        intent["payment_method_types"] = given["payment_method_types"]
        intent["automatic_payment_methods"] = None
    if "payment_method" in given or "payment_method_data" in given:
        method = _method(account, {**intent, "payment_method": None}, given)
        intent["payment_method"] = None if method is None else method["id"]
        intent["status"] = "requires_payment_method" if method is None else "requires_confirmation"
        intent["next_action"] = None
    account.store.save(INTENT, intent)
    account.store.keep_metadata(intent["id"], old, intent["metadata"])
    return intent


def confirm(account: Account, call: Call) -> Body | Declined:
    """POST /v1/payment_intents/{id}/confirm."""
    given = parameters.checked(call.params, CONFIRM)
    intent = account.store.get(INTENT, call.identity)
    must_allow(intent, "confirm")
    for name in ("capture_method", "receipt_email", "setup_future_usage", "shipping"):
        if name in given:
            intent[name] = given[name]
    if "payment_method_options" in given:
        intent["payment_method_options"] = given["payment_method_options"]
    if given.get("payment_method_types"):
        intent["payment_method_types"] = given["payment_method_types"]
    error = _confirm(account, intent, _method(account, intent, given), given)
    account.store.save(INTENT, intent)
    return intent if error is None else Declined(error=error)


def capture(account: Account, call: Call) -> Body:
    """POST /v1/payment_intents/{id}/capture."""
    given = parameters.checked(call.params, CAPTURE)
    intent = account.store.get(INTENT, call.identity)
    must_allow(intent, "capture")
    left: int = intent["amount_capturable"]
    amount: int = given.get("amount_to_capture", left)
    if amount > left:
        raise StripeError(
            f"The amount_to_capture ({amount}) is greater than the amount that can be captured"
            f" ({left}).",
            code="amount_too_large",
            param="amount_to_capture",
            executed=True,
        )
    amounts.check_step(amount, intent["currency"], "amount_to_capture")
    charge = account.store.get(CHARGE, intent["latest_charge"])
    last = given.get("final_capture", True)
    if not last and charges.option(intent, charges.MULTICAPTURE) != "if_available":
        raise StripeError(
            "You cannot set final_capture to false: multicapture is not available for this"
            " PaymentIntent. Create it with"
            " payment_method_options[card][request_multicapture]=if_available.",
            param="final_capture",
            executed=True,
        )
    behaves = methods.behaviour(account, charge["payment_method"])
    old = intent["metadata"]
    intent["metadata"] = parameters.merged(old, given.get("metadata"))
    charges.take(account, charge, amount, behaves, last=last)
    account.store.save(CHARGE, charge)
    account.emit("charge.captured" if last else "charge.updated", charge)
    if last or amount == left:
        paying.succeeded(account, intent, charge, behaves)
    else:
        intent["amount_received"] = charge["amount_captured"]
        intent["amount_capturable"] -= amount
        account.emit("payment_intent.amount_capturable_updated", intent)
    account.store.save(INTENT, intent)
    account.store.keep_metadata(intent["id"], old, intent["metadata"])
    return intent


def cancel(account: Account, call: Call) -> Body:
    """POST /v1/payment_intents/{id}/cancel."""
    given = parameters.checked(call.params, CANCEL)
    intent = account.store.get(INTENT, call.identity)
    if not _never_ends(account, intent):
        must_allow(intent, "cancel")
    if account.database.row(
        "SELECT 1 FROM checkout_sessions WHERE payment_intent = ? AND status = 'open'",
        (intent["id"],),
    ):
        raise StripeError(
            "You cannot cancel this PaymentIntent because it was created by a Checkout Session."
            " Expire the session instead.",
            code="payment_intent_unexpected_state",
            executed=True,
            payment_intent=intent,
        )
    end(account, intent, given.get("cancellation_reason"))
    return intent


def _never_ends(account: Account, intent: Body) -> bool:
    """Whether a bank payment can still be recalled; few can."""
    if intent["status"] != "processing":
        return False
    token = account.store.hidden(METHOD, intent["payment_method"], "token")
    return bool(token == _NEVER_ENDS)


def end(account: Account, intent: Body, reason: str | None) -> None:
    """Cancel an intent and release what is authorized; a part that was captured stays."""
    charge = account.find(CHARGE, intent["latest_charge"])
    if intent["amount_received"] > 0 and charge is not None:
        behaves = methods.behaviour(account, charge["payment_method"])
        paying.succeeded(account, intent, charge, behaves)
        account.store.save(INTENT, intent)
        return
    if charge is not None and intent["status"] == "processing":
        charges.fail_bank(charge, "canceled", "The payment was canceled.")
        account.store.save(CHARGE, charge)
        account.emit("charge.failed", charge)
    intent["status"] = "canceled"
    intent["canceled_at"] = account.now
    intent["cancellation_reason"] = reason
    intent["amount_capturable"] = 0
    intent["next_action"] = None
    intent["processing"] = None
    account.store.save(INTENT, intent)
    account.emit("payment_intent.canceled", intent)
