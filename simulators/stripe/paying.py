"""What becomes of a payment intent that is confirmed: authentication, charge, capture, decline.

Every function changes the intent it is given; whoever called keeps it.
"""

from typing import Any

from simulators.stripe import charges, charging_later, methods
from simulators.stripe.account import Account
from simulators.stripe.banks import BANKS, CURRENCY_OF, Bank
from simulators.stripe.cards import (
    AUTHENTICATION_REQUIRED,
    INSUFFICIENT_FUNDS,
    PROCESSING_ERROR,
    Authentication,
    Card,
    Decline,
)
from simulators.stripe.errors import DOCUMENTATION, StripeError
from simulators.stripe.kinds import CHARGE, METHOD
from simulators.stripe.store import Body

PARTIAL = "request_partial_authorization"


def attempt(
    account: Account, intent: Body, method: Body, given: dict[str, Any]
) -> StripeError | None:
    """Try to pay with a method; an error says that it was declined.

    `given` are the parameters of the confirmation: return_url, off_session, and
    error_on_requires_action.
    """
    if method["type"] not in intent["payment_method_types"]:
        raise StripeError(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent."
            " Please attach a PaymentMethod of one of the following types:"
            f" {', '.join(intent['payment_method_types'])}. Alternatively update the allowed"
            " payment_method_types for this PaymentIntent to include"
            f' "{method["type"]}".',
            param="payment_method",
        )
    intent["payment_method"] = method["id"]
    intent["last_payment_error"] = None
    intent["next_action"] = None
    behaves = methods.behaviour(account, method["id"])
    if isinstance(behaves, Bank):
        _debit(account, intent, method, behaves)
        return None
    if _authenticates(intent, behaves, given):
        if given.get("off_session") or given.get("error_on_requires_action"):
            return declined(account, intent, method, behaves, AUTHENTICATION_REQUIRED)
        if behaves.authentication_fails:
            return declined(account, intent, method, behaves, PROCESSING_ERROR)
        _ask(account, intent, given)
        return None
    return charge(account, intent, method, behaves)


def _authenticates(intent: Body, card: Card, given: dict[str, Any]) -> bool:
    match card.authentication:
        case Authentication.REQUIRED:
            return True
        case Authentication.OFF_SESSION_SET_UP:
            return not given.get("off_session")
        case Authentication.SUPPORTED:
            return charges.option(intent, "request_three_d_secure") in ("any", "challenge")
        case Authentication.NEVER:
            return False


def _ask(account: Account, intent: Body, given: dict[str, Any]) -> None:
    """The buyer has to authenticate on a page."""
    secret = intent["client_secret"].rpartition("_")[2]
    url = f"{account.base_url}/3ds/{intent['id']}?secret={secret}"
    if given.get("return_url"):
        intent["next_action"] = {
            "redirect_to_url": {"return_url": given["return_url"], "url": url},
            "type": "redirect_to_url",
        }
    else:
        intent["next_action"] = {
            "type": "use_stripe_sdk",
            "use_stripe_sdk": {"stripe_js": url, "type": "three_d_secure_redirect"},
        }
    intent["status"] = "requires_action"
    account.emit("payment_intent.requires_action", intent)


def charge(
    account: Account, intent: Body, method: Body, card: Card, *, authenticated: bool = False
) -> StripeError | None:
    """Charge a card; an error says that it was declined."""
    amount = intent["amount"]
    if card.partial:
        if charges.option(intent, PARTIAL) != "if_available":
            return declined(account, intent, method, card, INSUFFICIENT_FUNDS)
        amount = max(1, amount // 2)
    if card.decline is not None:
        return declined(account, intent, method, card, card.decline, authenticated=authenticated)
    made = charges.make(account, intent, method, card, amount=amount)
    charges.approve(account, made, card)
    if authenticated:
        charges.authenticated(made, "authenticated")
    if charges.option(intent, PARTIAL) == "if_available":
        made["payment_method_details"]["card"]["partial_authorization"] = {
            "status": "partially_authorized" if card.partial else "fully_authorized"
        }
    intent["latest_charge"] = made["id"]
    intent["next_action"] = None
    if intent["capture_method"] == "manual":
        intent["status"] = "requires_capture"
        intent["amount_capturable"] = amount
        account.store.insert(CHARGE, made)
        account.emit("charge.succeeded", made)
        account.emit("payment_intent.amount_capturable_updated", intent)
        charging_later.expire_authorization(account, intent)
        return None
    charges.take(account, made, amount, card, last=True)
    account.store.insert(CHARGE, made)
    account.emit("charge.succeeded", made)
    succeeded(account, intent, made, card)
    return None


def succeeded(account: Account, intent: Body, made: Body, behaves: Card | Bank) -> None:
    """All that will be captured is captured."""
    intent["status"] = "succeeded"
    intent["amount_received"] = made["amount_captured"]
    intent["amount_capturable"] = 0
    intent["processing"] = None
    account.emit("payment_intent.succeeded", intent)
    charging_later.after_capture(account, made, behaves)


def declined(
    account: Account,
    intent: Body,
    method: Body,
    card: Card,
    why: Decline,
    *,
    authenticated: bool = False,
) -> StripeError:
    """A card is declined: the intent needs another payment method."""
    made = charges.make(account, intent, method, card, amount=intent["amount"])
    charges.decline(made, why, card.risk)
    if authenticated:
        charges.authenticated(made, "authenticated")
    account.store.insert(CHARGE, made)
    account.emit("charge.failed", made)
    intent["latest_charge"] = made["id"]
    error: Body = {
        "charge": made["id"],
        "code": why.code,
        "decline_code": why.decline_code,
        "doc_url": DOCUMENTATION + why.code.replace("_", "-"),
        "message": why.message,
        "payment_method": method,
        "type": "card_error",
    }
    if why.code == "incorrect_cvc":
        error["param"] = "cvc"
    failed(account, intent, error)
    return StripeError(
        why.message,
        status=402,
        kind="card_error",
        code=why.code,
        param=error.get("param"),
        charge=made["id"],
        decline_code=why.decline_code,
        payment_intent=intent,
        payment_method=method,
    )


def failed(account: Account, intent: Body, error: Body) -> None:
    """An attempt is over; another payment method may be tried."""
    intent["status"] = "requires_payment_method"
    intent["last_payment_error"] = error
    intent["payment_method"] = None
    intent["next_action"] = None
    intent["processing"] = None
    account.emit("payment_intent.payment_failed", intent)


def _debit(account: Account, intent: Body, method: Body, bank: Bank) -> None:
    """A bank is asked, and answers in some days."""
    if intent["currency"] != CURRENCY_OF[bank.type]:
        raise StripeError(
            f"The currency provided ({intent['currency']}) is invalid for one or more payment"
            f" method types on this PaymentIntent: {bank.type} supports {CURRENCY_OF[bank.type]}.",
            param="currency",
        )
    if intent["capture_method"] == "manual":
        raise StripeError(
            f"The payment method type {bank.type} does not support capture_method manual.",
            param="capture_method",
        )
    made = charges.make(account, intent, method, bank, amount=intent["amount"])
    account.store.insert(CHARGE, made)
    intent["latest_charge"] = made["id"]
    intent["status"] = "processing"
    intent["processing"] = None
    account.emit("charge.pending", made)
    account.emit("payment_intent.processing", intent)
    if bank.seconds is not None:
        account.later(bank.seconds, "bank_answers", intent["id"])


def bank_answered(account: Account, intent: Body) -> None:
    """The bank pays or does not."""
    made = account.store.get(CHARGE, intent["latest_charge"])
    token = account.store.hidden(METHOD, made["payment_method"], "token")
    bank = BANKS[token]
    if bank.refusal is None:
        charges.approve(account, made, bank)
        charges.take(account, made, made["amount"], bank, last=True)
        account.store.save(CHARGE, made)
        account.emit("charge.succeeded", made)
        succeeded(account, intent, made, bank)
        return
    charges.fail_bank(made, bank.refusal.code, bank.refusal.message)
    account.store.save(CHARGE, made)
    account.emit("charge.failed", made)
    failed(
        account,
        intent,
        {
            "charge": made["id"],
            "code": "payment_intent_payment_attempt_failed",
            "decline_code": bank.refusal.code,
            "doc_url": f"{DOCUMENTATION}payment-intent-payment-attempt-failed",
            "message": bank.refusal.message,
            "payment_method": account.store.get(METHOD, made["payment_method"]),
            "type": "invalid_request_error",
        },
    )


def authenticate(account: Account, intent: Body, *, passed: bool) -> StripeError | None:
    """The buyer has been on the page of 3-D Secure; an error says that the payment failed."""
    method = account.store.get(METHOD, intent["payment_method"])
    card = methods.behaviour(account, method["id"])
    assert isinstance(card, Card), method["id"]
    if passed:
        return charge(account, intent, method, card, authenticated=True)
    message = (
        "We are unable to authenticate your payment method. Please choose a different payment"
        " method and try again."
    )
    code = "payment_intent_authentication_failure"
    failed(
        account,
        intent,
        {
            "code": code,
            "doc_url": DOCUMENTATION + code.replace("_", "-"),
            "message": message,
            "payment_method": method,
            "type": "invalid_request_error",
        },
    )
    return StripeError(message, status=402, kind="card_error", code=code, payment_intent=intent)
