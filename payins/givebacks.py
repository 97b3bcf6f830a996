"""Evidence of money that goes back: refunds and disputes in a processor's books. Pure."""

from collections.abc import Mapping

from connectors.charges import Dispute, DisputeStatus, Refund, RefundStatus
from payins.books import Books
from payins.keys import late_refund_seq
from writer.commands import (
    Change,
    FailRefund,
    LoseDispute,
    OpenDispute,
    RecordRefund,
    WinDispute,
)

AMOUNT_DIFFERS = "amount_differs"
"""The reason why a request ends whose refund was made with another amount."""

_DECISIONS: Mapping[DisputeStatus, tuple[str, type[WinDispute | LoseDispute]]] = {
    DisputeStatus.WON: ("won", WinDispute),
    DisputeStatus.LOST: ("lost", LoseDispute),
}
_OTHER_DECISION = {"won": "lost", "lost": "won"}


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
        if refund.status is RefundStatus.FAILED and refund.refund_id not in answered:
            found += _failure(books, refund)
    for refund in others:
        if refund.status is RefundStatus.SUCCEEDED and not books.has_refund(refund):
            found.append(_made(books, refund))
    return found


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
    if books.has_refund(refund):
        return []
    requested = books.state.refunds[refund.refund_id]
    if sum(requested.amounts.values()) != refund.amount_minor or books.foreign_psp:
        return [_failed(books, refund, AMOUNT_DIFFERS), _made(books, refund)]
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


def _made(books: Books, refund: Refund) -> Change:
    """Record a refund that settles no request: of late money, or made in the processor's pages."""
    order_id = refund_id = None
    seq = late_refund_seq(books.state.payment_id, refund.refund_id or "")
    if seq is not None and refund.refund_id not in books.state.refunds:
        refund_id = refund.refund_id
        order_id = next((row.order_id for row in books.rows if row.seq == seq), None)
    return RecordRefund(
        idempotency_key=books.key(refund.reference, "refunded"),
        occurred_at=refund.at,
        psp_reference=refund.reference,
        payment_id=books.state.payment_id,
        order_id=order_id,
        amount_minor=refund.amount_minor,
        refund_id=refund_id,
        psp=books.charge.psp,
    )


# -- disputes -----------------------------------------------------------------------------------


def disputes(books: Books) -> list[Change]:
    """Return what is missing of the disputes, each opened before it is decided."""
    if books.foreign_psp is not None:
        return []  # no command can name another processor's dispute; see `evidence.unrecordable`
    return [command for each in books.charge.disputes for command in _dispute(books, each)]


def _dispute(books: Books, dispute: Dispute) -> list[Change]:
    found = [] if books.is_recorded(dispute.reference, "opened") else [_opened(books, dispute, "")]
    if dispute.status is DisputeStatus.OPEN:
        return found
    what, command = _DECISIONS[dispute.status]
    if books.is_recorded(dispute.reference, what):
        return found
    if books.is_recorded(dispute.reference, _OTHER_DECISION[what]):
        if not _is_later(books, dispute, _OTHER_DECISION[what]):
            return []
        # The bank decided once more, the other way round.
        found = [_opened(books, dispute, f":before_{what}")]
    at = dispute.decided_at or dispute.opened_at
    decision = command(
        idempotency_key=books.key(dispute.reference, what),
        occurred_at=at,
        psp_reference=dispute.reference,
        payment_id=books.state.payment_id,
    )
    return [*found, decision]


def _is_later(books: Books, dispute: Dispute, recorded: str) -> bool:
    rows = books.state.answers[books.key(dispute.reference, recorded)]
    return dispute.decided_at is not None and dispute.decided_at > rows[0].occurred_at


def _opened(books: Books, dispute: Dispute, again: str) -> Change:
    return OpenDispute(
        idempotency_key=books.key(dispute.reference, f"opened{again}"),
        occurred_at=dispute.opened_at,
        psp_reference=dispute.reference,
        payment_id=books.state.payment_id,
        amount_minor=dispute.amount_minor,
        reason=dispute.reason,
    )
