"""Postings, event by event, worked out by hand."""

import pytest

from schemas.accounts import AccountType as A
from schemas.accounts import Posting
from schemas.effects import EFFECTS
from schemas.errors import BrokenInvariant, UnbalancedPosting
from schemas.events import Event
from schemas.lifecycle import Direction
from schemas.lifecycle import EventType as E
from streams.fold import POSTING_RULES, postings
from tests.events import pay_in, payout


def legs(*rows: tuple[A, str, int]) -> tuple[Posting, ...]:
    return tuple(Posting(*row) for row in rows)


CASES: list[tuple[str, Event, tuple[Posting, ...]]] = [
    (
        "capture: the PSP owes us, we owe the seller its share and earned the rest",
        pay_in(E.CAPTURED, amount_minor=10_000, commission_minor=1_000, logistics_fee_minor=501),
        legs(
            (A.PSP_RECEIVABLE, "stripe", 10_000),
            (A.SELLER_PENDING, "seller-1", -8_499),
            (A.PLATFORM_COMMISSION, "seller-1", -1_000),
            (A.PLATFORM_LOGISTICS, "seller-1", -501),
        ),
    ),
    (
        "capture without shares: no legs of zero",
        pay_in(E.CAPTURED, amount_minor=1),
        legs((A.PSP_RECEIVABLE, "stripe", 1), (A.SELLER_PENDING, "seller-1", -1)),
    ),
    (
        "capture that is all commission: nothing for the seller",
        pay_in(E.CAPTURED, amount_minor=700, commission_minor=700),
        legs((A.PSP_RECEIVABLE, "stripe", 700), (A.PLATFORM_COMMISSION, "seller-1", -700)),
    ),
    (
        "release: pending becomes payable",
        pay_in(E.RELEASED, amount_minor=8_499, available_delta_minor=8_499),
        legs((A.SELLER_PENDING, "seller-1", 8_499), (A.SELLER_AVAILABLE, "seller-1", -8_499)),
    ),
    (
        "refund before release: out of pending",
        pay_in(E.REFUNDED, amount_minor=5_000, commission_minor=500, logistics_fee_minor=250),
        legs(
            (A.PSP_RECEIVABLE, "stripe", -5_000),
            (A.SELLER_PENDING, "seller-1", 4_250),
            (A.PLATFORM_COMMISSION, "seller-1", 500),
            (A.PLATFORM_LOGISTICS, "seller-1", 250),
        ),
    ),
    (
        "refund partly after release: what pending cannot cover comes out of available",
        pay_in(
            E.REFUNDED,
            amount_minor=5_000,
            commission_minor=500,
            logistics_fee_minor=250,
            available_delta_minor=-4_000,
        ),
        legs(
            (A.PSP_RECEIVABLE, "stripe", -5_000),
            (A.SELLER_PENDING, "seller-1", 250),
            (A.SELLER_AVAILABLE, "seller-1", 4_000),
            (A.PLATFORM_COMMISSION, "seller-1", 500),
            (A.PLATFORM_LOGISTICS, "seller-1", 250),
        ),
    ),
    (
        "lost dispute after release: all of it out of available",
        pay_in(E.DISPUTE_LOST, amount_minor=300, commission_minor=30, available_delta_minor=-270),
        legs(
            (A.PSP_DISPUTED, "stripe", -300),
            (A.SELLER_AVAILABLE, "seller-1", 270),
            (A.PLATFORM_COMMISSION, "seller-1", 30),
        ),
    ),
    (
        "lost dispute before release: out of pending, the PSP took it when it was opened",
        pay_in(E.DISPUTE_LOST, amount_minor=1_000, commission_minor=100, logistics_fee_minor=50),
        legs(
            (A.PSP_DISPUTED, "stripe", -1_000),
            (A.SELLER_PENDING, "seller-1", 850),
            (A.PLATFORM_COMMISSION, "seller-1", 100),
            (A.PLATFORM_LOGISTICS, "seller-1", 50),
        ),
    ),
    ("lost dispute that was all in suspense: it stays there", pay_in(E.DISPUTE_LOST), ()),
    (
        "dispute opened: the PSP takes it from what it owes us",
        pay_in(E.DISPUTE_OPENED, amount_minor=1_000),
        legs((A.PSP_RECEIVABLE, "stripe", -1_000), (A.PSP_DISPUTED, "stripe", 1_000)),
    ),
    (
        "dispute above what the order has: the rest is in suspense",
        pay_in(E.DISPUTE_OPENED, amount_minor=1_000, suspense_minor=-50),
        legs(
            (A.PSP_RECEIVABLE, "stripe", -1_050),
            (A.SUSPENSE, "stripe", 50),
            (A.PSP_DISPUTED, "stripe", 1_000),
        ),
    ),
    (
        "dispute of an order that has nothing: all of it is in suspense",
        pay_in(E.DISPUTE_OPENED, suspense_minor=-1_000),
        legs((A.PSP_RECEIVABLE, "stripe", -1_000), (A.SUSPENSE, "stripe", 1_000)),
    ),
    (
        "dispute won: the PSP gives all of it back",
        pay_in(E.DISPUTE_WON, amount_minor=1_000, suspense_minor=50),
        legs(
            (A.PSP_RECEIVABLE, "stripe", 1_050),
            (A.SUSPENSE, "stripe", -50),
            (A.PSP_DISPUTED, "stripe", -1_000),
        ),
    ),
    (
        "stray capture: the PSP owes us what nobody has a right to",
        pay_in(E.STRAY_CAPTURED, amount_minor=700, suspense_minor=700, psp="adyen"),
        legs((A.PSP_RECEIVABLE, "adyen", 700), (A.SUSPENSE, "adyen", -700)),
    ),
    (
        "stray refund: it went back",
        pay_in(E.STRAY_REFUNDED, amount_minor=700, suspense_minor=-700, psp="adyen"),
        legs((A.PSP_RECEIVABLE, "adyen", -700), (A.SUSPENSE, "adyen", 700)),
    ),
    (
        "a refund came back: it is owed to nobody's seller",
        pay_in(E.REFUND_RETURNED, amount_minor=700, suspense_minor=700),
        legs((A.PSP_RECEIVABLE, "stripe", 700), (A.SUSPENSE, "stripe", -700)),
    ),
    (
        "stray dispute: it took what no order has",
        pay_in(E.STRAY_DISPUTED, amount_minor=700, suspense_minor=-700, psp="adyen"),
        legs((A.PSP_RECEIVABLE, "adyen", -700), (A.SUSPENSE, "adyen", 700)),
    ),
    (
        "stray dispute won: it came back",
        pay_in(E.STRAY_DISPUTE_WON, amount_minor=700, suspense_minor=700, psp="adyen"),
        legs((A.PSP_RECEIVABLE, "adyen", 700), (A.SUSPENSE, "adyen", -700)),
    ),
    (
        "lost dispute reversed: the seller's and ours again, and what was in excess",
        pay_in(E.DISPUTE_REVERSED, amount_minor=1_000, commission_minor=100, suspense_minor=50),
        legs(
            (A.PSP_RECEIVABLE, "stripe", 1_050),
            (A.SUSPENSE, "stripe", -50),
            (A.SELLER_PENDING, "seller-1", -900),
            (A.PLATFORM_COMMISSION, "seller-1", -100),
        ),
    ),
    (
        "lost dispute reversed: what came out of available is there again",
        pay_in(E.DISPUTE_REVERSED, amount_minor=1_000, available_delta_minor=700),
        legs(
            (A.PSP_RECEIVABLE, "stripe", 1_000),
            (A.SELLER_PENDING, "seller-1", -300),
            (A.SELLER_AVAILABLE, "seller-1", -700),
        ),
    ),
    (
        "honoured: what was in suspense is the seller's and ours",
        pay_in(E.HONOURED, amount_minor=700, commission_minor=70, suspense_minor=-700),
        legs(
            (A.SUSPENSE, "stripe", 700),
            (A.SELLER_PENDING, "seller-1", -630),
            (A.PLATFORM_COMMISSION, "seller-1", -70),
        ),
    ),
    (
        "payout requested: set aside",
        payout(E.REQUESTED, amount_minor=900, available_delta_minor=-900),
        legs((A.SELLER_AVAILABLE, "seller-1", 900), (A.PAYOUT_IN_TRANSIT, "tipalti", -900)),
    ),
    (
        "payout paid: out of the bank",
        payout(E.PAID, amount_minor=900),
        legs((A.PAYOUT_IN_TRANSIT, "tipalti", 900), (A.BANK, "tipalti", -900)),
    ),
    (
        "payout failed: payable again",
        payout(E.FAILED, amount_minor=900, available_delta_minor=900),
        legs((A.PAYOUT_IN_TRANSIT, "tipalti", 900), (A.SELLER_AVAILABLE, "seller-1", -900)),
    ),
    (
        "payout cancelled: payable again",
        payout(E.CANCELLED, amount_minor=900, available_delta_minor=900),
        legs((A.PAYOUT_IN_TRANSIT, "tipalti", 900), (A.SELLER_AVAILABLE, "seller-1", -900)),
    ),
    (
        "payout returned: back in the bank, payable again",
        payout(E.RETURNED, amount_minor=900, available_delta_minor=900),
        legs((A.BANK, "tipalti", 900), (A.SELLER_AVAILABLE, "seller-1", -900)),
    ),
    ("a failed payment moves nothing", pay_in(E.FAILED), ()),
    ("a cancelled payment moves nothing", pay_in(E.CANCELLED), ()),
    ("a planned amount moves nothing", pay_in(E.CREATED, amount_minor=10, commission_minor=1), ()),
    ("an authorisation moves nothing", pay_in(E.AUTHORIZED, amount_minor=10), ()),
    ("a refund asked for moves nothing", pay_in(E.REFUND_REQUESTED, amount_minor=10), ()),
    ("an attempt moves nothing", pay_in(E.ATTEMPTED), ()),
    ("a capture asked for moves nothing", pay_in(E.CAPTURE_REQUESTED, amount_minor=10), ()),
    ("a submitted payout moves nothing", payout(E.SUBMITTED, amount_minor=10), ()),
]


@pytest.mark.parametrize(
    ("event", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_postings(event: Event, expected: tuple[Posting, ...]) -> None:
    assert postings(event) == expected
    assert sum(leg.amount_minor for leg in expected) == 0


def test_an_event_that_cannot_happen_in_its_direction_is_refused() -> None:
    with pytest.raises(BrokenInvariant, match="no posting rule for paid in direction in"):
        postings(pay_in(E.PAID, status="captured", amount_minor=5))


def test_legs_that_do_not_sum_to_zero_are_an_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    lopsided = legs((A.BANK, "tipalti", 5), (A.PSP_FEES, "tipalti", -4))
    rules = {**POSTING_RULES[Direction.OUT], E.PAID: lambda _event: lopsided}
    monkeypatch.setitem(POSTING_RULES, Direction.OUT, rules)
    with pytest.raises(
        UnbalancedPosting, match=r"postings of paid: sum to 1 minor units"
    ) as caught:
        postings(payout(E.PAID, amount_minor=5))
    assert caught.value.reason == BrokenInvariant.reason


def test_events_whose_legs_are_tested_here_are_all_that_have_any() -> None:
    tested = {(event.direction, event.event_type) for _, event, expected in CASES if expected}
    moving = {
        (direction, event_type)
        for direction, effects in EFFECTS.items()
        for event_type, effect in effects.items()
        if effect.moves_money
    }
    assert tested == moving
