"""Stripe's balance transactions as tables: what each kind of line says, in all currencies."""

from typing import Any
from uuid import UUID

import pytest

from connectors.books import BookKind
from connectors.stripe.book_lines import line
from schemas.errors import OutcomeUnknown

PAYMENT = UUID("018f3f6e-0000-7000-8000-000000000001")
METADATA = {"purser_payment_id": str(PAYMENT)}
INTENT = {"id": "pi_1", "object": "payment_intent", "metadata": METADATA}


def charge(**fields: Any) -> dict[str, Any]:
    return {
        "id": "ch_1",
        "object": "charge",
        "payment_intent": INTENT,
        "metadata": {},
        "currency": "eur",
        "amount": 1000,
        "amount_captured": 1000,
        "status": "succeeded",
        **fields,
    }


def refund(**fields: Any) -> dict[str, Any]:
    return {
        **charge(),
        "id": "re_1",
        "object": "refund",
        "charge": "ch_1",
        "amount_captured": None,
        **fields,
    }


def dispute(**fields: Any) -> dict[str, Any]:
    given = {"id": "dp_1", "object": "dispute", "status": "needs_response", **fields}
    return {**refund(), **given}


def transaction(
    kind: str, category: str | None, amount: int, source: Any, **fields: Any
) -> dict[str, Any]:
    currency = source["currency"] if isinstance(source, dict) else "eur"
    given = {
        "id": "txn_1",
        "object": "balance_transaction",
        "type": kind,
        "source": source,
        "currency": currency,
        "amount": amount,
        "fee": 0,
        "net": amount,
        "created": 1_780_000_000,
        "available_on": 1_780_000_000,
        **fields,
    }
    return given if category is None else {**given, "reporting_category": category}


CHARGES, REFUNDS = BookKind.CHARGES, BookKind.REFUNDS
TAKEN, BACK = BookKind.DISPUTES_TAKEN, BookKind.DISPUTES_GIVEN_BACK
IN_USD = {"currency": "usd"}
JPY, KWD = charge(currency="jpy"), charge(currency="kwd")
ISK, MGA = charge(currency="isk"), charge(currency="mga")


@pytest.mark.parametrize(
    ("source", "kind", "reference", "currency", "amount_minor"),
    [
        # a charge, all of it or a part
        (transaction("charge", "charge", 1000, charge()), CHARGES, "pi_1", "EUR", 1000),
        (transaction("payment", "charge", 1000, charge()), CHARGES, "pi_1", "EUR", 1000),
        (transaction("adjustment", "partial_capture_reversal", -400, charge()),
         CHARGES, "pi_1", "EUR", -400),
        (transaction("payment_failure_refund", "charge_failure", -1000, charge()),
         CHARGES, "pi_1", "EUR", -1000),
        (transaction("payment_failure_refund", "charge_failure", -1000, refund()),
         CHARGES, "pi_1", "EUR", -1000),
        # back to the buyer, and back again
        (transaction("refund", "refund", -300, refund()), REFUNDS, "re_1", "EUR", 300),
        (transaction("payment_refund", "refund", -300, refund()), REFUNDS, "re_1", "EUR", 300),
        (transaction("refund_failure", "refund_failure", 300, refund(status="failed")),
         REFUNDS, "re_1", "EUR", -300),
        # a bank takes and gives back
        (transaction("adjustment", "dispute", -1000, dispute()), TAKEN, "dp_1", "EUR", 1000),
        (transaction("adjustment", "dispute_reversal", 1000, dispute(status="won")),
         BACK, "dp_1", "EUR", 1000),
        # lines without a category
        (transaction("charge", None, 1000, charge()), CHARGES, "pi_1", "EUR", 1000),
        (transaction("payment_refund", None, -300, refund()), REFUNDS, "re_1", "EUR", 300),
        (transaction("adjustment", None, -1000, dispute()), TAKEN, "dp_1", "EUR", 1000),
        (transaction("adjustment", None, 1000, dispute()), BACK, "dp_1", "EUR", 1000),
        # currencies that Stripe counts in another unit than ISO 4217, or in the same
        (transaction("charge", "charge", 5000, JPY), CHARGES, "pi_1", "JPY", 5000),
        (transaction("charge", "charge", 12_340, KWD), CHARGES, "pi_1", "KWD", 12_340),
        (transaction("charge", "charge", 150_000, ISK), CHARGES, "pi_1", "ISK", 1500),
        (transaction("charge", "charge", 700, MGA), CHARGES, "pi_1", "MGA", 70_000),
        (transaction("refund", "refund", -100, refund(currency="isk")), REFUNDS, "re_1", "ISK", 1),
        # booked in another currency: what the buyer paid, whatever the rate
        (transaction("charge", "charge", 1083, charge(amount_captured=600), **IN_USD),
         CHARGES, "pi_1", "EUR", 600),
        (transaction("charge_failure", "charge_failure", -1083, charge(status="failed"), **IN_USD),
         CHARGES, "pi_1", "EUR", 0),
        (transaction("refund", "refund", -325, refund(amount=300), **IN_USD),
         REFUNDS, "re_1", "EUR", 300),
        (transaction("adjustment", "dispute", -1083, dispute(), **IN_USD),
         TAKEN, "dp_1", "EUR", 1000),
        # a charge that no intent made
        (transaction("charge", "charge", 1000, charge(payment_intent=None)),
         CHARGES, "ch_1", "EUR", 1000),
    ],
)  # fmt: skip
def test_what_a_line_moves(
    source: dict[str, Any], kind: BookKind, reference: str, currency: str, amount_minor: int
) -> None:
    moved = line(source).moved
    assert moved is not None
    assert (moved.kind, moved.reference, moved.currency, moved.amount_minor) == (
        kind,
        reference,
        currency,
        amount_minor,
    )
    owner = None if source["source"]["payment_intent"] is None else PAYMENT
    assert moved.payment_id == owner
    assert moved.charge_reference == ("ch_1" if reference == "ch_1" else "pi_1")
    assert moved.is_final


@pytest.mark.parametrize(
    ("source", "category", "is_fee"),
    [
        (transaction("payout", "payout", -900, "po_1"), "payout", False),
        (transaction("stripe_fee", "fee", -25, None), "fee", True),
        (transaction("stripe_fee", None, -25, None), "fee", True),
        (transaction("adjustment", "other_adjustment", 3, None), "other_adjustment", False),
        (transaction("adjustment", None, 3, None), "adjustment", False),
        (transaction("reserve_transaction", None, 3, None), "reserve_transaction", False),
    ],
)
def test_a_line_about_no_payment(source: dict[str, Any], category: str, is_fee: bool) -> None:
    found = line(source)
    assert (found.moved, found.category, found.is_fee) == (None, category, is_fee)


@pytest.mark.parametrize(
    ("cause", "is_final"),
    [
        (charge(status="pending"), False),
        (refund(status="pending"), False),
        (refund(status="requires_action"), False),
        (charge(status="failed"), True),
        (dispute(status="needs_response"), True),
    ],
)
def test_money_that_a_bank_has_not_decided(cause: dict[str, Any], is_final: bool) -> None:
    category = {"charge": "charge", "refund": "refund", "dispute": "dispute"}[cause["object"]]
    moved = line(transaction("any", category, 1000, cause)).moved
    assert moved is not None
    assert moved.is_final is is_final


def test_several_lines_of_a_converted_charge_count_once() -> None:
    cause = charge(amount_captured=600)
    first = line(transaction("charge", "charge", 1083, cause, **IN_USD)).moved
    rest = line(
        transaction("adjustment", "partial_capture_reversal", -433, cause, id="txn_2", **IN_USD)
    ).moved
    assert first is not None
    assert rest is not None
    assert first.counted_as == rest.counted_as
    same = line(transaction("charge", "charge", 1000, charge())).moved
    assert same is not None
    assert same.counted_as == "txn_1"


def test_a_line_without_its_source_is_nobodys() -> None:
    moved = line(transaction("charge", "charge", 1000, "ch_9")).moved
    assert moved is not None
    assert (moved.payment_id, moved.reference) == (None, "ch_9")


@pytest.mark.parametrize(
    "source",
    [
        transaction("charge", "charge", 1000, charge(currency="xxa")),
        transaction("charge", "charge", 150, ISK),  # half a krona
        {**transaction("charge", "charge", 1000, charge()), "amount": "1000"},
        {**transaction("charge", "charge", 1000, charge()), "created": None},
    ],
)
def test_what_cannot_be_read_is_no_guess(source: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        line(source)
