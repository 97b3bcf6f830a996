"""Amounts: Stripe's units, and what is refused before the call, by the name of our field."""

import pytest

from connectors.stripe.amounts import MINIMUM, charge_amount, our_amount, part_amount
from schemas.errors import OutcomeUnknown, ProcessorRefused
from schemas.money import currency_exponent


@pytest.mark.parametrize(
    ("currency", "amount_minor", "expected"),
    [
        ("EUR", 2500, 2500),
        ("EUR", 50, 50),
        ("GBP", 30, 30),
        ("JPY", 50, 50),
        ("KWD", 1230, 1230),
        ("ISK", 100, 10_000),
        ("UGX", 100, 10_000),
        ("MGA", 500, 5),
        ("HUF", 17_500, 17_500),
        ("TND", 10, 10),
        ("EUR", 999_999_999_999, 999_999_999_999),
    ],
)
def test_a_charge_in_stripes_units(currency: str, amount_minor: int, expected: int) -> None:
    assert charge_amount(currency, amount_minor, "card") == expected
    assert our_amount(currency, expected) == amount_minor


@pytest.mark.parametrize(
    ("currency", "amount_minor", "method", "code"),
    [
        ("EUR", 49, "card", "amount_too_small"),
        ("EUR", 0, "card", "amount_too_small"),
        ("EUR", -1, "card", "amount_too_small"),
        ("GBP", 29, "card", "amount_too_small"),
        ("JPY", 49, "card", "amount_too_small"),
        ("MXN", 999, "card", "amount_too_small"),
        ("HUF", 17_499, "card", "amount_too_small"),
        ("EUR", 10**12, "card", "amount_too_large"),
        ("EUR", 10**12, "debit_card", "amount_too_large"),
        ("EUR", 10**8, "bank_transfer", "amount_too_large"),
        ("USD", 10**8, "bank_transfer", "amount_too_large"),
        ("KWD", 1231, "card", "amount_not_writable"),
        ("MGA", 150, "card", "amount_not_writable"),
    ],
)
def test_what_stripe_would_refuse_is_refused_first(
    currency: str, amount_minor: int, method: str, code: str
) -> None:
    with pytest.raises(ProcessorRefused, match=r"^stripe: amount_minor: ") as caught:
        charge_amount(currency, amount_minor, method)
    assert (caught.value.code, caught.value.field) == (code, "amount_minor")


@pytest.mark.parametrize(("currency", "digits"), [("IDR", 12), ("COP", 10), ("INR", 9), ("EUR", 8)])
def test_the_largest_amount_of_a_bank_transfer(currency: str, digits: int) -> None:
    most = 10**digits - 1
    assert charge_amount(currency, most, "bank_transfer") == most
    with pytest.raises(ProcessorRefused, match=f"more than the {digits} digits"):
        charge_amount(currency, most + 1, "bank_transfer")


def test_the_message_says_the_minimum() -> None:
    with pytest.raises(ProcessorRefused, match=r"must be at least 0\.50 EUR"):
        charge_amount("EUR", 49, "card")


def test_a_capture_or_a_refund_can_be_as_small_as_one() -> None:
    assert part_amount("EUR", 1) == 1
    with pytest.raises(ProcessorRefused, match="must be positive"):
        part_amount("EUR", 0)


def test_the_minima_are_of_currencies() -> None:
    assert all(currency_exponent(currency) >= 0 for currency in MINIMUM)


def test_an_unknown_currency_is_refused_by_name() -> None:
    with pytest.raises(ProcessorRefused) as caught:
        charge_amount("EUX", 100, "card")
    assert caught.value.field == "currency"


def test_a_fraction_of_our_unit_is_no_amount() -> None:
    with pytest.raises(OutcomeUnknown, match="fraction of a minor unit"):
        our_amount("ISK", 150)
