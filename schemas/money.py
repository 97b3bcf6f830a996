"""Money: integer minor units with an ISO 4217 code, and the only function that splits an amount.

Floats are never used for money. Currencies and exponents are those of ISO 4217. Where a payment
service provider (PSP) differs, `PSP_MINOR_UNIT_RULES` has the difference as data, never a branch in
code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from schemas.currencies import CURRENT, WITHDRAWN
from schemas.errors import InputError

MAX_AMOUNT_MINOR = 10**15
"""Largest amount of one event in minor units.

An order's running sums are at most its amount, so they fit 64 bits. The sum of ten thousand such
amounts does not: totals over several orders are wider everywhere (docs/decisions/0027).
"""

CURRENCY_EXPONENTS: Mapping[str, int] = MappingProxyType(
    {**CURRENT, **{code: exponent for code, (exponent, _) in WITHDRAWN.items()}}
)
"""ISO 4217 code, current or withdrawn -> digits after the decimal point."""


def _end_of(month: str) -> datetime:
    year, number = map(int, month.split("-"))
    return datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)


CURRENCY_ENDS: Mapping[str, datetime] = MappingProxyType(
    {code: _end_of(month) for code, (_, month) in WITHDRAWN.items()}
)
"""Withdrawn code -> the end of the month of its withdrawal: no payment begins then or later.

The list has no day, and none of the first use. Later events of a payment, such as refunds, keep its
currency.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class MinorUnitRule:
    """How one PSP writes amounts where it differs from ISO 4217.

    `exponents` replaces the ISO exponents of the listed currencies. An amount sent in a currency of
    `step_minor` must be a multiple of that number of the PSP's minor units.
    """

    exponents: Mapping[str, int] = field(default_factory=dict)
    step_minor: Mapping[str, int] = field(default_factory=dict)
    payout_step_minor: Mapping[str, int] = field(default_factory=dict)


PSP_MINOR_UNIT_RULES: Mapping[str, MinorUnitRule] = MappingProxyType(
    {
        # https://docs.stripe.com/currencies: MGA is zero-decimal there. ISK, HUF and UGX have
        # special rules: two digits are written, and for ISK and UGX they must be 00.
        "stripe": MinorUnitRule(
            exponents={"MGA": 0, "ISK": 2, "UGX": 2},
            step_minor={
                "BHD": 10, "JOD": 10, "KWD": 10, "OMR": 10, "TND": 10, "ISK": 100, "UGX": 100,
            },
            payout_step_minor={"HUF": 100, "TWD": 100},
        ),
    }
)  # fmt: skip


def currency_exponent(currency: str) -> int:
    """Return the digits after the decimal point of an ISO 4217 currency.

    Raises:
        InputError: the code is not an ISO 4217 currency, current or withdrawn.
    """
    try:
        return CURRENCY_EXPONENTS[currency]
    except KeyError:
        raise InputError(
            "currency",
            f"{currency[:20]!r} is not an ISO 4217 code of money; use one such as EUR, in capitals",
        ) from None


def check_currency(currency: str, begins_at: datetime) -> None:
    """Check that a payment or payout that begins at a time can be in a currency.

    Raises:
        InputError: not an ISO 4217 currency, or one that was withdrawn earlier.
    """
    currency_exponent(currency)
    if (end := CURRENCY_ENDS.get(currency)) is not None and begins_at >= end:
        raise InputError(
            "currency",
            f"{currency} was withdrawn in {WITHDRAWN[currency][1]}, before {begins_at:%Y-%m-%d}; "
            "give the currency that replaced it",
        )


def to_psp_amount(psp: str, currency: str, amount_minor: int, *, payout: bool = False) -> int:
    """Convert our minor units to the PSP's integer for the same money.

    Raises:
        InputError: unknown currency, or the amount cannot be written in the PSP's units.
    """
    exponent = currency_exponent(currency)
    rule = PSP_MINOR_UNIT_RULES.get(psp, MinorUnitRule())
    shift = rule.exponents.get(currency, exponent) - exponent
    scaled, rest = _shift_decimal_point(amount_minor, shift)
    step = (rule.payout_step_minor if payout else rule.step_minor).get(currency, 1)
    if rest or scaled % step:
        raise InputError(
            "amount_minor",
            f"{amount_minor} {currency} cannot be written in {psp}'s units; round it to {step}",
        )
    return scaled


def from_psp_amount(psp: str, currency: str, psp_amount: int) -> int:
    """Convert an integer amount reported by the PSP to our ISO 4217 minor units.

    Raises:
        InputError: unknown currency, or a fraction of an ISO minor unit.
    """
    exponent = currency_exponent(currency)
    rule = PSP_MINOR_UNIT_RULES.get(psp, MinorUnitRule())
    shift = exponent - rule.exponents.get(currency, exponent)
    scaled, rest = _shift_decimal_point(psp_amount, shift)
    if rest:
        raise InputError(
            "amount", f"{psp_amount} {currency} at {psp} is a fraction of a minor unit; ask {psp}"
        )
    return scaled


def _shift_decimal_point(amount: int, digits: int) -> tuple[int, int]:
    """Return `amount * 10**digits`, and the remainder that is lost if `digits` is negative."""
    factor = int("1" + "0" * abs(digits))
    return (amount * factor, 0) if digits >= 0 else divmod(amount, factor)


def format_minor(amount_minor: int, currency: str) -> str:
    """Format minor units for people: `format_minor(-1234, "EUR") == "-12.34 EUR"`.

    Raises:
        InputError: unknown currency.
    """
    exponent = currency_exponent(currency)
    sign = "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**exponent)
    decimals = f".{part:0{exponent}d}" if exponent else ""
    return f"{sign}{whole:,}{decimals} {currency}"


def allocate(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split `total` minor units in proportion to `weights`, by largest remainder (Hamilton).

    The parts sum to `total` exactly. Equal remainders go to the earlier weight. If `total <=
    sum(weights)`, no part exceeds its weight, so repeated splitting of what is left never takes
    more from a share than it has.

    Raises:
        ValueError: negative total or weight, or no positive weight for a positive total.
    """
    weight_sum = sum(weights)
    if total < 0 or any(weight < 0 for weight in weights):
        raise ValueError("total and weights must not be negative")
    if total and not weight_sum:
        raise ValueError("a positive total needs a positive weight")
    if not total:
        return (0,) * len(weights)
    quotas = [divmod(total * weight, weight_sum) for weight in weights]
    left = total - sum(quota for quota, _ in quotas)
    by_remainder = sorted(range(len(weights)), key=lambda index: -quotas[index][1])
    favoured = set(by_remainder[:left])
    return tuple(quota + (index in favoured) for index, (quota, _) in enumerate(quotas))
