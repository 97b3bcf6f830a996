"""What a processor's books say that `payments` lacks: a charge and a state in, commands out. Pure.

Every source of evidence ends here: the answer to a call, a webhook, a poll. `commands` is monotone:
it adds what is missing and takes nothing back, so evidence that is stale, doubled or out of order
gives nothing. Every key is derived from the processor's own ids and totals, so the same fact is
recorded once, whoever sees it and however often.

It never turns absence into a failure; `payins.plan` decides about absence, with proof.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from connectors.charges import Charge, ChargeStatus, Dispute, DisputeStatus, Refund, RefundStatus
from payins.intents import CHARGE_OUTCOMES
from payins.keys import evidence_key, late_refund_seq
from schemas.events import NewEvent
from schemas.lifecycle import OVER, EventType, Status
from schemas.money import allocate
from writer.commands import (
    Authorize,
    Cancel,
    Capture,
    Change,
    Expire,
    Fail,
    FailRefund,
    LoseDispute,
    MarkProcessing,
    OpenDispute,
    RecordRefund,
    RequireAction,
    WinDispute,
)
from writer.state import OrderState, PaymentState

_E, _S = EventType, Status

_ATTEMPTS = frozenset({_E.CREATED, _E.ATTEMPTED})
_TAKEN = frozenset({_E.CAPTURED, _E.STRAY_CAPTURED})
_GIVEN_BACK = frozenset({_E.REFUNDED, _E.STRAY_REFUNDED})
_HELD = frozenset({_E.AUTHORIZED, _E.CAPTURED})
_WAITING = frozenset({_S.CREATED, _S.ACTION_REQUIRED, _S.PROCESSING, _S.UNKNOWN})
_OPEN = _WAITING | {_S.AUTHORIZED}
_MORE_THAN_ASKED = frozenset({_E.ACTION_REQUIRED, _E.PROCESSING}) | _HELD
_MORE_THAN_ACTION = frozenset({_E.PROCESSING}) | _HELD

DECLINED = "declined"
"""The reason of a failure for which the processor gave none."""
NOT_CAPTURED = "not_captured"
"""The reason why an order is cancelled whose part of a finished charge was not taken."""
AMOUNT_DIFFERS = "amount_differs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrecordable:
    """A fact in the processor's books for which there is no event; a person must look at it."""

    reason: str
    reference: str
    amount_minor: int


def commands(state: PaymentState, charge: Charge) -> list[Change]:
    """Return what is missing in `state`, in the order in which it can be recorded.

    What the commands change may make room for more, so ask again after they were carried out, until
    nothing is missing.
    """
    assert charge.payment_id in (None, state.payment_id), (charge, state.payment_id)
    books = _Books(state, charge)
    if charge.currency != state.currency:
        return []
    return [*_captures(books), *_status(books), *_refunds(books), *_disputes(books)]


def unrecordable(state: PaymentState, charge: Charge) -> list[Unrecordable]:
    """Return what the processor's books say and no event can."""
    books = _Books(state, charge)
    if charge.currency != state.currency:
        return [_unrecordable("currency_differs", charge.reference, charge.captured_minor)]
    found = [
        _unrecordable("refund_failed_after_success", refund.reference, refund.amount_minor)
        for refund in charge.refunds
        if refund.status is RefundStatus.FAILED and books.has_refund(refund)
    ]
    taken_back = books.captured_minor - charge.captured_minor
    if charge.status is ChargeStatus.FAILED and taken_back > 0:
        found.append(_unrecordable("failed_after_capture", charge.reference, taken_back))
    return found


def _unrecordable(reason: str, reference: str, amount_minor: int) -> Unrecordable:
    return Unrecordable(reason=reason, reference=reference, amount_minor=amount_minor)


class _Books:
    """Both sides of the comparison, and what is read from them."""

    def __init__(self, state: PaymentState, charge: Charge) -> None:
        self.state = state
        self.charge = charge

    @cached_property
    def rows(self) -> Sequence[NewEvent]:
        """The whole stream."""
        return [row for rows in self.state.answers.values() for row in rows]

    @cached_property
    def attempt_seq(self) -> int:
        """Where the current attempt begins."""
        last = max(row.seq for row in self.rows if row.event_type in _ATTEMPTS)
        key = next(row.idempotency_key for row in self.rows if row.seq == last)
        return self.state.answers[key][0].seq

    @cached_property
    def seen(self) -> frozenset[EventType]:
        """What the current attempt has led to so far."""
        return frozenset(row.event_type for row in self.rows if row.seq > self.attempt_seq)

    @cached_property
    def captured_minor(self) -> int:
        """What is recorded as taken by this charge."""
        return sum(row.amount_minor for row in self.rows if self._is_ours(row, _TAKEN))

    @cached_property
    def is_current(self) -> bool:
        """Whether it is the charge that the payment's status speaks of.

        Another one, at another processor or of an earlier attempt, only moves money.
        """
        charge = self.charge
        if charge.psp != self.state.psp:
            return False
        if charge.intent_seq not in (None, self.attempt_seq):
            return False
        others = (
            row.psp_reference
            for row in self.rows
            if row.seq > self.attempt_seq and row.event_type in _HELD
        )
        return all(reference in (None, charge.reference) for reference in others)

    @property
    def foreign_psp(self) -> str | None:
        """The processor to name in a command, if it is not the payment's."""
        return None if self.charge.psp == self.state.psp else self.charge.psp

    @property
    def orders(self) -> Sequence[OrderState]:
        """The orders as they were created."""
        return tuple(self.state.orders.values())

    def key(self, reference: str, what: object) -> str:
        """Return the key of a fact."""
        return evidence_key(self.charge.psp, reference, what)

    def is_recorded(self, reference: str, what: object) -> bool:
        """Whether a fact is in the stream."""
        return self.key(reference, what) in self.state.answers

    def has_refund(self, refund: Refund) -> bool:
        """Whether this refund is recorded as made."""
        return any(
            row.event_type in _GIVEN_BACK
            and row.psp == self.charge.psp
            and row.psp_reference == refund.reference
            for row in self.rows
        )

    def last_at(self, event_types: frozenset[EventType]) -> datetime | None:
        """When the last of these happened in the current attempt."""
        times = [
            row.occurred_at
            for row in self.rows
            if row.seq > self.attempt_seq and row.event_type in event_types
        ]
        return max(times, default=None)

    def _is_ours(self, row: NewEvent, event_types: frozenset[EventType]) -> bool:
        return (
            row.event_type in event_types
            and row.psp == self.charge.psp
            and row.psp_reference in (None, self.charge.reference)
        )


# -- money taken --------------------------------------------------------------------------------


def _captures(books: _Books) -> list[Change]:
    missing_minor = books.charge.captured_minor - books.captured_minor
    if missing_minor <= 0:
        return []
    taken_minor = books.captured_minor
    found: list[Change] = []
    for order_id, amount_minor in _parts(books, missing_minor):
        taken_minor += amount_minor
        found.append(
            Capture(
                idempotency_key=books.key(books.charge.reference, f"captured:{taken_minor}"),
                occurred_at=books.charge.at,
                psp_reference=books.charge.reference,
                payment_id=books.state.payment_id,
                order_id=order_id,
                amount_minor=amount_minor,
                psp=books.foreign_psp,
            )
        )
    return found


def _parts(books: _Books, missing_minor: int) -> list[tuple[str | None, int]]:
    """Say which orders the money is for: first those whose capture was requested.

    Without a request it is for all of them, and the writer splits it.
    """
    requested = {
        order.order_id: min(
            order.capture_requested_minor, order.amount_minor - order.captured_minor
        )
        for order in books.orders
        if order.capture_requested_minor and order.state.status not in OVER
    }
    total = sum(requested.values())
    others = [
        order
        for order in books.orders
        if order.state.status not in OVER
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


def _status(books: _Books) -> list[Change]:
    return _STATUS[books.charge.status](books) if books.is_current else []


def _nothing(_books: _Books) -> list[Change]:
    return []


def _action_required(books: _Books) -> list[Change]:
    if books.seen & _MORE_THAN_ASKED or not _with_status(books, _WAITING):
        return []
    return [
        RequireAction(**_fields(books, "action_required"), url=books.charge.action_url),
    ]


def _processing(books: _Books) -> list[Change]:
    if books.seen & _MORE_THAN_ACTION or not _with_status(books, _WAITING):
        return []
    return [MarkProcessing(**_fields(books, "processing"))]


def _authorized(books: _Books) -> list[Change]:
    """Record the authorization, also once more after its outcome was unknown for a while."""
    if not _with_status(books, _WAITING) or EventType.CAPTURED in books.seen:
        return []
    times = sum(books.is_recorded(books.charge.reference, _authorized_as(n)) for n in range(1, 100))
    whole = sum(order.amount_minor for order in books.orders if order.state.status not in OVER)
    held = books.charge.authorized_minor
    amount_minor = held if 0 < held < whole else None
    what = _authorized_as(times + 1)
    return [Authorize(**_fields(books, what), amount_minor=amount_minor)]


def _authorized_as(number: int) -> str:
    return "authorized" if number == 1 else f"authorized:{number}"


def _captured(books: _Books) -> list[Change]:
    """Nothing more can be taken: an order that got nothing of it will get nothing."""
    if books.captured_minor < books.charge.captured_minor:
        return []  # first the money, which says which orders got some
    return _ends(books, Cancel, "cancelled", NOT_CAPTURED)


def _failed(books: _Books) -> list[Change]:
    held_at = books.last_at(_HELD)
    if held_at is not None and books.charge.at <= held_at:
        return []  # what failed was an earlier try of the buyer
    failure = books.charge.failure
    return _ends(books, Fail, "failed", failure.code if failure else DECLINED)


def _cancelled(books: _Books) -> list[Change]:
    failure = books.charge.failure
    return _ends(books, Cancel, "cancelled", failure.code if failure else None)


def _expired(books: _Books) -> list[Change]:
    failure = books.charge.failure
    return _ends(books, Expire, "expired", failure.code if failure else None)


def _ends(
    books: _Books, command: type[Fail | Cancel | Expire], what: str, reason: str | None
) -> list[Change]:
    """End every order that is still open: all with one command, or each with its own."""
    ended = _with_status(books, _OPEN)
    if not ended:
        return []
    if all(order in ended or order.state.status in OVER for order in books.orders):
        return [command(**_fields(books, what), reason=reason)]
    return [
        command(
            **_fields(books, f"{what}:{order.order_id}"), order_id=order.order_id, reason=reason
        )
        for order in ended
    ]


_STATUS: Mapping[ChargeStatus, Callable[[_Books], list[Change]]] = {
    ChargeStatus.CREATED: _nothing,
    ChargeStatus.ACTION_REQUIRED: _action_required,
    ChargeStatus.PROCESSING: _processing,
    ChargeStatus.AUTHORIZED: _authorized,
    ChargeStatus.CAPTURED: _captured,
    ChargeStatus.FAILED: _failed,
    ChargeStatus.CANCELLED: _cancelled,
    ChargeStatus.EXPIRED: _expired,
}


def _with_status(books: _Books, statuses: frozenset[Status]) -> list[OrderState]:
    return [order for order in books.orders if order.state.status in statuses]


def _fields(books: _Books, what: str) -> dict[str, object]:
    charge = books.charge
    return {
        "idempotency_key": books.key(charge.reference, what),
        "occurred_at": charge.at,
        "psp_reference": charge.reference,
        "payment_id": books.state.payment_id,
    }
