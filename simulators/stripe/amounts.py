"""What amounts Stripe takes in each currency, as data. Pure.

Amounts are integers in a currency's smallest unit as Stripe counts it, which is not always that of
ISO 4217. Source: https://docs.stripe.com/currencies (presentment currencies, zero-decimal and
three-decimal currencies, special cases, minimum and maximum charge amounts).
"""

from collections.abc import Mapping
from types import MappingProxyType

from simulators.stripe.errors import StripeError

_TWO_DECIMALS = (
    "USD AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BRL BSD BWP BYN BZD"
    " CAD CDF CHF CNY COP CRC CVE CZK DKK DOP DZD EGP ETB EUR FJD FKP GBP GEL GIP GMD GTQ GYD HKD"
    " HNL HTG HUF IDR ILS INR ISK JMD KES KGS KHR KYD KZT LAK LBP LKR LRD LSL MAD MDL MKD MMK MNT"
    " MOP MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB"
    " SAR SBD SCR SEK SGD SHP SLE SOS SRD STD SZL THB TJS TOP TRY TTD TWD TZS UAH UGX UYU UZS WST"
    " XCD XCG YER ZAR ZMW"
)
_ZERO_DECIMAL = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
_THREE_DECIMALS = "BHD JOD KWD OMR TND"

EXPONENTS: Mapping[str, int] = MappingProxyType(
    {
        code: digits
        for digits, codes in ((2, _TWO_DECIMALS), (0, _ZERO_DECIMAL), (3, _THREE_DECIMALS))
        for code in codes.lower().split()
    }
)
"""Currency -> digits after the point in Stripe's amounts. UGX and ISK have two, by tradition."""

STEPS: Mapping[str, int] = MappingProxyType(
    {"isk": 100, "ugx": 100, **dict.fromkeys(_THREE_DECIMALS.lower().split(), 10)}
)
"""Currency -> an amount must be a multiple of this; 1 for the others."""

PAYOUT_STEPS: Mapping[str, int] = MappingProxyType({"huf": 100, "twd": 100, **STEPS})

MINIMA: Mapping[str, int] = MappingProxyType(
    {
        "usd": 50, "aed": 200, "ars": 50, "aud": 50, "bgn": 100, "brl": 50, "cad": 50, "chf": 50,
        "cop": 50, "czk": 1500, "dkk": 250, "eur": 50, "gbp": 30, "hkd": 400, "huf": 17500,
        "inr": 50, "jpy": 50, "krw": 50, "mxn": 1000, "myr": 200, "nok": 300, "nzd": 50,
        "pln": 200, "ron": 200, "rub": 50, "sek": 300, "sgd": 50, "thb": 1000,
    }
)  # fmt: skip
"""Smallest amount. For other currencies Stripe converts to one of these; here it is one step."""

DIGITS_MOST: Mapping[str, int] = MappingProxyType(
    {"cop": 10, "huf": 10, "idr": 12, "inr": 9, "jpy": 10, "lbp": 11}
)
"""Currency -> digits of the largest amount; 8 for the others."""
DIGITS_USUAL = 8


def currency_of(value: str, param: str = "currency") -> str:
    """The currency in lower case; raises StripeError if Stripe does not take it."""
    code = value.lower()
    if code not in EXPONENTS:
        listed = ", ".join(sorted(EXPONENTS))
        raise StripeError(
            f"Invalid currency: {value[:20]}. Stripe currently supports these currencies: {listed}",
            param=param,
        )
    return code


def check(amount: int, currency: str, param: str = "amount") -> None:
    """Raise StripeError unless an amount can be charged in a currency."""
    minimum = MINIMA.get(currency, STEPS.get(currency, 1))
    if amount < minimum:
        raise StripeError(
            f"Amount must be at least {shown(minimum, currency)}",
            code="amount_too_small",
            param=param,
        )
    most = 10 ** DIGITS_MOST.get(currency, DIGITS_USUAL) - 1
    if amount > most:
        raise StripeError(
            f"Amount must be no more than {shown(most, currency)}",
            code="amount_too_large",
            param=param,
        )
    check_step(amount, currency, param)


def check_step(amount: int, currency: str, param: str = "amount") -> None:
    """Raise StripeError unless an amount is a multiple of the currency's step."""
    step = STEPS.get(currency, 1)
    if amount % step:
        raise StripeError(
            f"Invalid amount: {amount}. Amounts in {currency.upper()} must be a multiple of {step}",
            code="parameter_invalid_integer",
            param=param,
        )


def shown(amount: int, currency: str) -> str:
    """An amount for people: `5.00 usd`."""
    digits = EXPONENTS[currency]
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**digits)
    return f"{sign}{whole:,}{f'.{part:0{digits}d}' if digits else ''} {currency}"


def major(amount: int, currency: str) -> str:
    """An amount as Stripe's reports write it: a decimal number of the major unit."""
    digits = EXPONENTS[currency]
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), 10**digits)
    return f"{sign}{whole}{f'.{part:0{digits}d}' if digits else ''}"
