"""What is asked of Stripe, and what is refused before the call."""

from typing import Any

import pytest
import stripe.params

from connectors.stripe import declines, requests
from connectors.stripe.requests import direct, hosted, our_field
from schemas.errors import ProcessorRefused
from tests.stripe_charges import PAGE, PAYMENT, request

METADATA = {
    "purser_payment_id": str(PAYMENT),
    "purser_intent_seq": "1",
    "purser_flow": "direct",
}


def test_a_direct_charge_is_confirmed_in_the_same_call() -> None:
    assert direct(request(), partial=False) == {
        "amount": 2500,
        "currency": "eur",
        "payment_method_types": ["card"],
        "payment_method": "pm_card_visa",
        "confirm": True,
        "off_session": False,
        "capture_method": "automatic",
        "metadata": METADATA,
        "return_url": "https://shop.example/thanks",
    }


@pytest.mark.parametrize(
    ("changed", "partial", "name", "expected"),
    [
        ({"capture_manually": True}, False, "capture_method", "manual"),
        (
            {"capture_manually": True},
            True,
            "payment_method_options",
            {
                "card": {
                    "request_multicapture": "if_available",
                    "request_partial_authorization": "if_available",
                }
            },
        ),
        ({}, False, "payment_method_options", None),
        ({"return_url": None}, False, "return_url", None),
        ({"method": "debit_card"}, False, "payment_method_types", ["card"]),
        ({"method": "bank_transfer"}, False, "payment_method_types", ["sepa_debit"]),
        (
            {"method": "bank_transfer", "currency": "USD"},
            False,
            "payment_method_types",
            ["us_bank_account"],
        ),
        (
            {"method": "bank_transfer"},
            True,
            "mandate_data",
            {"customer_acceptance": {"type": "offline", "offline": {}}},
        ),
        ({"method": "bank_transfer"}, True, "payment_method_options", None),
        ({}, False, "error_on_requires_action", None),
        ({"return_url": None}, False, "error_on_requires_action", True),
    ],
)
def test_a_direct_charge_in_detail(
    changed: dict[str, Any], partial: bool, name: str, expected: object
) -> None:
    assert direct(request(**changed), partial=partial).get(name) == expected


@pytest.mark.parametrize(
    ("changed", "code", "field"),
    [
        ({"method": "paypal"}, "method_unavailable", "method"),
        ({"method": "bank_transfer", "currency": "JPY"}, "method_unavailable", "currency"),
        ({"payment_token": None}, "payment_token_missing", "payment_token"),
        ({"method": "bank_transfer", "capture_manually": True}, "capture_unavailable", "capture"),
        ({"amount_minor": 10}, "amount_too_small", "amount_minor"),
    ],
)
def test_a_direct_charge_that_stripe_would_refuse(
    changed: dict[str, Any], code: str, field: str
) -> None:
    with pytest.raises(ProcessorRefused) as caught:
        direct(request(**changed), partial=False)
    assert (caught.value.code, caught.value.field) == (code, field)


def test_a_page_and_its_intent_carry_our_ids() -> None:
    params = hosted(PAGE, partial=False)
    assert params["metadata"] == METADATA | {"purser_flow": "hosted"}
    assert params["payment_intent_data"] == {
        "capture_method": "automatic",
        "metadata": METADATA | {"purser_flow": "hosted"},
    }
    assert params["success_url"] == params["cancel_url"] == "https://shop.example/thanks"


def test_a_page_needs_an_address_to_come_back_to() -> None:
    with pytest.raises(ProcessorRefused) as caught:
        hosted(request(hosted=True, return_url=None), partial=False)
    assert caught.value.field == "return_url"


def test_only_a_capture_that_leaves_something_to_capture_says_so() -> None:
    """Stripe takes `final_capture` only from accounts with multicapture; true is its default."""
    last = {"amount_to_capture": 400, "expand": requests.CHARGE_WHOLE}
    assert requests.capture("EUR", 400, final=True) == last
    assert requests.capture("EUR", 400, final=False) == last | {"final_capture": False}


def test_the_version_of_the_sdk_knows_the_options_of_a_card_except_those_of_a_preview() -> None:
    """When this fails, Stripe's API has the parameter: the setting may then be used at Stripe."""
    known = stripe.params.PaymentIntentCreateParamsPaymentMethodOptionsCard.__annotations__
    sent = direct(request(capture_manually=True), partial=True)["payment_method_options"]
    assert isinstance(sent, dict)
    assert set(sent["card"]) - set(known) == {"request_partial_authorization"}


def test_nothing_personal_is_sent() -> None:
    """A new parameter must be weighed: it belongs in this list, or not into the request."""
    sent = set(direct(request(capture_manually=True), partial=True)) | set(
        hosted(PAGE, partial=True)
    )
    assert sent == {
        "amount", "cancel_url", "capture_method", "client_reference_id", "confirm", "currency",
        "line_items", "metadata", "mode", "off_session", "payment_intent_data", "payment_method",
        "payment_method_options", "payment_method_types", "return_url", "success_url",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("parameter", "field"),
    [
        ("amount", "amount_minor"),
        ("payment_method", "payment_token"),
        ("line_items[0][price_data][unit_amount]", "amount_minor"),
        ("line_items[0][quantity]", None),
        ("payment_method_types[0]", "method"),
        ("unheard_of", None),
        (None, None),
    ],
)
def test_a_parameter_becomes_our_field(parameter: str | None, field: str | None) -> None:
    assert our_field(parameter) == field


def test_metadata_fits_at_stripe() -> None:
    assert all(len(name) <= 40 for name in (requests.PAYMENT_ID, requests.REFUND_ID))


def test_what_is_confidential_is_a_known_hard_decline() -> None:
    assert {declines.DECLINES[code] for code in declines.CONFIDENTIAL} == {declines.Decline.HARD}
