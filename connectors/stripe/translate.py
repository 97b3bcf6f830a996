"""Stripe's objects to our records: a PaymentIntent or a Checkout Session to a `Charge`. Pure.

Every status of Stripe stands in a table here. One that does not is an error, `Unreadable`, and
never a guess: the payment waits for a person or for newer code.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType

from connectors.charges import (
    BookEntry,
    Charge,
    ChargeStatus,
    Dispute,
    DisputeStatus,
    Failure,
    Refund,
    RefundStatus,
)
from connectors.stripe import declines, objects
from connectors.stripe.amounts import STRIPE, our_amount
from connectors.stripe.objects import Object
from connectors.stripe.requests import FLOW, HOSTED, INTENT_SEQ, PAYMENT_ID, REFUND_ID
from schemas.errors import Unreadable

API_VERSION = "2026-10-28.endive"
"""The version whose objects this module reads; the client sends it with every call."""

# An intent that waits for a payment method has failed, or has not been tried: `_waiting` tells.
WAITING = "requires_payment_method"
INTENT_STATUSES: Mapping[str, ChargeStatus | None] = MappingProxyType(
    {
        WAITING: None,
        "requires_confirmation": ChargeStatus.CREATED,
        "requires_action": ChargeStatus.ACTION_REQUIRED,
        "processing": ChargeStatus.PROCESSING,
        "requires_capture": ChargeStatus.AUTHORIZED,
        "succeeded": ChargeStatus.CAPTURED,
        "canceled": ChargeStatus.CANCELLED,
    }
)
"""Status of a PaymentIntent -> ours; https://docs.stripe.com/payments/paymentintents/lifecycle."""

LAPSED = frozenset({"automatic", "expired"})
"""Reasons of a cancellation that nobody asked for: the authorization or the page expired."""

SESSION_STATUSES: Mapping[str, ChargeStatus | None] = MappingProxyType(
    {
        "open": ChargeStatus.ACTION_REQUIRED,
        "expired": ChargeStatus.EXPIRED,
        "complete": None,  # its intent tells
    }
)
"""Status of a Checkout Session -> ours."""

REFUND_STATUSES: Mapping[str, RefundStatus] = MappingProxyType(
    {
        "pending": RefundStatus.PENDING,
        "requires_action": RefundStatus.PENDING,
        "succeeded": RefundStatus.SUCCEEDED,
        "failed": RefundStatus.FAILED,
        "canceled": RefundStatus.FAILED,
    }
)

INQUIRY = None
PREVENTED = "prevented"
DISPUTE_STATUSES: Mapping[str, DisputeStatus | None] = MappingProxyType(
    {
        "warning_needs_response": INQUIRY,
        "warning_under_review": INQUIRY,
        "warning_closed": INQUIRY,
        "needs_response": DisputeStatus.OPEN,
        "under_review": DisputeStatus.OPEN,
        # Lost at first, and asked again: the money is away, and may come back.
        "appeal_needs_response": DisputeStatus.OPEN,
        "appeal_under_review": DisputeStatus.OPEN,
        "won": DisputeStatus.WON,
        "lost": DisputeStatus.LOST,
        PREVENTED: DisputeStatus.LOST,  # if it took money: `_dispute`
    }
)
"""Status of a dispute -> ours; an inquiry has moved no money and is left out."""

ACTION_URLS: Mapping[str, str] = MappingProxyType(
    {
        "redirect_to_url": "url",
        "verify_with_microdeposits": "hosted_verification_url",
        "display_bank_transfer_instructions": "hosted_instructions_url",
    }
)
"""Type of a next action -> where its address is; other types need Stripe's own code in a page."""


def _unknown(kind: str, status: str) -> Unreadable:
    return Unreadable(
        STRIPE,
        "unknown_status",
        f"{kind} has the status {status[:40]!r}, which this version does not know; upgrade Purser",
    )


def charge(intent: Object, disputes: Iterable[Object] = ()) -> Charge:
    """Translate a PaymentIntent, with `latest_charge.refunds` expanded where there can be any.

    `disputes` are Stripe's objects, which no expansion gives.

    Raises:
        Unreadable: a status or a shape that this code does not know.
    """
    currency = objects.text(intent, "currency").upper()
    taken = our_amount(currency, objects.integer(intent, "amount_received"))
    latest = objects.part(intent, "latest_charge")
    status = _status(intent)
    return Charge(
        psp=STRIPE,
        reference=objects.identifier(intent, "id"),
        payment_id=objects.payment_id(intent, PAYMENT_ID),
        intent_seq=objects.sequence(intent, INTENT_SEQ),
        currency=currency,
        amount_minor=our_amount(currency, objects.integer(intent, "amount")),
        status=status,
        authorized_minor=_authorized(intent, latest, currency, status),
        captured_minor=taken,
        captures_more=_captures_more(latest),
        action_url=_action_url(intent) if status is ChargeStatus.ACTION_REQUIRED else None,
        failure=_failure(intent) if status is ChargeStatus.FAILED else None,
        refunds=_refunds(latest),
        disputes=_disputes(disputes),
        at=objects.optional_time(intent, "canceled_at")
        or (objects.time(latest, "created") if latest else objects.time(intent, "created")),
    )


def session(page: Object) -> Charge:
    """Translate a Checkout Session that is open or has expired.

    Raises:
        Unreadable: it is complete, so that its intent has to be read, or cannot be read.
    """
    currency = objects.text(page, "currency").upper()
    status = session_status(page)
    if status is None:
        raise _unknown("a page without its intent", "complete")
    expired = status is ChargeStatus.EXPIRED
    return Charge(
        psp=STRIPE,
        reference=objects.identifier(page, "id"),
        payment_id=objects.payment_id(page, PAYMENT_ID),
        intent_seq=objects.sequence(page, INTENT_SEQ),
        currency=currency,
        amount_minor=our_amount(currency, objects.integer(page, "amount_total")),
        status=status,
        authorized_minor=0,
        captured_minor=0,
        action_url=None if expired else objects.text(page, "url"),
        at=objects.time(page, "expires_at" if expired else "created"),
    )


def session_status(page: Object) -> ChargeStatus | None:
    """Return the status of a Checkout Session; None if it is complete and its intent tells."""
    status = objects.text(page, "status")
    if status not in SESSION_STATUSES:
        raise _unknown("a page", status)
    return SESSION_STATUSES[status]


def may_have_failed_on_page(intent: Object) -> bool:
    """Whether only its page tells if the buyer can still pay: an attempt there has failed.

    A card can be followed by another on a page that is open. A bank debit fails days after the page
    is complete.
    """
    return (
        objects.text(intent, "status") == WAITING
        and objects.metadata(intent, FLOW) == HOSTED
        and objects.part(intent, "last_payment_error") is not None
    )


def failed_on_page(waiting: Charge, intent: Object, page: Object) -> Charge:
    """Return a charge that waits for the buyer as its page says it is."""
    if session_status(page) is None:  # complete: nobody can pay there any more
        return replace(
            waiting, status=ChargeStatus.FAILED, action_url=None, failure=_failure(intent)
        )
    return replace(waiting, status=session(page).status, action_url=session(page).action_url)


def is_taken_later(intent: Object) -> bool:
    """Whether money was taken at another time than the charge was made, which Stripe does not tell.

    So it is with a capture after an authorization, and with a debit that a bank answers days later.
    """
    latest = objects.part(intent, "latest_charge")
    details = objects.part(latest, "payment_method_details") if latest is not None else None
    is_card = details is None or objects.optional_text(details, "type") == "card"
    is_manual = objects.optional_text(intent, "capture_method") == "manual"
    return objects.integer(intent, "amount_received") > 0 and (is_manual or not is_card)


def is_disputed(intent: Object) -> bool:
    """Whether the intent's charge has disputes, which have to be listed."""
    latest = objects.part(intent, "latest_charge")
    return latest is not None and latest.get("disputed") is True


def lacks_refunds(intent: Object) -> bool:
    """Whether there are more refunds than the expansion lists."""
    latest = objects.part(intent, "latest_charge")
    listed = objects.part(latest, "refunds") if latest is not None else None
    return listed is not None and objects.has_more(listed)


def with_refunds(whole: Charge, refunds: Iterable[Object]) -> Charge:
    """Return a charge with these refunds beside, or instead of, those that it holds."""
    found = {refund.reference: refund for refund in whole.refunds}
    found |= {refund.reference: refund for refund in map(_refund, refunds)}
    return replace(whole, refunds=_in_order(found.values()))


def declined(error: Object) -> Charge | None:
    """Translate the charge inside a card error; None if it holds none."""
    intent = objects.part(error, "payment_intent")
    if intent is None:
        return None
    translated = charge(intent)
    if translated.status is not ChargeStatus.FAILED:
        return translated
    return replace(translated, failure=_reason(error))


def book_entry(line: Object) -> BookEntry:
    """Translate a balance transaction."""
    currency = objects.text(line, "currency").upper()
    return BookEntry(
        psp=STRIPE,
        reference=objects.identifier(line, "id"),
        entry_type=objects.text(line, "type"),
        source=objects.id_of(line, "source"),
        currency=currency,
        amount_minor=our_amount(currency, objects.integer(line, "amount")),
        fee_minor=our_amount(currency, objects.integer(line, "fee")),
        net_minor=our_amount(currency, objects.integer(line, "net")),
        created_at=objects.time(line, "created"),
        available_at=objects.time(line, "available_on"),
    )


def _status(intent: Object) -> ChargeStatus:
    status = objects.text(intent, "status")
    if status not in INTENT_STATUSES:
        raise _unknown("a charge", status)
    if status == "canceled" and objects.optional_text(intent, "cancellation_reason") in LAPSED:
        return ChargeStatus.EXPIRED
    return INTENT_STATUSES[status] or _waiting(intent)


def _waiting(intent: Object) -> ChargeStatus:
    """Whether a payment method is missing because one failed.

    On Stripe's page the buyer can try another card, so there it is no end. Directly only we could
    try again, and we make a new intent for that.
    """
    if objects.metadata(intent, FLOW) == HOSTED:
        return ChargeStatus.ACTION_REQUIRED
    if objects.part(intent, "last_payment_error") is not None:
        return ChargeStatus.FAILED
    return ChargeStatus.CREATED


def _authorized(intent: Object, latest: Object | None, currency: str, status: ChargeStatus) -> int:
    """What the bank reserved, also after a capture released the rest; 0 if it did not."""
    taken = objects.integer(intent, "amount_received")
    if not taken and status is not ChargeStatus.AUTHORIZED:
        return 0
    card = _card(latest)
    reserved = card.get("amount_authorized") if card is not None else None
    at_least = taken + objects.integer(intent, "amount_capturable")
    if isinstance(reserved, int) and not isinstance(reserved, bool):
        at_least = max(reserved, at_least)
    return our_amount(currency, at_least)


def _captures_more(latest: Object | None) -> bool:
    """Whether the card allows several captures, which Stripe calls multicapture."""
    card = _card(latest)
    several = objects.part(card, "multicapture") if card is not None else None
    return several is not None and several.get("status") == "available"


def _card(latest: Object | None) -> Object | None:
    details = objects.part(latest, "payment_method_details") if latest is not None else None
    return objects.part(details, "card") if details is not None else None


def _action_url(intent: Object) -> str | None:
    action = objects.part(intent, "next_action")
    if action is None:
        return None
    kind = objects.text(action, "type")
    details = objects.part(action, kind) if kind in ACTION_URLS else None
    return objects.optional_text(details, ACTION_URLS[kind]) if details is not None else None


def _failure(intent: Object) -> Failure:
    error = objects.part(intent, "last_payment_error")
    return _reason(error) if error is not None else declines.failure(None)


def _reason(error: Object) -> Failure:
    return declines.failure(
        objects.optional_text(error, "decline_code") or objects.optional_text(error, "code"),
        objects.optional_text(error, "advice_code"),
    )


def _refunds(latest: Object | None) -> tuple[Refund, ...]:
    listed = objects.part(latest, "refunds") if latest is not None else None
    return _in_order(map(_refund, objects.items(listed))) if listed is not None else ()


def _refund(source: Object) -> Refund:
    currency = objects.text(source, "currency").upper()
    status = objects.text(source, "status")
    if status not in REFUND_STATUSES:
        raise _unknown("a refund", status)
    return Refund(
        reference=objects.identifier(source, "id"),
        refund_id=objects.metadata(source, REFUND_ID),
        amount_minor=our_amount(currency, objects.integer(source, "amount")),
        status=REFUND_STATUSES[status],
        reason=objects.optional_text(source, "failure_reason")
        or objects.optional_text(source, "reason"),
        at=objects.time(source, "created"),
    )


def _in_order(refunds: Iterable[Refund]) -> tuple[Refund, ...]:
    return tuple(sorted(refunds, key=lambda refund: (refund.at, refund.reference)))


def _disputes(sources: Iterable[Object]) -> tuple[Dispute, ...]:
    found = (_dispute(source) for source in sources)
    opened = (dispute for dispute in found if dispute is not None)
    return tuple(sorted(opened, key=lambda dispute: (dispute.opened_at, dispute.reference)))


def _dispute(source: Object) -> Dispute | None:
    status = objects.text(source, "status")
    if status not in DISPUTE_STATUSES:
        raise _unknown("a dispute", status)
    meaning = DISPUTE_STATUSES[status]
    lines = source.get("balance_transactions") or ()
    moves = [line for line in lines if isinstance(line, Mapping)] if isinstance(lines, list) else []
    if meaning is INQUIRY or (status == PREVENTED and not moves):
        return None
    currency = objects.text(source, "currency").upper()
    decided = meaning is not DisputeStatus.OPEN and len(moves) > 1
    return Dispute(
        reference=objects.identifier(source, "id"),
        amount_minor=our_amount(currency, objects.integer(source, "amount")),
        status=meaning,
        reason=objects.optional_text(source, "reason"),
        opened_at=objects.time(source, "created"),
        # Stripe has no time of the decision; the money's return is one, a loss has only its event.
        decided_at=max(objects.time(line, "created") for line in moves) if decided else None,
    )
