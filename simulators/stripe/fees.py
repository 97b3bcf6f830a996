"""What Stripe takes: for a charge, for a dispute. Pure; integers only.

The rates are those of an account in the United States (https://stripe.com/pricing): cards 2.9 % and
30 cents, bank debits 0.8 % and at most 5 dollars, a dispute 15 dollars. Nothing is converted here,
so the fixed parts are the same figure in every currency of two decimals, and none elsewhere. A fee
is a multiple of the currency's step and less than the amount.
"""

from simulators.stripe.amounts import EXPONENTS, STEPS

CARD_BASIS_POINTS = 290
CARD_FIXED_CENTS = 30
BANK_BASIS_POINTS = 80
BANK_MOST_CENTS = 500
DISPUTE_CENTS = 1500
_CENTS_PER_UNIT = 100
_BASIS = 10_000


def of_charge(amount: int, currency: str, *, bank: bool, first: bool = True) -> int:
    """The fee of a captured amount; the fixed part is taken once, with the first capture."""
    points = BANK_BASIS_POINTS if bank else CARD_BASIS_POINTS
    fee = (amount * points + _BASIS // 2) // _BASIS
    if bank:
        fee = min(fee, _fixed(BANK_MOST_CENTS, currency) or fee)
    elif first:
        fee += _fixed(CARD_FIXED_CENTS, currency)
    return min(_down(fee, currency), amount - STEPS.get(currency, 1))


def of_dispute(currency: str) -> int:
    """The fee of a dispute that takes money; it is not given back."""
    digits = EXPONENTS[currency]
    units = DISPUTE_CENTS // _CENTS_PER_UNIT if digits else DISPUTE_CENTS
    return int(units * 10**digits)


def _fixed(cents: int, currency: str) -> int:
    return cents if EXPONENTS[currency] == 2 and currency not in STEPS else 0


def _down(fee: int, currency: str) -> int:
    step = STEPS.get(currency, 1)
    return fee - fee % step
