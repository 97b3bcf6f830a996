"""Lines of Stripe's books to our records: balance transactions with what moved them. Pure.

Each line comes with its source expanded (a charge, a refund, a dispute) and the source's intent,
which carries our payment's id. Amounts are in the currency that the buyer paid: where Stripe books
in another, the source's own amount is taken.
"""

from collections.abc import Mapping
from types import MappingProxyType

from connectors.books import RECEIVABLE_SIGN, BookKind, BookLine, Moved
from connectors.stripe import objects
from connectors.stripe.amounts import our_amount
from connectors.stripe.objects import Object
from connectors.stripe.requests import PAYMENT_ID
from connectors.stripe.translate import book_entry

FEE = "fee"
CATEGORIES: Mapping[str, BookKind] = MappingProxyType(
    {
        "charge": BookKind.CHARGES,
        "charge_failure": BookKind.CHARGES,
        "partial_capture_reversal": BookKind.CHARGES,
        "refund": BookKind.REFUNDS,
        "refund_failure": BookKind.REFUNDS,
        "dispute": BookKind.DISPUTES_TAKEN,
        "dispute_reversal": BookKind.DISPUTES_GIVEN_BACK,
    }
)
"""Reporting category -> kind (https://docs.stripe.com/reports/reporting-categories).

The others are about no payment of a buyer: payouts, fees, reserves, loans, …
"""
TYPES: Mapping[str, str] = MappingProxyType(
    {
        "charge": "charge",
        "payment": "charge",
        "payment_failure_refund": "charge_failure",
        "payment_reversal": "charge_failure",
        "refund": "refund",
        "payment_refund": "refund",
        "refund_failure": "refund_failure",
        "stripe_fee": FEE,
        "stripe_fx_fee": FEE,
        "tax_fee": FEE,
    }
)
"""Type -> reporting category, for lines without one."""
ON_ITS_WAY = frozenset({"pending", "requires_action"})
"""Statuses of charges and refunds that a bank has not decided."""
UNDONE = frozenset({"failed", "canceled"})


def line(source: Object) -> BookLine:
    """Translate a balance transaction whose source is expanded.

    Raises:
        OutcomeUnknown: a shape or an amount that this code does not know.
    """
    cause = objects.part(source, "source")
    category = _category(source, cause)
    kind = CATEGORIES.get(category)
    return BookLine(
        entry=book_entry(source),
        category=category,
        is_fee=category == FEE,
        moved=_moved(source, cause, kind) if kind is not None else None,
    )


def _category(source: Object, cause: Object | None) -> str:
    given = objects.optional_text(source, "reporting_category")
    if given is not None:
        return given
    kind = objects.text(source, "type")
    if kind == "adjustment" and cause is not None and cause.get("object") == "dispute":
        return "dispute" if objects.integer(source, "amount") < 0 else "dispute_reversal"
    return TYPES.get(kind, kind)


def _moved(source: Object, cause: Object | None, kind: BookKind) -> Moved:
    line_id = objects.identifier(source, "id")
    booked_in = objects.text(source, "currency").upper()
    booked = our_amount(booked_in, RECEIVABLE_SIGN[kind] * objects.integer(source, "amount"))
    if cause is None:
        # Nothing says whose it is, so it is listed as nobody's.
        reference = objects.id_of(source, "source") or line_id
        return Moved(
            counted_as=line_id,
            kind=kind,
            reference=reference,
            charge_reference=reference,
            payment_id=None,
            currency=booked_in,
            amount_minor=booked,
            is_final=True,
        )
    identity = objects.identifier(cause, "id")
    currency = objects.text(cause, "currency").upper()
    charge = _charge_of(cause)
    intent = objects.part(cause, "payment_intent")
    named = objects.payment_id(cause, PAYMENT_ID)
    if named is None and intent is not None:
        named = objects.payment_id(intent, PAYMENT_ID)
    is_converted = currency != booked_in
    return Moved(
        counted_as=f"{identity}:{kind}" if is_converted else line_id,
        kind=kind,
        reference=charge if kind is BookKind.CHARGES else identity,
        charge_reference=charge,
        payment_id=named,
        currency=currency,
        amount_minor=_total(cause, currency, kind) if is_converted else booked,
        is_final=cause.get("status") not in ON_ITS_WAY or cause.get("object") == "dispute",
    )


def _charge_of(cause: Object) -> str:
    """Return what `payments` calls the charge: its intent's id; without an intent, its own."""
    found = objects.id_of(cause, "payment_intent")
    if found is None and cause.get("object") != "charge":
        found = objects.id_of(cause, "charge")
    return found or objects.identifier(cause, "id")


def _total(cause: Object, currency: str, kind: BookKind) -> int:
    """What a charge, refund or dispute has moved of its kind so far, in its own currency."""
    is_charge = cause.get("object") == "charge"
    undone = cause.get("status") in UNDONE
    if undone and kind in (BookKind.CHARGES, BookKind.REFUNDS):
        return 0
    taken = is_charge and cause.get("amount_captured") is not None
    return our_amount(currency, objects.integer(cause, "amount_captured" if taken else "amount"))
