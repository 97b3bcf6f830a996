"""What each event means for money, stated a second time.

The writer, the guards, the postings, the totals and `verify` all read `schemas.effects`. They would
agree on a wrong row, so this table repeats every row in other words. Change both, never one.
"""

import pytest

from schemas.effects import EFFECTS, Amount, Claim, Effect, Move, Pot, Revenue
from schemas.lifecycle import Direction, EventType

IN_SUMS = {
    # event: captured, refunded, released, reserved; may settle a request
    "created": (0, 0, 0, 0, False),
    "action_required": (0, 0, 0, 0, False),
    "processing": (0, 0, 0, 0, False),
    "unknown": (0, 0, 0, 0, False),
    "authorized": (0, 0, 0, 0, False),
    "captured": (+1, 0, 0, 0, False),
    "shipped": (0, 0, 0, 0, False),
    "delivered": (0, 0, 0, 0, False),
    "failed": (0, 0, 0, 0, False),
    "cancelled": (0, 0, 0, 0, False),
    "expired": (0, 0, 0, 0, False),
    "released": (0, 0, +1, 0, False),
    "refund_requested": (0, 0, 0, +1, False),
    "refunded": (0, +1, 0, 0, True),
    "refund_failed": (0, 0, 0, -1, False),
    "dispute_opened": (0, 0, 0, +1, False),
    "dispute_won": (0, 0, 0, -1, False),
    "dispute_lost": (0, +1, 0, -1, False),
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
REVENUE = {"captured": "gross", "refunded": "refunds", "dispute_lost": "chargebacks"}
SHARES = {
    "created": "planned",
    "captured": "taken",
    "refunded": "given_back",
    "dispute_lost": "given_back",
}
WHOLE = {"created", "authorized"}
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
    takes_part = any(IN_SUMS[event])
    expected = Amount.WHOLE if event in WHOLE else Amount.PART if takes_part else Amount.NONE
    assert effect.amount is expected


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
        {"amount": Amount.PART, "dispute": Claim.MAY_END},
        {"revenue": Revenue.GROSS},
    ],
)
def test_a_row_that_contradicts_itself_cannot_be_made(contradiction: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        Effect(**contradiction)  # type: ignore[arg-type]


def test_pots_are_those_that_the_writer_keeps() -> None:
    assert {str(pot) for pot in Pot} == set(SHARES.values())
