"""Both sides of a comparison: a charge in a processor's books, and a payment's state. Pure."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property

from connectors.charges import Charge, Refund
from payins.keys import evidence_key
from schemas.events import NewEvent
from schemas.lifecycle import EventType
from writer.state import OrderState, PaymentState

_E = EventType

_TAKEN = frozenset({_E.CAPTURED, _E.STRAY_CAPTURED})
_GIVEN_BACK = frozenset({_E.REFUNDED, _E.STRAY_REFUNDED})
HELD = frozenset({_E.AUTHORIZED, _E.CAPTURED})


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
