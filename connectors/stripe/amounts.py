"""Amounts as Stripe takes them: its units, smallest and largest amounts, as data. Pure.

Source: https://docs.stripe.com/currencies. What Stripe would refuse is refused here, before the
call, with the name of the field.
"""

from collections.abc import Mapping
from types import MappingProxyType

from schemas.errors import InputError, ProcessorRefused, Unreadable
from schemas.money import format_minor, from_psp_amount, to_psp_amount

STRIPE = "stripe"

MINIMUM: Mapping[str, int] = MappingProxyType(
    {
        currency: minimum
        for minimum, currencies in {
            30: "GBP",
            50: (
                "USD ARS AUD BRL CAD CHF COP EUR IDR ILS INR JPY KRW NZD PHP RUB SGD ZAR"
            ),
            200: "AED MYR PLN RON",
            250: "DKK",
            300: "NOK SEK",
            400: "HKD",
            1000: "MXN THB",
            1500: "CZK",
            17_500: "HUF",
        }.items()
        for currency in currencies.split()
    }
)  # fmt: skip
"""Currency -> smallest charge in Stripe's units, if the account settles in that currency.

An account that settles in another has the minimum of that one, after conversion. For currencies
that are not listed Stripe alone knows the minimum, and refuses with `amount_too_small`.
"""

MAXIMUM_OF_CARDS = 10**12 - 1
MAXIMUM = 10**8 - 1
MAXIMUM_EXCEPTIONS: Mapping[str, int] = MappingProxyType(
    {"IDR": 10**12 - 1, "COP": 10**10 - 1, "INR": 10**9 - 1}
)
"""Largest charges in Stripe's units: 12 digits for cards, 8 for other methods with exceptions.

American Express takes 9 digits only; which card a token stands for is known at Stripe alone.
"""
CARD_METHODS = frozenset({"card", "debit_card"})


def charge_amount(currency: str, amount_minor: int, method: str) -> int:
    """Convert the amount of a charge to Stripe's units.

    Raises:
        ProcessorRefused: it cannot be written there, or is below the minimum or above the maximum.
    """
    amount = part_amount(currency, amount_minor)
    minimum = MINIMUM.get(currency, 1)
    if amount < minimum:
        least = format_minor(from_psp_amount(STRIPE, currency, minimum), currency)
        raise ProcessorRefused(
            STRIPE, "amount_too_small", f"must be at least {least}", field="amount_minor"
        )
    largest = (
        MAXIMUM_OF_CARDS if method in CARD_METHODS else MAXIMUM_EXCEPTIONS.get(currency, MAXIMUM)
    )
    if amount > largest:
        raise ProcessorRefused(
            STRIPE,
            "amount_too_large",
            f"has more than the {len(str(largest))} digits that Stripe takes; split the payment",
            field="amount_minor",
        )
    return amount


def part_amount(currency: str, amount_minor: int) -> int:
    """Convert the amount of a capture or a refund to Stripe's units; it can be as small as 1.

    Raises:
        ProcessorRefused: not positive, or not a whole number of Stripe's units.
    """
    if amount_minor <= 0:
        raise ProcessorRefused(STRIPE, "amount_too_small", "must be positive", field="amount_minor")
    try:
        return to_psp_amount(STRIPE, currency, amount_minor)
    except InputError as error:
        raise ProcessorRefused(
            STRIPE, "amount_not_writable", error.problem, field=error.field
        ) from None


def our_amount(currency: str, amount: int) -> int:
    """Convert an amount that Stripe reports to our minor units.

    Raises:
        Unreadable: an unknown currency or a fraction of our unit; a person must look at it.
    """
    try:
        return from_psp_amount(STRIPE, currency, amount)
    except InputError as error:
        raise Unreadable(STRIPE, "unreadable_answer", str(error)) from None
