"""A seeded marketplace: generates commands for purchases and everything that follows from them.

The demo, the chaos rounds and the benchmarks drive the writer with it. The same seed and start give
the same commands, to the cent. It must never ask a clock or a server. Each payment's whole life is
generated in advance, so its possible next steps are known.
"""

import heapq
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from random import Random

from marketplace.baskets import choose, fill_basket
from schemas.ids import payment_id
from writer import commands as c

MEAN_STEP_SECONDS = 1.5
"""The mean time between two steps of an order; days of a real order, compressed to seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One command, due `at_seconds` after the start. Steps of one `life` keep their order."""

    at_seconds: float
    life: int
    command: c.AnyCommand


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketplaceSettings:
    """The size of the marketplace and its rate of sales."""

    payments_per_second: float
    sellers: int = 200
    buyers: int = 5_000
    mean_step_seconds: float = MEAN_STEP_SECONDS

    def __post_init__(self) -> None:
        for name in ("payments_per_second", "sellers", "buyers", "mean_step_seconds"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be above zero")


class _Life:
    """One payment from its first command to its last, with its simulated clock."""

    def __init__(self, random: Random, number: int, key: str, start: datetime, mean: float) -> None:
        self.random = random
        self.number = number
        self.key = key
        self.start = start
        self.mean = mean
        self.now_seconds = 0.0
        self.steps: list[tuple[float, c.AnyCommand]] = []
        self.counter = count(1)
        self.orders: tuple[c.OrderLine, ...] = ()
        self.currency = ""
        self.id = payment_id("payment", key)

    def wait(self, factor: float = 1.0) -> None:
        self.now_seconds += self.random.expovariate(1.0 / (self.mean * factor))

    def add(self, make: Callable[..., c.AnyCommand], **fields: object) -> None:
        """Append one command now, about this payment unless the fields name another one."""
        if make not in (c.CreatePayment, c.RequestPayout):
            fields.setdefault("payment_id", self.id)
        command = make(
            idempotency_key=fields.pop("idempotency_key", f"{self.key}/{next(self.counter)}"),
            occurred_at=self.start + timedelta(seconds=round(self.now_seconds, 6)),
            **fields,
        )
        self.steps.append((self.now_seconds, command))

    def then(self, make: Callable[..., c.AnyCommand], **fields: object) -> None:
        """Let some time pass, then append one command."""
        self.wait()
        self.add(make, **fields)


class Marketplace:
    """Generates the commands of a whole marketplace, in the order in which they are due."""

    def __init__(self, seed: int, start: datetime, settings: MarketplaceSettings) -> None:
        self._random = Random(seed)
        self._seed = seed
        self._start = start
        self._settings = settings

    def steps(self, duration_seconds: float) -> Iterator[Step]:
        """Every step due within the duration; some payments are still unfinished at its end."""
        waiting: list[tuple[float, int, int, c.AnyCommand]] = []
        arrival, number = 0.0, 0
        while arrival < duration_seconds:
            while waiting and waiting[0][0] <= arrival:
                at_seconds, life, _, command = heapq.heappop(waiting)
                yield Step(at_seconds=at_seconds, life=life, command=command)
            for place, (offset, command) in enumerate(self._life(number, arrival)):
                heapq.heappush(waiting, (offset, number, place, command))
            number += 1
            arrival += self._random.expovariate(self._settings.payments_per_second)
        while waiting and waiting[0][0] <= duration_seconds:
            at_seconds, life, _, command = heapq.heappop(waiting)
            yield Step(at_seconds=at_seconds, life=life, command=command)

    def _life(self, number: int, arrival: float) -> list[tuple[float, c.AnyCommand]]:
        key = f"market-{self._seed}-{self._start:%Y%m%dT%H%M%S%f}-{number}"
        life = _Life(self._random, number, key, self._start, self._settings.mean_step_seconds)
        life.now_seconds = arrival
        self._create(life)
        choose(self._random, _SCENARIOS)(life)
        return life.steps

    def _create(self, life: _Life) -> None:
        basket = fill_basket(
            self._random,
            life.key[7:],
            sellers=self._settings.sellers,
            buyers=self._settings.buyers,
        )
        life.currency = basket.currency
        life.orders = tuple(
            c.OrderLine(
                order_id=line.order_id,
                seller_id=line.seller_id,
                amount_minor=line.amount_minor,
                commission_minor=line.commission_minor,
                logistics_fee_minor=line.logistics_fee_minor,
            )
            for line in basket.lines
        )
        life.add(
            c.CreatePayment,
            idempotency_key=life.key,
            buyer_id=basket.buyer_id,
            currency=basket.currency,
            psp="stripe",
            method=basket.method,
            orders=life.orders,
        )


def _capture_all(life: _Life) -> None:
    life.add(c.Authorize, psp_reference=f"pi_{life.key[7:]}")
    life.then(c.Capture)


def _ship(life: _Life) -> None:
    for order in life.orders:
        life.then(c.Ship, order_id=order.order_id)
    for order in life.orders:
        life.then(c.Deliver, order_id=order.order_id)


def _share(order: c.OrderLine) -> int:
    return order.amount_minor - order.commission_minor - order.logistics_fee_minor


def _sold(life: _Life) -> None:
    _capture_all(life)
    _ship(life)
    life.then(c.Release)


def _sold_and_paid_out(life: _Life) -> None:
    _sold(life)
    for order in life.orders:
        if _share(order):
            _payout(life, order)


def _payout(life: _Life, order: c.OrderLine) -> None:
    key = f"payout-{order.order_id}"
    payout = payment_id("payout", key)
    life.wait()
    life.add(
        c.RequestPayout,
        idempotency_key=key,
        seller_id=order.seller_id,
        currency=life.currency,
        amount_minor=_share(order),
        psp="tipalti",
        method="bank_transfer",
    )
    end = choose(life.random, {"paid": 88, "failed": 5, "returned": 4, "cancelled": 3})
    if end == "cancelled":
        life.then(c.CancelPayout, payment_id=payout, reason="seller_asked")
        return
    life.then(c.SubmitPayout, payment_id=payout, psp_reference=f"tp_{order.order_id}")
    if end == "failed":
        life.then(c.FailPayout, payment_id=payout, reason="account_closed")
        return
    life.then(c.MarkPayoutPaid, payment_id=payout)
    if end == "returned":
        life.then(c.ReturnPayout, payment_id=payout, reason="account_closed")


def _captured_in_parts(life: _Life) -> None:
    life.add(c.Authorize)
    for order in life.orders:
        first = life.random.randint(1, order.amount_minor)
        life.then(c.Capture, order_id=order.order_id, amount_minor=first)
        life.then(c.Ship, order_id=order.order_id)
        if first < order.amount_minor and life.random.random() < 0.8:
            life.then(c.Capture, order_id=order.order_id)
    life.then(c.Release)


def _refunded(life: _Life, *, part: bool, after_release: bool) -> None:
    _capture_all(life)
    if after_release:
        _ship(life)
        life.then(c.Release)
    total = sum(order.amount_minor for order in life.orders)
    amount = life.random.randint(1, total) if part else total
    life.then(c.RequestRefund, refund_id="r-1", amount_minor=amount)
    if life.random.random() < 0.05:
        life.then(c.FailRefund, refund_id="r-1", reason="card_closed")
    else:
        life.then(c.RecordRefund, refund_id="r-1")
    if part and amount < total and life.random.random() < 0.3:
        # Another refund to the same buyer, made directly in the PSP's dashboard.
        life.then(c.RecordRefund, amount_minor=1)


def _refunded_in_part(life: _Life) -> None:
    _refunded(life, part=True, after_release=False)


def _refunded_in_full(life: _Life) -> None:
    _refunded(life, part=False, after_release=False)


def _returned_after_release(life: _Life) -> None:
    _refunded(life, part=life.random.random() < 0.5, after_release=True)


def _disputed(life: _Life) -> None:
    _capture_all(life)
    _ship(life)
    if life.random.random() < 0.5:
        life.then(c.Release)
    order = life.random.choice(life.orders)
    if life.random.random() < 0.2:
        # A bank may take more than the buyer paid: for its exchange rate, or after a refund.
        life.then(c.RecordRefund, order_id=order.order_id, amount_minor=1)
        amount = order.amount_minor + order.amount_minor // 20
        life.then(c.OpenDispute, order_id=order.order_id, amount_minor=amount, reason="fraudulent")
    else:
        life.then(c.OpenDispute, order_id=order.order_id, reason="fraudulent")
    won = life.random.random() < 0.4
    life.then(c.WinDispute if won else c.LoseDispute, order_id=order.order_id)


def _failed(life: _Life) -> None:
    life.then(c.Fail, reason="card_declined")


def _challenged(life: _Life) -> None:
    life.add(c.RequireAction)
    life.wait()
    if life.random.random() < 0.3:
        life.add(c.Expire, reason="abandoned")
    else:
        _sold(life)


def _cancelled(life: _Life) -> None:
    life.add(c.Authorize)
    life.then(c.RequestCancel, reason="buyer_asked")
    if life.random.random() < 0.2:
        life.then(c.FailCancel, reason="already_captured")
        life.then(c.Capture)
    else:
        life.then(c.Cancel, reason="buyer_asked")


def _authorized_in_part(life: _Life) -> None:
    total = sum(order.amount_minor for order in life.orders)
    life.add(c.Authorize, amount_minor=life.random.randint(total // 2, total))
    life.then(c.RequestCapture)
    if life.random.random() < 0.3:
        life.then(c.FailCapture, reason="try_later")
        life.then(c.RequestCapture)
    life.then(c.Capture)
    _ship(life)
    life.then(c.Release)


def _tried_twice(life: _Life) -> None:
    life.then(c.MarkUnknown, psp_reference=f"pi_{life.key[7:]}")
    life.then(c.Attempt, psp="adyen", evidence="search_empty")
    _capture_all(life)
    if life.random.random() < 0.3:
        # The first PSP took the money after all; it goes back.
        life.then(c.Capture, psp="stripe", psp_reference=f"pi_{life.key[7:]}")
        life.then(c.RecordRefund, psp="stripe")
    _ship(life)
    life.then(c.Release)


def _came_too_late(life: _Life) -> None:
    life.then(c.MarkProcessing)
    life.then(c.Expire, reason="abandoned")
    life.then(c.Capture, psp_reference=f"pi_{life.key[7:]}")
    if life.random.random() < 0.5:
        life.then(c.Honour)
        _ship(life)
        life.then(c.Release)
    else:
        life.then(c.RecordRefund)


def _unknown(life: _Life) -> None:
    life.add(c.MarkUnknown)
    life.wait()
    if life.random.random() < 0.2:
        life.add(c.Fail, reason="never_reached_the_psp")
    else:
        _capture_all(life)


def _transferred(life: _Life) -> None:
    life.add(c.MarkProcessing)
    life.then(c.Capture)
    _ship(life)


_SCENARIOS: Mapping[Callable[[_Life], None], int] = {
    _sold: 30,
    _sold_and_paid_out: 20,
    _captured_in_parts: 8,
    _authorized_in_part: 2,
    _tried_twice: 2,
    _came_too_late: 2,
    _refunded_in_part: 8,
    _refunded_in_full: 4,
    _returned_after_release: 4,
    _disputed: 4,
    _failed: 5,
    _challenged: 4,
    _cancelled: 3,
    _unknown: 2,
    _transferred: 2,
}
"""The fates of a payment, each with its share in percent."""
