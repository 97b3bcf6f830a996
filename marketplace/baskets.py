"""What buyers of the seeded marketplace put into their baskets: buyer, currency, method, orders.

The commands of `market` and the requests of `shop` are made of the same baskets. Pure: all chance
comes from the generator that is given.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from schemas.money import currency_exponent

Choice = TypeVar("Choice")

CURRENCIES: Mapping[str, int] = {"EUR": 45, "USD": 30, "GBP": 12, "JPY": 6, "BRL": 5, "KWD": 2}
METHODS: Mapping[str, int] = {"card": 70, "debit_card": 15, "wallet": 10, "bank_transfer": 5}
_PRICE_LEVEL: Mapping[str, float] = {"JPY": 160, "BRL": 6, "KWD": 0.33}
"""The price of one euro in units of the currency; 1 for currencies that are absent."""
_ORDERS_PER_PAYMENT: Mapping[int, int] = {1: 70, 2: 20, 3: 8, 5: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One order of a basket; the shares are parts of the amount, the rest is the seller's."""

    order_id: str
    seller_id: str
    amount_minor: int
    commission_minor: int
    logistics_fee_minor: int

    @property
    def share_minor(self) -> int:
        """What the seller gets."""
        return self.amount_minor - self.commission_minor - self.logistics_fee_minor


@dataclass(frozen=True, slots=True, kw_only=True)
class Basket:
    """What one buyer pays for at once."""

    buyer_id: str
    currency: str
    method: str
    lines: tuple[Line, ...]

    @property
    def amount_minor(self) -> int:
        """The whole amount."""
        return sum(line.amount_minor for line in self.lines)


def choose(random: Random, weights: Mapping[Choice, int]) -> Choice:
    """Draw one of the choices; a choice of weight 2 comes twice as often as one of weight 1."""
    return random.choices(list(weights), list(weights.values()))[0]


def fill_basket(
    random: Random,
    name: str,
    *,
    sellers: int,
    buyers: int,
    currencies: Mapping[str, int] = CURRENCIES,
    methods: Mapping[str, int] = METHODS,
    steps_minor: Mapping[str, int] | None = None,
) -> Basket:
    """Draw a basket whose orders are named `o-{name}-1`, `-2` …

    `steps_minor`: amounts in a currency are multiples of this, where a PSP asks for it.
    """
    currency = choose(random, currencies)
    step = (steps_minor or {}).get(currency, 1)
    # Minor units worth about a euro.
    unit = round(10 ** currency_exponent(currency) * _PRICE_LEVEL.get(currency, 1))
    lines = []
    for place in range(choose(random, _ORDERS_PER_PAYMENT)):
        amount = max(unit // 2, round(random.lognormvariate(3.3, 0.9) * unit)) + 1
        amount += -amount % step
        shipping = min(amount // 5, random.randrange(0, 8 * unit + 1))
        lines.append(
            Line(
                order_id=f"o-{name}-{place + 1}",
                # Few sellers sell much, most sell little.
                seller_id=f"seller-{int(sellers * random.random() ** 2.5):04d}",
                amount_minor=amount,
                commission_minor=(amount - shipping) * random.choice((8, 10, 12, 15)) // 100,
                logistics_fee_minor=shipping,
            )
        )
    return Basket(
        buyer_id=f"buyer-{random.randrange(buyers):05d}",
        currency=currency,
        method=choose(random, methods),
        lines=tuple(lines),
    )
