"""Stripe's events: proof that Stripe sent them, and what they are about. Pure; the caller has the
clock.

The SDK's own verification knows one secret, no event from the future, and raises errors that hold
the body; ours is tested against its signer. An event decides nothing: it says which charge to look
at, and holds that charge where nothing is missing from it.

Source: https://docs.stripe.com/webhooks#verify-manually.
"""

import hmac
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from types import MappingProxyType

import msgspec

from connectors.charges import Charge, EventKind, ProcessorEvent
from connectors.stripe import objects, translate
from connectors.stripe.amounts import STRIPE
from connectors.stripe.objects import Object
from connectors.stripe.requests import PAYMENT_ID
from schemas.errors import InputError, OutcomeUnknown

TOLERANCE_SECONDS = 300
BODY_BYTES_MOST = 256 * 1024
SIGNATURES_MOST = 16
HEADER = "Stripe-Signature"
ADVICE = "check the signing secret of the endpoint and the clock"
"""For whoever sends; it is answered to everybody, so it names no setting of ours."""


def verify(body: bytes, header: str, secrets: Iterable[str], now: datetime) -> None:
    """Check that a webhook's body was signed with one of our secrets within the last 5 minutes.

    Raises:
        InputError: names the header and what is wrong; holds nothing of the body.
    """
    if len(body) > BODY_BYTES_MOST:
        raise InputError("body", f"has more than {BODY_BYTES_MOST} bytes; Stripe's events are less")
    stamp, signatures = _signatures(header)
    signed = stamp.encode() + b"." + body
    matches = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), signed, sha256).hexdigest().encode()
        for signature in signatures:  # all of them, so that the time taken tells nothing
            matches |= hmac.compare_digest(expected, signature.encode("utf-8", "replace"))
    if not matches:
        raise InputError(HEADER, f"no signature fits the body; {ADVICE}")
    if abs(now.timestamp() - int(stamp)) > TOLERANCE_SECONDS:
        raise InputError(
            HEADER, f"was signed more than {TOLERANCE_SECONDS} s before or after now; {ADVICE}"
        )


def _signatures(header: str) -> tuple[str, list[str]]:
    """Split `t=…,v1=…[,v1=…]`; other schemes, such as v0 of test events, are ignored."""
    pairs = [part.strip().partition("=") for part in header[:4096].split(",")]
    stamps = [value for name, _, value in pairs if name == "t"]
    signatures = [value for name, _, value in pairs if name == "v1"]
    if len(stamps) != 1 or not (stamps[0].isascii() and stamps[0].isdecimal()):
        raise InputError(HEADER, "has not one time t=…; only Stripe may call this address")
    if len(stamps[0]) > len("9999999999"):
        raise InputError(HEADER, "has no time in seconds; only Stripe may call this address")
    if not signatures or len(signatures) > SIGNATURES_MOST:
        raise InputError(HEADER, f"has not 1 to {SIGNATURES_MOST} signatures v1=…")
    return stamps[0], signatures


def read(body: bytes, *, whole: bool = True) -> ProcessorEvent:
    """Parse a verified body; unless `whole`, the charge in it is not translated.

    Raises:
        InputError: it is no event of Stripe's; names the field, never its value.
    """
    try:
        parsed = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InputError("body", "is not JSON; only Stripe may call this address") from None
    if not isinstance(parsed, Mapping):
        raise InputError("body", "is no JSON object; only Stripe may call this address")
    return event(parsed, whole=whole)


def event(source: Object, *, whole: bool = True) -> ProcessorEvent:
    """Translate an event, from a webhook or from the list of events; `whole` as in `read`.

    A charge inside that this code cannot read is left out: retrieving it tells why.

    Raises:
        InputError: it has no id, type, time or object.
    """
    try:
        event_type = objects.text(source, "type")
        about = objects.part(objects.part(source, "data") or {}, "object")
        if about is None:
            raise InputError("data.object", "is missing; send snapshot events, not thin ones")
        subject = SUBJECTS.get(event_type)
        return ProcessorEvent(
            psp=STRIPE,
            event_id=objects.identifier(source, "id"),
            event_type=event_type,
            kind=_kind(event_type, about),
            at=objects.time(source, "created"),
            object_id=_own(about) or "",
            reference=subject.reference(about) if subject else None,
            payment_id=objects.payment_id(about, PAYMENT_ID),
            charge=_charge(subject, about) if subject and whole else None,
        )
    except OutcomeUnknown as error:
        raise InputError("body", error.problem) from None


def _kind(event_type: str, about: Object) -> EventKind:
    if event_type in SUBJECTS:
        is_charge = SUBJECTS[event_type] not in PAGES or _is_of_a_charge(about)
        return EventKind.CHARGE if is_charge else EventKind.IGNORED
    return EventKind.IGNORED if event_type in IGNORED else EventKind.UNKNOWN


def _is_of_a_charge(page: Object) -> bool:
    """Whether a page is to take one payment: not a subscription, nor one with nothing to pay."""
    return (
        page.get("mode", "payment") == "payment"
        and page.get("payment_status") != "no_payment_required"
    )


def _charge(subject: "Subject", about: Object) -> Charge | None:
    if subject.charge is None:
        return None
    try:
        return subject.charge(about)
    except OutcomeUnknown:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Where an object says which charge it is about, and how it becomes that charge if it can."""

    reference: Callable[[Object], str | None]
    charge: Callable[[Object], Charge | None] | None = None


def _own(about: Object) -> str | None:
    return objects.identifier(about, "id") if about.get("id") else None


def _of_intent(about: Object) -> str | None:
    return objects.id_of(about, "payment_intent")


def _of_page(about: Object) -> str | None:
    return _of_intent(about) or _own(about)


INTENT = Subject(reference=_own, charge=translate.charge)
"""At that moment it had no refunds and no disputes beyond those of an earlier capture."""
PAGE = Subject(reference=_of_page)
EXPIRED_PAGE = Subject(reference=_own, charge=translate.session)
PAGES = (PAGE, EXPIRED_PAGE)
PART = Subject(reference=_of_intent)
"""A refund, a dispute, a charge: part of what has to be retrieved whole."""

SUBJECTS: Mapping[str, Subject] = MappingProxyType(
    {
        "payment_intent.amount_capturable_updated": INTENT,
        "payment_intent.canceled": INTENT,
        "payment_intent.partially_funded": INTENT,
        "payment_intent.payment_failed": INTENT,
        "payment_intent.processing": INTENT,
        "payment_intent.requires_action": INTENT,
        "payment_intent.succeeded": INTENT,
        "checkout.session.async_payment_failed": PAGE,
        "checkout.session.async_payment_succeeded": PAGE,
        "checkout.session.completed": PAGE,
        "checkout.session.expired": EXPIRED_PAGE,
        "charge.captured": PART,
        "charge.refunded": PART,
        "charge.refund.updated": PART,
        "refund.created": PART,
        "refund.failed": PART,
        "refund.updated": PART,
        "charge.dispute.closed": PART,
        "charge.dispute.created": PART,
        "charge.dispute.funds_reinstated": PART,
        "charge.dispute.funds_withdrawn": PART,
        "charge.dispute.updated": PART,
    }
)
"""Event type -> what it is about. `docs/how-to/use-stripe.md` names those to subscribe to."""

IGNORED = frozenset(
    {
        # payment_intent.… says the same of the charges below.
        "charge.expired",
        "charge.failed",
        "charge.pending",
        "charge.succeeded",
        "charge.updated",
        "payment_intent.created",
        # Nothing about a single charge.
        "balance.available",
        "payment_method.attached",
        "payment_method.automatically_updated",
        "payout.canceled",
        "payout.created",
        "payout.failed",
        "payout.paid",
        "payout.reconciliation_completed",
        "payout.updated",
        "radar.early_fraud_warning.created",
        "radar.early_fraud_warning.updated",
        "reporting.report_run.succeeded",
        "reporting.report_type.updated",
        "review.closed",
        "review.opened",
    }
)

POLLED = (
    "payment_intent.amount_capturable_updated",
    "payment_intent.canceled",
    "payment_intent.payment_failed",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.completed",
    "checkout.session.expired",
    "charge.captured",
    "refund.created",
    "refund.failed",
    "refund.updated",
    "charge.dispute.closed",
    "charge.dispute.created",
    "charge.dispute.funds_reinstated",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.updated",
)
"""The types that a poll asks for, which together say everything; Stripe takes at most 20."""
