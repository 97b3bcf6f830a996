"""What each event means for money, stated a second time.

The writer, the guards, the postings, the totals and `verify` all read `schemas.effects`. They would
agree on a wrong row, so this table repeats every row in other words. Change both, never one.
"""

import pytest

from schemas.accounts import AccountType
from schemas.effects import (
    EFFECTS,
    PLACE_EVENTS,
    STRAY_EVENTS,
    Amount,
    Authorization,
    Claim,
    Effect,
    Move,
    Pot,
    Revenue,
    Suspense,
)
from schemas.lifecycle import Direction, EventType
from streams.fold import postings
from tests.events import pay_in

IN_SUMS = {
    # event: captured, refunded, released, reserved; may settle a request
    "created": (0, 0, 0, 0, False),
    "attempted": (0, 0, 0, 0, False),
    "action_required": (0, 0, 0, 0, False),
    "processing": (0, 0, 0, 0, False),
    "unknown": (0, 0, 0, 0, False),
    "authorized": (0, 0, 0, 0, False),
    "capture_requested": (0, 0, 0, 0, False),
    "capture_failed": (0, 0, 0, 0, False),
    "captured": (+1, 0, 0, 0, False),
    "shipped": (0, 0, 0, 0, False),
    "delivered": (0, 0, 0, 0, False),
    "failed": (0, 0, 0, 0, False),
    "cancel_requested": (0, 0, 0, 0, False),
    "cancel_failed": (0, 0, 0, 0, False),
    "cancelled": (0, 0, 0, 0, False),
    "expired": (0, 0, 0, 0, False),
    "stray_captured": (0, 0, 0, 0, False),
    "stray_refunded": (0, 0, 0, 0, False),
    "refund_returned": (0, 0, 0, 0, False),
    "stray_disputed": (0, 0, 0, 0, False),
    "stray_dispute_won": (0, 0, 0, 0, False),
    "honoured": (+1, 0, 0, 0, False),
    "released": (0, 0, +1, 0, False),
    "refund_requested": (0, 0, 0, +1, False),
    "refunded": (0, +1, 0, 0, True),
    "refund_failed": (0, 0, 0, -1, False),
    "dispute_opened": (0, 0, 0, +1, False),
    "dispute_won": (0, 0, 0, -1, False),
    "dispute_lost": (0, +1, 0, -1, False),
    "dispute_reversed": (0, -1, 0, 0, False),
}
OUT_LEGS = {
    # event: debit, credit
    "requested": ("seller_available", "payout_in_transit"),
    "submitted": None,
    "paid": ("payout_in_transit", "bank"),
    "failed": ("payout_in_transit", "seller_available"),
    "cancelled": ("payout_in_transit", "seller_available"),
    "returned": ("bank", "seller_available"),
}
REVENUE = {
    "captured": "gross",
    "honoured": "gross",
    "refunded": "refunds",
    "dispute_lost": "chargebacks",
    "dispute_reversed": "chargebacks",
}
SHARES = {
    "created": "planned",
    "captured": "taken",
    "honoured": "taken",
    "refunded": "given_back",
    "dispute_lost": "given_back",
    "dispute_reversed": "restored",
}
AMOUNTS = {
    # event: its amount, where it is neither zero nor simply what the sums above leave room for
    "created": Amount.WHOLE,
    "authorized": Amount.PART,
    "capture_requested": Amount.NAMED,
    "stray_captured": Amount.NAMED,
    "stray_refunded": Amount.NAMED,
    "refund_returned": Amount.NAMED,
    "stray_disputed": Amount.NAMED,
    "stray_dispute_won": Amount.NAMED,
    "dispute_opened": Amount.COVERED,
    "dispute_won": Amount.COVERED,
    "dispute_lost": Amount.COVERED,
    "dispute_reversed": Amount.COVERED,
}
SUSPENSE = {
    # event: (times its amount, sign of what comes on top of that)
    "stray_captured": (+1, 0),
    "stray_refunded": (-1, 0),
    "refund_returned": (+1, 0),
    "stray_disputed": (-1, 0),
    "stray_dispute_won": (+1, 0),
    "honoured": (-1, 0),
    "dispute_opened": (0, -1),
    "dispute_won": (0, +1),
    "dispute_reversed": (0, +1),
}
SUSPENSE_SIGNS = {
    Suspense.NONE: (0, 0),
    Suspense.IN: (+1, 0),
    Suspense.OUT: (-1, 0),
    Suspense.RETURNED: (+1, 0),
    Suspense.TAKEN: (-1, 0),
    Suspense.GIVEN_BACK: (+1, 0),
    Suspense.EXCESS: (0, -1),
    Suspense.RETURN: (0, +1),
}
HOLDS = {
    # event: whether a hold of the buyer's bank is there after it
    "authorized": Authorization.SETS,
    "attempted": Authorization.ENDS,
    "honoured": Authorization.ENDS,
}
REQUESTS = {
    # event: what it does to an open request to capture, and to one to cancel
    "attempted": (Claim.EXCLUDES, Claim.EXCLUDES),
    "capture_requested": (Claim.OPENS, Claim.EXCLUDES),
    "capture_failed": (Claim.ENDS, Claim.NONE),
    "captured": (Claim.MAY_END, Claim.MAY_END),
    "failed": (Claim.MAY_END, Claim.MAY_END),
    "cancel_requested": (Claim.EXCLUDES, Claim.OPENS),
    "cancel_failed": (Claim.NONE, Claim.ENDS),
    "cancelled": (Claim.MAY_END, Claim.MAY_END),
    "expired": (Claim.MAY_END, Claim.MAY_END),
}
AT_THE_PSP = {
    # event: how its amount changes what the PSP owes us, and what it keeps for a dispute
    "captured": (+1, 0),
    "honoured": (+1, 0),
    "refunded": (-1, 0),
    "dispute_opened": (-1, +1),
    "dispute_won": (+1, -1),
    "dispute_lost": (0, -1),
    "dispute_reversed": (+1, 0),
}
STRAYS = {
    "stray_captured", "stray_refunded", "refund_returned", "stray_disputed", "stray_dispute_won",
}  # fmt: skip
DISPUTES = {"dispute_opened": Claim.OPENS, "dispute_won": Claim.ENDS, "dispute_lost": Claim.ENDS}


def test_the_tables_name_the_same_events() -> None:
    assert set(EFFECTS[Direction.IN]) == set(IN_SUMS)
    assert set(EFFECTS[Direction.OUT]) == set(OUT_LEGS)


@pytest.mark.parametrize("event", IN_SUMS)
def test_a_pay_in_event_means_what_is_said_here(event: str) -> None:
    effect = EFFECTS[Direction.IN][EventType(event)]
    found = (effect.captured, effect.refunded, effect.released, effect.reserved, effect.may_settle)
    assert found == IN_SUMS[event]
    assert effect.available == effect.released
    assert effect.transfer is None
    assert effect.revenue == REVENUE.get(event)
    assert effect.pot == SHARES.get(event)
    assert effect.dispute == DISPUTES.get(event, Claim.NONE)
    takes_part = Amount.PART if any(IN_SUMS[event]) else Amount.NONE
    assert effect.amount is AMOUNTS.get(event, takes_part)
    assert SUSPENSE_SIGNS[effect.suspense] == SUSPENSE.get(event, (0, 0))
    assert effect.authorization is HOLDS.get(event, Authorization.NONE)
    requests = (effect.capture_request, effect.cancel_request)
    assert requests == REQUESTS.get(event, (Claim.NONE, Claim.NONE))


@pytest.mark.parametrize("event", IN_SUMS)
def test_the_psp_s_accounts_move_as_is_said_here(event: str) -> None:
    shares = {"commission_minor": 100, "logistics_fee_minor": 50} if event in SHARES else {}
    available = 1000 * EFFECTS[Direction.IN][EventType(event)].available
    row = pay_in(
        EventType(event),
        amount_minor=1000,
        available_delta_minor=available,
        suspense_minor=7,
        **shares,
    )
    moved = {leg.account_type: leg.amount_minor for leg in postings(row)}
    if not EFFECTS[Direction.IN][EventType(event)].moves_money or event == "released":
        assert event not in AT_THE_PSP
        return
    in_suspense = 7 if "suspense" in moved else 0
    owed, kept = AT_THE_PSP.get(event, (0, 0))
    assert moved.get(AccountType.PSP_RECEIVABLE, 0) == 1000 * owed + in_suspense
    assert moved.get(AccountType.PSP_DISPUTED, 0) == 1000 * kept
    assert moved.get(AccountType.SUSPENSE, 0) == -in_suspense


def test_only_attempts_and_strays_say_where_they_are() -> None:
    assert set(STRAY_EVENTS) == STRAYS
    assert set(PLACE_EVENTS) == {"attempted", *STRAYS}


@pytest.mark.parametrize("event", OUT_LEGS)
def test_a_payout_event_means_what_is_said_here(event: str) -> None:
    effect = EFFECTS[Direction.OUT][EventType(event)]
    debit, credit = OUT_LEGS[event] or (None, None)
    legs = (str(leg) for leg in effect.transfer) if effect.transfer else (None, None)
    assert tuple(legs) == (debit, credit)
    assert effect.available == (credit == "seller_available") - (debit == "seller_available")
    assert effect.amount is Amount.WHOLE
    assert effect.revenue is None
    assert effect.pot is None


@pytest.mark.parametrize(
    "contradiction",
    [
        {"transfer": EFFECTS[Direction.OUT][EventType.PAID].transfer, "move": Move.CAPTURE},
        {"transfer": EFFECTS[Direction.OUT][EventType.PAID].transfer, "amount": Amount.PART},
        {"amount": Amount.PART},
        {"move": Move.CAPTURE, "revenue": Revenue.GROSS},
        {"move": Move.PLAN, "amount": Amount.PART},
        {"amount": Amount.PART, "move": Move.CAPTURE},
        {"amount": Amount.PART, "refund": Claim.OPENS, "dispute": Claim.OPENS},
        {"amount": Amount.COVERED, "dispute": Claim.MAY_END},
        {"amount": Amount.PART, "dispute": Claim.OPENS},
        {"amount": Amount.PART, "refund": Claim.EXCLUDES},
        {"amount": Amount.NAMED, "suspense": Suspense.EXCESS},
        {"amount": Amount.NAMED, "authorization": Authorization.SETS},
        {"revenue": Revenue.GROSS},
    ],
)
def test_a_row_that_contradicts_itself_cannot_be_made(contradiction: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        Effect(**contradiction)  # type: ignore[arg-type]


def test_pots_are_those_that_the_writer_keeps() -> None:
    assert {str(pot) for pot in Pot} == set(SHARES.values())
