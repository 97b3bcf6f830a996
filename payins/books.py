"""Both sides of a comparison: a charge in a processor's books, and a payment's state. Pure."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import count

from connectors.charges import Charge, Refund
from payins.keys import evidence_key
from schemas.events import NewEvent
from schemas.lifecycle import EventType
from writer.state import OrderState, PaymentState

_E = EventType

_TAKEN = frozenset({_E.CAPTURED, _E.STRAY_CAPTURED})
_GIVEN_BACK = frozenset({_E.REFUNDED, _E.STRAY_REFUNDED})
HELD = frozenset({_E.AUTHORIZED, _E.CAPTURED})
_PAID = frozenset({_E.CAPTURED, _E.HONOURED})


class Books:
    """What is read from a charge and a state, each once."""

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
        return self.state.attempts[-1].seq

    @cached_property
    def seen(self) -> frozenset[EventType]:
        """What the current attempt has led to so far."""
        return frozenset(row.event_type for row in self.rows if row.seq > self.attempt_seq)

    @cached_property
    def captured_minor(self) -> int:
        """What is recorded as taken by this charge."""
        return sum(
            row.amount_minor
            for row in self.rows
            if row.event_type in _TAKEN
            and row.psp == self.charge.psp
            and row.psp_reference in (None, self.charge.reference)
        )

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
        held_by = (
            row.psp_reference
            for row in self.rows
            if row.seq > self.attempt_seq and row.event_type in HELD
        )
        return all(reference in (None, charge.reference) for reference in held_by)

    @cached_property
    def is_stray(self) -> bool:
        """Whether no order has a place for its money, because another charge has paid for them.

        At another processor than the payment's that is always so; at the same one if another charge
        has money of the orders, or holds it for the current attempt.
        """
        if self.charge.psp != self.state.psp:
            return True
        holds = (
            row.psp_reference
            for row in self.rows
            if row.psp == self.charge.psp
            and (row.event_type in _PAID or (row.event_type in HELD and row.seq > self.attempt_seq))
        )
        return any(reference not in (None, self.charge.reference) for reference in holds)

    @cached_property
    def in_suspense_minor(self) -> int:
        """What is in suspense of this charge: that came with it, and did not go back."""
        references = {
            self.charge.reference,
            *(each.reference for each in self.charge.refunds),
            *(each.reference for each in self.charge.disputes),
        }
        return sum(
            row.suspense_minor
            for row in self.rows
            if row.psp == self.charge.psp and row.psp_reference in references
        )

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

    def numbered(self, reference: str, what: str) -> str:
        """Name a fact that can come true again; the first has no number."""
        names = (what if number == 1 else f"{what}:{number}" for number in count(1))
        return next(name for name in names if not self.is_recorded(reference, name))

    def given_back_minor(self, refund: Refund) -> int:
        """What is recorded as given back by this refund, whatever became of it afterwards."""
        return sum(
            row.amount_minor
            for row in self.about(refund.reference)
            if row.event_type in _GIVEN_BACK
        )

    def about(self, reference: str) -> Sequence[NewEvent]:
        """Return what is recorded of a refund or dispute, in its order."""
        rows = (row for row in self.rows if row.psp_reference == reference)
        return sorted((row for row in rows if row.psp == self.charge.psp), key=lambda row: row.seq)

    def last_at(self, event_types: frozenset[EventType]) -> datetime | None:
        """When the last of these happened in the current attempt."""
        times = [
            row.occurred_at
            for row in self.rows
            if row.seq > self.attempt_seq and row.event_type in event_types
        ]
        return max(times, default=None)
