"""What is asked of Stripe: the parameters of each call, as data and pure functions.

Nothing personal is sent: tokens, amounts, and our own opaque ids in the metadata.
"""

from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from connectors.charges import ChargeRequest
from connectors.stripe.amounts import CARD_METHODS, STRIPE, charge_amount, part_amount
from schemas.errors import ProcessorRefused

Params = dict[str, object]

PAYMENT_ID = "purser_payment_id"
INTENT_SEQ = "purser_intent_seq"
REFUND_ID = "purser_refund_id"
FLOW = "purser_flow"
HOSTED = "hosted"

CHARGE_WHOLE = ["latest_charge.refunds"]
"""What an intent's answer must be expanded by to hold its refunds; Stripe lists up to ten."""
SESSION_WHOLE = ["payment_intent.latest_charge.refunds"]
REFUND_WHOLE = ["payment_intent.latest_charge.refunds"]

METHOD_TYPES: Mapping[tuple[str, str | None], str] = MappingProxyType(
    {
        # Whether a card is a debit card is known at Stripe alone: it has no type of its own.
        ("card", None): "card",
        ("debit_card", None): "card",
        # Debits of a bank account, which take days (https://docs.stripe.com/payments/bank-debits).
        ("bank_transfer", "EUR"): "sepa_debit",
        ("bank_transfer", "USD"): "us_bank_account",
        ("bank_transfer", "GBP"): "bacs_debit",
        ("bank_transfer", "AUD"): "au_becs_debit",
        ("bank_transfer", "NZD"): "nz_bank_account",
        ("bank_transfer", "CAD"): "acss_debit",
    }
)
"""(our method, currency or None for all) -> Stripe's type of payment method."""


def method_type(method: str, currency: str) -> str:
    """Return Stripe's type of payment method.

    Raises:
        ProcessorRefused: Stripe offers no such method, or not in this currency.
    """
    found = METHOD_TYPES.get((method, None)) or METHOD_TYPES.get((method, currency))
    if found is not None:
        return found
    currencies = sorted(other for name, other in METHOD_TYPES if name == method and other)
    if currencies:
        raise ProcessorRefused(
            STRIPE,
            "method_unavailable",
            f"a {method} can be in {', '.join(currencies)}, not in {currency}",
            field="currency",
        )
    methods = ", ".join(sorted({name for name, _ in METHOD_TYPES}))
    raise ProcessorRefused(
        STRIPE, "method_unavailable", f"is not offered; use one of {methods}", field="method"
    )


def _metadata(request: ChargeRequest) -> dict[str, str]:
    return {
        PAYMENT_ID: str(request.payment_id),
        INTENT_SEQ: str(request.intent_seq),
        FLOW: HOSTED if request.hosted else "direct",
    }


def _card_options(request: ChargeRequest, *, partial: bool) -> dict[str, str]:
    """Ask for several captures where the card allows it, as the orders of a payment need."""
    options = {}
    if request.capture_manually:
        options["request_multicapture"] = "if_available"
    if partial:
        options["request_partial_authorization"] = "if_available"
    return options


def direct(request: ChargeRequest, *, partial: bool) -> Params:
    """Parameters that create and confirm a PaymentIntent in one call.

    The buyer is there and can authenticate, so an intent that requires action is an answer, if
    there is an address to which the bank's page can send the buyer back.

    Raises:
        ProcessorRefused: Stripe would refuse it; names our field.
    """
    kind = method_type(request.method, request.currency)
    amount = charge_amount(request.currency, request.amount_minor, request.method)
    if not request.payment_token:
        raise ProcessorRefused(
            STRIPE,
            "payment_token_missing",
            "give Stripe's id of a payment method, or use the hosted flow",
            field="payment_token",
        )
    params: Params = {
        "amount": amount,
        "currency": request.currency.lower(),
        "payment_method_types": [kind],
        "payment_method": request.payment_token,
        "confirm": True,
        "off_session": False,
        "capture_method": "manual" if request.capture_manually else "automatic",
        "metadata": _metadata(request),
    }
    if request.return_url:
        params["return_url"] = request.return_url
    else:
        # A bank that asks for the buyer could not be shown to it: a decline tells the shop why.
        params["error_on_requires_action"] = True
    if kind != "card":
        # The buyer has agreed to the debit before they got the token.
        params["mandate_data"] = {"customer_acceptance": {"type": "offline", "offline": {}}}
    elif options := _card_options(request, partial=partial):
        params["payment_method_options"] = {"card": options}
    _check_capture(request)
    return params


def hosted(request: ChargeRequest, *, partial: bool) -> Params:
    """Parameters that create a Checkout Session, on whose page the buyer pays.

    Raises:
        ProcessorRefused: Stripe would refuse it; names our field.
    """
    kind = method_type(request.method, request.currency)
    amount = charge_amount(request.currency, request.amount_minor, request.method)
    if not request.return_url:
        raise ProcessorRefused(
            STRIPE, "return_url_missing", "is needed by the hosted flow", field="return_url"
        )
    _check_capture(request)
    item = {
        "quantity": 1,
        "price_data": {
            "currency": request.currency.lower(),
            "unit_amount": amount,
            "product_data": {"name": "Order"},
        },
    }
    params: Params = {
        "mode": "payment",
        "payment_method_types": [kind],
        "line_items": [item],
        "success_url": request.return_url,
        "cancel_url": request.return_url,
        "client_reference_id": str(request.payment_id),
        "metadata": _metadata(request),
        "payment_intent_data": {
            "capture_method": "manual" if request.capture_manually else "automatic",
            "metadata": _metadata(request),
        },
    }
    if kind == "card" and (options := _card_options(request, partial=partial)):
        params["payment_method_options"] = {"card": options}
    return params


def _check_capture(request: ChargeRequest) -> None:
    if request.capture_manually and request.method not in CARD_METHODS:
        raise ProcessorRefused(
            STRIPE,
            "capture_unavailable",
            f"a {request.method} cannot be authorized first; use automatic",
            field="capture",
        )


def capture(currency: str, amount_minor: int, *, final: bool) -> Params:
    """Parameters of a capture; what is not captured is released only if it is final.

    That it is final goes without saying: the parameter is only for accounts with multicapture.
    """
    params: Params = {
        "amount_to_capture": part_amount(currency, amount_minor),
        "expand": CHARGE_WHOLE,
    }
    return params if final else params | {"final_capture": False}


def refund(reference: str, currency: str, amount_minor: int, refund_id: str) -> Params:
    """Parameters of a refund, which carries our id of it."""
    return {
        "payment_intent": reference,
        "amount": part_amount(currency, amount_minor),
        "metadata": {REFUND_ID: refund_id},
        "expand": REFUND_WHOLE,
    }


def search(payment_id: UUID) -> Params:
    """Parameters of a search for the intents of a payment."""
    return {"query": f"metadata['{PAYMENT_ID}']:'{payment_id}'", "limit": 100}


FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "amount": "amount_minor",
        "amount_to_capture": "amount_minor",
        "capture_method": "capture",
        "currency": "currency",
        "payment_method": "payment_token",
        "payment_method_types": "method",
        "return_url": "return_url",
        "success_url": "return_url",
        "cancel_url": "return_url",
        "line_items[0][price_data][unit_amount]": "amount_minor",
        "line_items[0][price_data][currency]": "currency",
        "payment_intent_data[capture_method]": "capture",
    }
)
"""Stripe's parameter -> our field, for messages about a refusal."""


def our_field(parameter: str | None) -> str | None:
    """Return our field for a parameter that Stripe refuses; None if none of ours is to blame."""
    if parameter is None:
        return None
    return FIELDS.get(parameter) or FIELDS.get(parameter.partition("[")[0])
