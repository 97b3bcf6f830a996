"""What a processor's books say that `payments` lacks: a charge and a state in, commands out. Pure.

Every source of evidence ends here: the answer to a call, a webhook, a poll. `commands` is monotone:
it adds what is missing and takes nothing back, so evidence that is stale, doubled or out of order
gives nothing. Every key is derived from the processor's own ids and totals, so the same fact is
recorded once, whoever sees it and however often.

It never turns absence into a failure; `payins.plan` decides about absence, with proof.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from connectors.charges import Charge, ChargeStatus, RefundStatus
from payins.books import HELD, Books
from payins.givebacks import disputes, refunds
from schemas.lifecycle import EventType, Status
from schemas.money import allocate
from writer.commands import (
    Authorize,
    Cancel,
    Capture,
    Change,
    Expire,
    Fail,
    MarkProcessing,
    RequireAction,
)
from writer.state import OrderState, PaymentState

_E, _S = EventType, Status

_WAITING = frozenset({_S.CREATED, _S.ACTION_REQUIRED, _S.PROCESSING, _S.UNKNOWN})
_OPEN = _WAITING | {_S.AUTHORIZED}
_BEYOND_ACTION = frozenset({_E.PROCESSING}) | HELD
_FROM_ACTION = _BEYOND_ACTION | {_E.ACTION_REQUIRED}

DECLINED = "declined"
"""The reason of a failure for which the processor gave none."""
NOT_CAPTURED = "not_captured"
"""The reason why an order is cancelled whose part of a finished charge was not taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecordable:
    """A fact in the processor's books for a person: no event can say it, or say what to do now."""

    reason: str
    reference: str
    amount_minor: int
    currency: str


def commands(state: PaymentState, charge: Charge) -> list[Change]:
    """Return what is missing in `state`, in the order in which it can be recorded.

    What the commands change may make room for more, so ask again after they were carried out, until
    nothing is missing.
    """
    assert charge.payment_id in (None, state.payment_id), (charge, state.payment_id)
    books = Books(state, charge)
    if charge.currency != state.currency:
        return []
    return [*_captures(books), *_status(books), *refunds(books), *disputes(books)]


def unrecordable(state: PaymentState, charge: Charge) -> list[Unrecordable]:
    """Return what the processor's books say and a person must know, recorded or not."""
    books = Books(state, charge)
    if charge.currency != state.currency:
        return [_unrecordable("currency_differs", charge, charge.reference, charge.captured_minor)]
    found = [
        _unrecordable("refund_failed_after_success", charge, refund.reference, refund.amount_minor)
        for refund in charge.refunds
        if refund.status is RefundStatus.FAILED and books.given_back_minor(refund)
    ]
    taken_back = books.captured_minor - charge.captured_minor
    if charge.status is ChargeStatus.FAILED and taken_back > 0:
        found.append(_unrecordable("failed_after_capture", charge, charge.reference, taken_back))
    return found


def _unrecordable(reason: str, charge: Charge, reference: str, amount_minor: int) -> Unrecordable:
    return Unrecordable(
        reason=reason, reference=reference, amount_minor=amount_minor, currency=charge.currency
    )


# -- money taken --------------------------------------------------------------------------------


def _captures(books: Books) -> list[Change]:
    missing_minor = books.charge.captured_minor - books.captured_minor
    if missing_minor <= 0:
        return []
    taken_minor = books.captured_minor
    found: list[Change] = []
    for order_id, amount_minor, is_stray in _placed(books, missing_minor):
        taken_minor += amount_minor
        found.append(
            Capture(
                idempotency_key=books.key(books.charge.reference, f"captured:{taken_minor}"),
                occurred_at=books.charge.at,
                psp_reference=books.charge.reference,
                payment_id=books.state.payment_id,
                order_id=order_id,
                amount_minor=amount_minor,
                psp=books.charge.psp,
                is_stray=is_stray,
            )
        )
    return found


def _placed(books: Books, missing_minor: int) -> list[tuple[str | None, int, bool]]:
    """Say what the money is for: orders as far as they have room, and what is beyond is a stray.

    Of orders that are over the writer itself makes it one.
    """
    live = [order for order in books.orders if not order.is_over]
    if books.is_stray or not live:
        return [(None, missing_minor, books.is_stray)]
    room_minor = sum(
        (order.authorized_minor or order.amount_minor) - order.captured_minor for order in live
    )
    placed_minor = min(missing_minor, room_minor)
    parts = _parts(books, placed_minor) if placed_minor else []
    found = [(order_id, amount_minor, False) for order_id, amount_minor in parts]
    if beyond_minor := missing_minor - placed_minor:
        found.append((None, beyond_minor, True))
    return found


def _parts(books: Books, missing_minor: int) -> list[tuple[str | None, int]]:
    """Say which orders the money is for: first those whose capture was requested.

    Without a request it is for all of them, and the writer splits it.
    """
    requested = {
        order.order_id: min(
            order.capture_requested_minor, order.amount_minor - order.captured_minor
        )
        for order in books.orders
        if order.capture_requested_minor and not order.is_over
    }
    total = sum(requested.values())
    others = [
        order
        for order in books.orders
        if not order.is_over
        and order.amount_minor - order.captured_minor > requested.get(order.order_id, 0)
    ]
    if not books.is_current or not total or (not others and missing_minor == total):
        return [(None, missing_minor)]
    if missing_minor < total:
        split = allocate(missing_minor, list(requested.values()))
        requested = dict(zip(requested, split, strict=True))
    parts: list[tuple[str | None, int]] = [
        (order_id, amount) for order_id, amount in requested.items() if amount
    ]
    if (rest := missing_minor - sum(requested.values())) > 0:
        parts.append((None, rest))
    return parts


# -- how the charge stands ----------------------------------------------------------------------


def _status(books: Books) -> list[Change]:
    return _STATUS[books.charge.status](books) if books.is_current else []


def _nothing(_books: Books) -> list[Change]:
    return []


def _action_required(books: Books) -> list[Change]:
    if not _is_news(books, _FROM_ACTION):
        return []
    fields = _fields(books, books.numbered(books.charge.reference, "action_required"))
    return [RequireAction(**fields, url=books.charge.action_url)]


def _processing(books: Books) -> list[Change]:
    if not _is_news(books, _BEYOND_ACTION):
        return []
    return [MarkProcessing(**_fields(books, books.numbered(books.charge.reference, "processing")))]


def _is_news(books: Books, known: frozenset[EventType]) -> bool:
    """Whether the attempt has not come so far yet, or it is not known any more how far."""
    waiting = _with_status(books, _WAITING)
    if any(order.state.status is Status.UNKNOWN for order in waiting):
        return not books.seen & HELD
    return bool(waiting) and not books.seen & known


def _authorized(books: Books) -> list[Change]:
    """Record the authorization, also once more after its outcome was unknown for a while."""
    if not _with_status(books, _WAITING) or EventType.CAPTURED in books.seen:
        return []
    whole = sum(order.amount_minor for order in books.orders if not order.is_over)
    held = books.charge.authorized_minor
    amount_minor = held if 0 < held < whole else None
    fields = _fields(books, books.numbered(books.charge.reference, "authorized"))
    return [Authorize(**fields, amount_minor=amount_minor)]


def _captured(books: Books) -> list[Change]:
    """Nothing more can be taken: an order that got nothing of it will get nothing."""
    if books.captured_minor < books.charge.captured_minor:
        return []  # first the money, which says which orders got some
    return _ends(books, Cancel, "cancelled", NOT_CAPTURED)


def _failed(books: Books) -> list[Change]:
    held_at = books.last_at(HELD)
    if held_at is not None and books.charge.at <= held_at:
        return []  # what failed was an earlier try of the buyer
    failure = books.charge.failure
    return _ends(books, Fail, "failed", failure.code if failure else DECLINED)


def _cancelled(books: Books) -> list[Change]:
    failure = books.charge.failure
    return _ends(books, Cancel, "cancelled", failure.code if failure else None)


def _expired(books: Books) -> list[Change]:
    failure = books.charge.failure
    return _ends(books, Expire, "expired", failure.code if failure else None)


def _ends(
    books: Books, command: type[Fail | Cancel | Expire], what: str, reason: str | None
) -> list[Change]:
    """End every order that is still open: all with one command, or each with its own."""
    ended = _with_status(books, _OPEN)
    if not ended:
        return []
    if all(order in ended or order.is_over for order in books.orders):
        return [command(**_fields(books, what), reason=reason)]
    return [
        command(
            **_fields(books, f"{what}:{order.order_id}"), order_id=order.order_id, reason=reason
        )
        for order in ended
    ]


_STATUS: Mapping[ChargeStatus, Callable[[Books], list[Change]]] = {
    ChargeStatus.CREATED: _nothing,
    ChargeStatus.ACTION_REQUIRED: _action_required,
    ChargeStatus.PROCESSING: _processing,
    ChargeStatus.AUTHORIZED: _authorized,
    ChargeStatus.CAPTURED: _captured,
    ChargeStatus.FAILED: _failed,
    ChargeStatus.CANCELLED: _cancelled,
    ChargeStatus.EXPIRED: _expired,
}


def _with_status(books: Books, statuses: frozenset[Status]) -> list[OrderState]:
    return [order for order in books.orders if order.state.status in statuses]


def _fields(books: Books, what: str) -> dict[str, Any]:
    charge = books.charge
    return {
        "idempotency_key": books.key(charge.reference, what),
        "occurred_at": charge.at,
        "psp_reference": charge.reference,
        "payment_id": books.state.payment_id,
        "of_attempt": books.state.attempts[-1].number,
    }
