"""Payment methods: test cards and test bank accounts, and what each of them does."""

from collections.abc import Mapping
from typing import Any

from simulators.stripe import banks, cards, objects, parameters
from simulators.stripe.account import Account
from simulators.stripe.banks import BANKS, SEPA_DEBIT, US_BANK_ACCOUNT, Bank
from simulators.stripe.calls import Call
from simulators.stripe.cards import CARDS, Authentication, Card
from simulators.stripe.errors import StripeError, missing
from simulators.stripe.kinds import CUSTOMER, METHOD
from simulators.stripe.lists import PAGING, Conditions, page_of
from simulators.stripe.parameters import Check
from simulators.stripe.store import Body

TYPES = ("card", US_BANK_ACCOUNT, SEPA_DEBIT)
EXPIRY_YEARS = 5
_SECONDS_PER_YEAR = 31_556_952
_EPOCH_YEAR = 1970

_CARD: Mapping[str, Check] = {
    "number": parameters.text,
    "exp_month": parameters.integer,
    "exp_year": parameters.integer,
    "cvc": parameters.text,
    "token": parameters.text,
}
_US_BANK_ACCOUNT: Mapping[str, Check] = {
    "account_holder_type": parameters.anything,
    "account_number": parameters.text,
    "account_type": parameters.anything,
    "financial_connections_account": parameters.anything,
    "routing_number": parameters.anything,
}
DATA: Mapping[str, Check] = {
    "type": parameters.choice(*TYPES),
    "card": parameters.shape(_CARD),
    US_BANK_ACCOUNT: parameters.shape(_US_BANK_ACCOUNT),
    SEPA_DEBIT: parameters.shape({"iban": parameters.text}),
    "billing_details": parameters.hashed,
    "metadata": parameters.metadata,
    "allow_redisplay": parameters.anything,
    "radar_options": parameters.anything,
}


def resolve(account: Account, given: str, param: str = "payment_method") -> Body:
    """The payment method of an id, or a new one of a test token.

    Raises:
        StripeError: there is no such one.
    """
    token = _token_of(given)
    if token is not None:
        return _new(account, token)
    return account.store.get(METHOD, given, param=param, status=400)


def make(account: Account, data: dict[str, Any], param: str = "payment_method_data") -> Body:
    """A new payment method of `payment_method_data`; raises StripeError."""
    if "type" not in data:
        raise missing(f"{param}[type]")
    details = data.get(data["type"], {})
    if data["type"] == "card":
        token = _card_token(details, param)
    else:
        account_number = details.get("account_number") or details.get("iban") or ""
        token = banks.BY_ACCOUNT.get(account_number, "")
        if not token or BANKS[token].type != data["type"]:
            raise StripeError(
                "Your bank account number is not one of the test accounts, see"
                " https://docs.stripe.com/testing.",
                param=f"{param}[{data['type']}]",
            )
    billing = {**objects.billing_details(), **data.get("billing_details", {})}
    return _new(account, token, billing_details=billing, metadata=_metadata(data.get("metadata")))


def behaviour(account: Account, method_id: str | None) -> Card | Bank:
    """What a payment method does."""
    token = account.store.hidden(METHOD, method_id or "", "token")
    return behaviour_of_token(token or "pm_card_visa")


def behaviour_of_token(token: str) -> Card | Bank:
    """What a test token's card or bank account does."""
    if token in BANKS:
        return BANKS[token]
    name = cards.name_of_token(token)
    assert name is not None, token
    return CARDS[name]


def _token_of(given: str) -> str | None:
    if given in BANKS:
        return given
    name = cards.name_of_token(given)
    return None if name is None else f"pm_card_{name}"


def _card_token(details: dict[str, Any], param: str) -> str:
    if "token" in details:
        name = cards.name_of_token(details["token"])
        if name is None:
            raise StripeError(
                f"No such token: '{details['token']}'",
                code="resource_missing",
                param=f"{param}[card][token]",
            )
    elif "number" in details:
        name = cards.name_of_number(details["number"], f"{param}[card][number]")
    else:
        raise missing(f"{param}[card][number]")
    return f"pm_card_{name}"


def _metadata(given: dict[str, str] | None) -> dict[str, str]:
    return parameters.merged({}, given)


def _new(account: Account, token: str, **given: Any) -> Body:
    behaves = behaviour_of_token(token)
    identity = account.store.new_id(METHOD)
    details = _card(account, behaves) if isinstance(behaves, Card) else _bank(behaves)
    body = objects.payment_method(identity, account.now, **details, **given)
    account.store.insert(METHOD, body, token=token)
    return body


def _card(account: Account, card: Card) -> Body:
    year = _EPOCH_YEAR + account.now // _SECONDS_PER_YEAR + EXPIRY_YEARS
    return {
        "type": "card",
        "card": {
            "brand": card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": card.cvc_check,
            },
            "country": card.country,
            "display_brand": card.brand,
            "exp_month": 12,
            "exp_year": year,
            "fingerprint": fingerprint(card.number),
            "funding": card.funding,
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": card.authentication is not Authentication.NEVER},
            "wallet": None,
        },
    }


def _bank(bank: Bank) -> Body:
    if bank.type == US_BANK_ACCOUNT:
        details: Body = {
            "account_holder_type": "individual",
            "account_type": "checking",
            "bank_name": "STRIPE TEST BANK",
            "financial_connections_account": None,
            "fingerprint": fingerprint(bank.account),
            "last4": bank.last4,
            "networks": {"preferred": "ach", "supported": ["ach"]},
            "routing_number": "110000000",
            "status_details": None,
        }
    else:
        details = {
            "bank_code": "19043",
            "branch_code": "",
            "country": "AT",
            "fingerprint": fingerprint(bank.account),
            "generated_from": {"charge": None, "setup_attempt": None},
            "last4": bank.last4,
        }
    return {"type": bank.type, bank.type: details}


def fingerprint(number: str) -> str:
    """The same text for the same card or account."""
    return f"Sim{int(''.join(filter(str.isdigit, number))) * 2_654_435_761 % 36**12:013d}"


def create(account: Account, call: Call) -> Body:
    """POST /v1/payment_methods."""
    given = parameters.checked(call.params, DATA, required=("type",))
    return make(account, given, "payment_method")


def retrieve(account: Account, call: Call) -> Body:
    """GET /v1/payment_methods/{id}; a test token gives a new payment method of its card."""
    parameters.checked(call.params, {})
    if _token_of(call.identity) is not None:
        return resolve(account, call.identity)
    return account.store.get(METHOD, call.identity)


def update(account: Account, call: Call) -> Body:
    """POST /v1/payment_methods/{id}."""
    given = parameters.checked(
        call.params,
        {
            "metadata": parameters.metadata,
            "billing_details": parameters.hashed,
            "allow_redisplay": parameters.anything,
            "card": parameters.anything,
        },
    )
    body = account.store.get(METHOD, call.identity)
    body["metadata"] = parameters.merged(body["metadata"], given.get("metadata"))
    body["billing_details"] = {**body["billing_details"], **given.get("billing_details", {})}
    account.store.save(METHOD, body)
    return body


def attach(account: Account, call: Call) -> Body:
    """POST /v1/payment_methods/{id}/attach."""
    given = parameters.checked(call.params, {"customer": parameters.text}, required=("customer",))
    account.store.get(CUSTOMER, given["customer"], status=400)
    body = resolve(account, call.identity)
    body["customer"] = given["customer"]
    account.store.save(METHOD, body)
    account.emit("payment_method.attached", body)
    return body


def detach(account: Account, call: Call) -> Body:
    """POST /v1/payment_methods/{id}/detach."""
    parameters.checked(call.params, {})
    body = account.store.get(METHOD, call.identity)
    if body["customer"] is None:
        raise StripeError(
            "The payment method you provided is not attached to a customer so detachment is"
            " impossible.",
            executed=True,
        )
    previous = {"customer": body["customer"]}
    body["customer"] = None
    account.store.save(METHOD, body)
    account.emit("payment_method.detached", body, previous)
    return body


def list_(account: Account, call: Call) -> Body:
    """GET /v1/payment_methods."""
    given = parameters.checked(
        call.params,
        {
            **PAGING,
            "customer": parameters.text,
            "type": parameters.choice(*TYPES),
            "allow_redisplay": parameters.anything,
        },
    )
    conditions = Conditions()
    conditions.equal(given, "customer", "type")
    return page_of(account.store, METHOD, given, conditions)
