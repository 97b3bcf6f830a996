"""A seeded shop: what buyers do, as requests to Purser's HTTP API and visits to the PSP's pages.

`shopping` sends them. The same seed and run give the same purchases, to the cent and to the key.
Pure: no clock, no server. What comes after a purchase's first request is planned in advance, each
step with the statuses of the payment in which it makes sense; whether it comes to it depends on the
answers.

Amounts follow the PSP's rules (whole yen, fils in tens), and tokens are Stripe's test tokens, so
the same shop can buy at Stripe in test mode.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from random import Random

from marketplace.baskets import Basket, choose, fill_basket
from marketplace.purchases import (
    AUTHORIZED,
    CAPTURED,
    PAYMENT,
    Browse,
    Choice,
    Mature,
    PayOut,
    Post,
    Purchase,
    Step,
)
from schemas.money import PSP_MINOR_UNIT_RULES, currency_exponent

PSP = "stripe"
RETURN_URL = "https://shop.example/thanks"

GOOD_TOKENS: Mapping[str, Mapping[str, int]] = {
    "card": {"pm_card_visa": 55, "pm_card_mastercard": 35, "pm_card_amex": 10},
    "debit_card": {"pm_card_visa_debit": 60, "pm_card_mastercard_debit": 40},
}
DECLINED_TOKENS: Mapping[str, int] = {
    "pm_card_chargeDeclined": 4,
    "pm_card_chargeDeclinedInsufficientFunds": 4,
    "pm_card_chargeDeclinedExpiredCard": 1,
    "pm_card_chargeDeclinedIncorrectCvc": 1,
    "pm_card_chargeDeclinedProcessingError": 1,
}
CHALLENGE_TOKEN = "pm_card_authenticationRequired"
DISPUTE_TOKEN = "pm_card_createDispute"
BANK_TOKENS: Mapping[str, Mapping[str, int]] = {
    "EUR": {"pm_success_at": 85, "pm_failed_at": 15},
    "USD": {"pm_usBankAccount_success": 85, "pm_usBankAccount_insufficientFunds": 15},
}
"""Currencies in which a bank account can be debited; some debits fail days later."""
CARD_METHODS: Mapping[str, int] = {"card": 80, "debit_card": 20}
BANK_METHODS: Mapping[str, int] = {"bank_transfer": 1}
BANK_CURRENCIES: Mapping[str, int] = {"EUR": 60, "USD": 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopSettings:
    """The size of the shop, its rate of sales, and how often its clients and networks misbehave."""

    payments_per_second: float
    sellers: int = 200
    buyers: int = 5_000
    mean_step_seconds: float = 1.5
    double_click_share: float = 0.03
    hang_up_share: float = 0.03
    asks_again_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("payments_per_second", "sellers", "buyers", "mean_step_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero")
        for name in ("double_click_share", "hang_up_share", "asks_again_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1")


@dataclass(kw_only=True)
class Plan:
    """A purchase in the making."""

    random: Random
    settings: ShopSettings
    key: str
    basket: Basket
    steps: list[Step] = field(default_factory=list)
    opening: Post | None = None
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def wait(self) -> float:
        """Some time until the next step, in seconds."""
        return self.random.expovariate(1.0 / self.settings.mean_step_seconds)

    def post(self, path: str, body: Mapping[str, object], **more: object) -> Post:
        """A request with a key of its own, now and then with a double click or a lost answer."""
        random, settings = self.random, self.settings
        clicks = 2 if random.random() < settings.double_click_share else 1
        hangs_up = random.random() < settings.hang_up_share
        return Post(
            path=path,
            body=body,
            key=f"{self.key}/{next(self._numbers)}",
            clicks=clicks,
            hang_up_seconds=random.uniform(0.001, 0.08) if hangs_up else None,
            **more,  # type: ignore[arg-type]
        )

    def create(self, **more: object) -> None:
        """Open with `POST /v1/payments`; `more` fields of the body override the usual ones."""
        basket = self.basket
        orders = [
            {
                "order_id": line.order_id,
                "seller_id": line.seller_id,
                "amount_minor": line.amount_minor,
                "commission_minor": line.commission_minor,
                "logistics_fee_minor": line.logistics_fee_minor,
            }
            for line in basket.lines
        ]
        body: dict[str, object] = {
            "buyer_id": basket.buyer_id,
            "currency": basket.currency,
            "method": basket.method,
            "capture": "automatic",
            "orders": orders,
            "flow": "direct",
            "return_url": RETURN_URL,
        }
        if more.get("flow") != "hosted":
            body["payment_token"] = good_token(self)
        self.opening = self.post("/v1/payments", body | more)

    def change(self, operation: str, when: frozenset[str] = CAPTURED, **body: object) -> None:
        """Ask for a change of the payment, after some time."""
        path = f"/v1/payments/{PAYMENT}/{operation}"
        self.steps.append(self.post(path, body, wait_seconds=self.wait(), when=when))

    def ship(self) -> None:
        """Ship every order, then deliver every order."""
        for operation in ("ship", "deliver"):
            for line in self.basket.lines:
                self.change(operation, order_id=line.order_id)

    def browse(self, choice: Choice) -> None:
        """Let the buyer act on the PSP's page."""
        self.steps.append(Browse(wait_seconds=self.wait(), choice=choice))

    def part_of(self, amount_minor: int) -> int:
        """A part of an amount that the PSP can write; all of it if there is no smaller one."""
        step = PSP_MINOR_UNIT_RULES[PSP].step_minor.get(self.basket.currency, 1)
        return step * self.random.randint(1, max(1, amount_minor // step))


Fate = Callable[[Plan], None]


class Shop:
    """Generates purchases in the order in which they are due."""

    def __init__(
        self,
        seed: int,
        settings: ShopSettings,
        *,
        run: str = "1",
        fates: Mapping[Fate, int] | None = None,
    ) -> None:
        """`run` is in all ids and keys: another run of one seed on one stack needs another.

        `fates`: what can become of a purchase, each with its weight; all by default.
        """
        self._random = Random(seed)
        self._name = f"{seed}-{run}"
        self._settings = settings
        self._fates = FATES if fates is None else fates

    def purchases(self, duration_seconds: float) -> Iterator[Purchase]:
        """Every purchase that begins within the duration; their steps can come later."""
        at_seconds = 0.0
        for number in count():
            at_seconds += self._random.expovariate(self._settings.payments_per_second)
            if at_seconds >= duration_seconds:
                return
            yield self._purchase(number, at_seconds)

    def _purchase(self, number: int, at_seconds: float) -> Purchase:
        random, settings = self._random, self._settings
        fate = choose(random, self._fates)
        by_bank = fate is transferred
        basket = fill_basket(
            random,
            f"{self._name}-{number}",
            sellers=settings.sellers,
            buyers=settings.buyers,
            methods=BANK_METHODS if by_bank else CARD_METHODS,
            steps_minor=PSP_MINOR_UNIT_RULES[PSP].step_minor,
            **{"currencies": BANK_CURRENCIES} if by_bank else {},
        )
        plan = Plan(
            random=random, settings=settings, key=f"shop-{self._name}-{number}", basket=basket
        )
        fate(plan)
        assert plan.opening is not None, fate
        return Purchase(
            number=number,
            at_seconds=at_seconds,
            fate=fate.__name__,
            basket=basket,
            opening=plan.opening,
            steps=tuple(plan.steps),
            asks_again=random.random() < settings.asks_again_share,
        )


def good_token(plan: Plan) -> str:
    """A token of the basket's method that nobody declines at once."""
    if plan.basket.method == "bank_transfer":
        return choose(plan.random, BANK_TOKENS[plan.basket.currency])
    return choose(plan.random, GOOD_TOKENS[plan.basket.method])


def decimal_amount(amount_minor: int, currency: str) -> str:
    """Minor units as a decimal string in major units, as the older names take them."""
    exponent = currency_exponent(currency)
    digits = f"{amount_minor:0{exponent + 1}d}"
    return f"{digits[:-exponent]}.{digits[-exponent:]}" if exponent else digits


# ---- fates


def bought(plan: Plan) -> None:
    """Paid at once, shipped and delivered: most purchases."""
    plan.create()
    plan.ship()


def bought_and_paid_out(plan: Plan) -> None:
    """The same, then the sellers get their money."""
    bought(plan)
    plan.steps.append(Mature(wait_seconds=plan.wait(), key=f"{plan.key}/mature"))
    for line in plan.basket.lines:
        if line.share_minor:
            body = {
                "merchant_id": line.seller_id,
                "amount": decimal_amount(line.share_minor, plan.basket.currency),
                "currency": plan.basket.currency,
            }
            post = plan.post("/payouts/schedule", body)
            plan.steps.append(PayOut(wait_seconds=plan.wait(), post=post))


def captured_on_shipment(plan: Plan) -> None:
    """Authorized first, captured whole when the goods leave."""
    plan.create(capture="manual")
    plan.change("capture", AUTHORIZED)
    plan.ship()


def captured_in_part(plan: Plan) -> None:
    """Authorized first; one order is captured in part, the rest of the money is not taken."""
    plan.create(capture="manual")
    line = plan.random.choice(plan.basket.lines)
    plan.change(
        "capture",
        AUTHORIZED,
        order_id=line.order_id,
        amount_minor=plan.part_of(line.amount_minor),
    )


def cancelled(plan: Plan) -> None:
    """Authorized, and cancelled before anything was captured."""
    plan.create(capture="manual")
    plan.change("cancel", AUTHORIZED)


def refunded_in_part(plan: Plan) -> None:
    """Refunded in part, sometimes twice; the second one names an order."""
    plan.create()
    total = plan.basket.amount_minor
    first = plan.part_of(max(1, total // 2))
    plan.change("refunds", amount_minor=first, reason="damaged")
    line = plan.random.choice(plan.basket.lines)
    if plan.random.random() < 0.4:
        plan.change(
            "refunds", order_id=line.order_id, amount_minor=plan.part_of(line.amount_minor // 3)
        )


def refunded_in_full(plan: Plan) -> None:
    """Delivered, sent back, and refunded whole."""
    bought(plan)
    plan.change("refunds", reason="returned")


def declined(plan: Plan) -> None:
    """The bank declines the card."""
    plan.create(method="card", payment_token=choose(plan.random, DECLINED_TOKENS))


def challenged(plan: Plan) -> None:
    """The bank asks the buyer to authenticate (3-D Secure)."""
    plan.create(method="card", payment_token=CHALLENGE_TOKEN)
    choice = choose(plan.random, {Choice.PAY: 80, Choice.FAIL: 12, Choice.LEAVE: 8})
    plan.browse(choice)
    if choice is Choice.PAY:
        plan.ship()


def hosted(plan: Plan) -> None:
    """The buyer pays on the PSP's own page."""
    plan.create(flow="hosted", method="card")
    choice = choose(plan.random, {Choice.PAY: 85, Choice.LEAVE: 15})
    plan.browse(choice)
    if choice is Choice.PAY:
        plan.ship()


def transferred(plan: Plan) -> None:
    """A debit of a bank account, which takes days."""
    plan.create()


def disputed(plan: Plan) -> None:
    """Paid and delivered, and then the buyer's bank takes the money back."""
    plan.create(method="card", payment_token=DISPUTE_TOKEN)
    plan.ship()


def by_the_older_names(plan: Plan) -> None:
    """`POST /payments/init`, then `POST /payments/confirm`."""
    basket = plan.basket
    body = {
        "user_id": basket.buyer_id,
        "merchant_id": basket.lines[0].seller_id,
        "amount": decimal_amount(basket.amount_minor, basket.currency),
        "currency": basket.currency,
        "card_token": good_token(plan),
    }
    plan.opening = plan.post("/payments/init", body)
    confirm = {"tx_id": PAYMENT, "payment_method": basket.method}
    plan.steps.append(
        plan.post(
            "/payments/confirm", confirm, wait_seconds=plan.wait(), when=frozenset({"created"})
        )
    )


FATES: Mapping[Fate, int] = {
    bought: 30,
    bought_and_paid_out: 12,
    captured_on_shipment: 10,
    captured_in_part: 5,
    cancelled: 4,
    refunded_in_part: 8,
    refunded_in_full: 4,
    declined: 6,
    challenged: 5,
    hosted: 5,
    transferred: 3,
    disputed: 3,
    by_the_older_names: 5,
}
"""The fates of a purchase, each with its share in percent."""
