"""Evidence of money that goes back: refunds and disputes in a processor's books. Pure."""

from collections.abc import Mapping
from itertools import islice

from connectors.charges import Dispute, DisputeStatus, Refund, RefundStatus
from payins.books import Books
from payins.keys import late_refund_seq
from schemas.events import NewEvent
from schemas.lifecycle import Direction, EventType, next_state
from schemas.lifecycle import Dispute as DisputeState
from writer.commands import (
    Change,
    FailRefund,
    LoseDispute,
    OpenDispute,
    RecordRefund,
    ReturnRefund,
    WinDispute,
)

AMOUNT_DIFFERS = "amount_differs"
"""The reason why a request ends whose refund was made with another amount."""

_E, _D = EventType, DisputeStatus

_RECORDED: Mapping[EventType, DisputeStatus] = {
    _E.DISPUTE_OPENED: _D.OPEN,
    _E.DISPUTE_LOST: _D.LOST,
    _E.DISPUTE_WON: _D.WON,
    _E.DISPUTE_REVERSED: _D.WON,
    _E.STRAY_DISPUTED: _D.OPEN,  # also if it is lost then: the money stays where it is
    _E.STRAY_DISPUTE_WON: _D.WON,
}
"""Event -> how the dispute that it is about stands after it."""


# -- refunds ------------------------------------------------------------------------------------


def refunds(books: Books) -> list[Change]:
    """Return what is missing of the refunds.

    Those that settle an open request come first, then failures, which free what was reserved, then
    refunds that nobody requested here.
    """
    settled = [each for each in books.charge.refunds if _settles(books, each)]
    others = [each for each in books.charge.refunds if not _settles(books, each)]
    answered = {each.refund_id for each in settled}
    found = [command for each in settled for command in _settling(books, each)]
    for refund in others:
        if refund.status is RefundStatus.FAILED:
            if refund.refund_id not in answered:
                found += _failure(books, refund)
            found += _returned(books, refund)
    made = [each for each in others if each.status is RefundStatus.SUCCEEDED]
    # One at a time: whose money it is depends on what the ones before took.
    missing = (command for each in made for command in _made(books, each))
    return [*found, *islice(missing, 1)]


def _settles(books: Books, refund: Refund) -> bool:
    """Whether it is the outcome of a request that is open."""
    return refund.status is RefundStatus.SUCCEEDED and _is_requested(books, refund)


def _is_requested(books: Books, refund: Refund) -> bool:
    if refund.refund_id is None:
        return False
    known = books.state.refunds.get(refund.refund_id)
    return known is not None and known.is_open


def _settling(books: Books, refund: Refund) -> list[Change]:
    assert refund.refund_id is not None
    if books.given_back_minor(refund):
        return []
    requested = books.state.refunds[refund.refund_id]
    is_elsewhere = books.charge.psp != books.state.psp
    if sum(requested.amounts.values()) != refund.amount_minor or is_elsewhere:
        return [_failed(books, refund, AMOUNT_DIFFERS), *_made(books, refund)]
    return [
        RecordRefund(
            idempotency_key=books.key(refund.reference, "refunded"),
            occurred_at=refund.at,
            psp_reference=refund.reference,
            payment_id=books.state.payment_id,
            refund_id=refund.refund_id,
        )
    ]


def _failure(books: Books, refund: Refund) -> list[Change]:
    """End the request, unless the processor has another refund for it."""
    if not _is_requested(books, refund):
        return []
    same = [each for each in books.charge.refunds if each.refund_id == refund.refund_id]
    if any(each.status is not RefundStatus.FAILED for each in same):
        return []
    return [_failed(books, refund, refund.reason)]


def _failed(books: Books, refund: Refund, reason: str | None) -> Change:
    assert refund.refund_id is not None
    return FailRefund(
        idempotency_key=books.key(refund.reference, "failed"),
        occurred_at=refund.at,
        psp_reference=refund.reference,
        payment_id=books.state.payment_id,
        refund_id=refund.refund_id,
        reason=reason,
    )


def _returned(books: Books, refund: Refund) -> list[Change]:
    """Its money had gone, and is at the processor again."""
    rows = books.about(refund.reference)
    if not books.given_back_minor(refund) or any(r.event_type is _E.REFUND_RETURNED for r in rows):
        return []
    known = refund.refund_id if refund.refund_id in books.state.refunds else None
    return [
        ReturnRefund(
            idempotency_key=books.key(refund.reference, "returned"),
            occurred_at=refund.at,
            psp_reference=refund.reference,
            payment_id=books.state.payment_id,
            refund_id=known,
            reason=refund.reason,
            psp=books.charge.psp,
        )
    ]


def _made(books: Books, refund: Refund) -> list[Change]:
    """Record a refund that settles no request: of late money, or made in the processor's pages.

    It gives back first what is in suspense of its charge, then what the orders have. What is beyond
    both has gone as well, out of suspense.
    """
    missing_minor = refund.amount_minor - books.given_back_minor(refund)
    if missing_minor <= 0 or books.captured_minor < books.charge.captured_minor:
        return []  # first the money, which says whose it is
    late = _late_order(books, refund)
    stray_minor = missing_minor if late else _stray_part(books, missing_minor)
    # If it is in parts, the other is recorded in the next round.
    return [
        RecordRefund(
            idempotency_key=books.key(
                refund.reference, books.numbered(refund.reference, "refunded")
            ),
            occurred_at=refund.at,
            psp_reference=refund.reference,
            payment_id=books.state.payment_id,
            order_id=late,
            amount_minor=stray_minor or missing_minor,
            refund_id=refund.refund_id if late else None,
            psp=books.charge.psp,
            is_stray=stray_minor > 0,
        )
    ]


def _late_order(books: Books, refund: Refund) -> str | None:
    """Return the order whose late money a refund gives back, if it is such a refund."""
    seq = late_refund_seq(books.state.payment_id, refund.refund_id or "")
    if seq is None or refund.refund_id in books.state.refunds:
        return None
    return next((row.order_id for row in books.rows if row.seq == seq), None)


def _stray_part(books: Books, missing_minor: int) -> int:
    """Return how much of a refund is no order's money."""
    if books.is_stray or all(order.is_over for order in books.orders):
        return missing_minor
    # What a request has reserved may be free again when it fails, and is then what was taken.
    room_minor = sum(
        order.captured_minor - order.refunded_minor - order.disputed_minor for order in books.orders
    )
    there_minor = min(missing_minor, max(0, books.in_suspense_minor))
    return max(there_minor, missing_minor - room_minor)


# -- disputes -----------------------------------------------------------------------------------


def disputes(books: Books) -> list[Change]:
    """Return what is missing of the disputes, each opened before it is decided."""
    return [command for each in books.charge.disputes for command in _dispute(books, each)]


def _dispute(books: Books, dispute: Dispute) -> list[Change]:
    """Compare a dispute with what is recorded of it.

    A bank can decide twice. One that was lost and is open again has moved nothing; if it is won
    then, what was lost comes back. One that was won and is lost after all takes the money again.
    """
    rows = [row for row in books.about(dispute.reference) if row.event_type in _RECORDED]
    latest = rows[-1] if rows else None
    recorded = _RECORDED[latest.event_type] if latest else None
    found: list[Change] = []
    is_decided = latest is not None and recorded is not _D.OPEN
    if is_decided and (dispute.status in (_D.OPEN, recorded) or not _is_later(dispute, latest)):
        return []
    is_stray = latest.event_type is _E.STRAY_DISPUTED if latest else _is_stray(books)
    if latest is None or (recorded is _D.WON and dispute.status is _D.LOST):
        is_stray = _is_stray(books)
        found.append(_opened(books, dispute, is_stray=is_stray))
    if dispute.status is _D.WON:
        found.append(_decided(books, dispute, "won", WinDispute))
    elif dispute.status is _D.LOST and not is_stray:
        found.append(_decided(books, dispute, "lost", LoseDispute))
    return found


def _is_later(dispute: Dispute, recorded: NewEvent | None) -> bool:
    assert recorded is not None, dispute
    return dispute.decided_at is not None and dispute.decided_at > recorded.occurred_at


def _is_stray(books: Books) -> bool:
    """Whether it is about no order's money, or every order has another dispute open."""
    states = [order.state for order in books.orders]
    is_open = any(state.dispute is DisputeState.OPEN for state in states)
    could = (next_state(Direction.IN, state, _E.DISPUTE_OPENED) for state in states)
    return books.is_stray or (is_open and not any(could))


def _opened(books: Books, dispute: Dispute, *, is_stray: bool) -> Change:
    what = books.numbered(dispute.reference, "opened")
    return OpenDispute(
        idempotency_key=books.key(dispute.reference, what),
        occurred_at=dispute.opened_at,
        psp_reference=dispute.reference,
        payment_id=books.state.payment_id,
        amount_minor=dispute.amount_minor,
        reason=dispute.reason,
        psp=books.charge.psp if is_stray else None,
        is_stray=is_stray,
    )


def _decided(
    books: Books, dispute: Dispute, what: str, command: type[WinDispute | LoseDispute]
) -> Change:
    return command(
        idempotency_key=books.key(dispute.reference, books.numbered(dispute.reference, what)),
        occurred_at=dispute.decided_at or dispute.opened_at,
        psp_reference=dispute.reference,
        payment_id=books.state.payment_id,
    )
