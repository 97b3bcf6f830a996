"""Dead letters of payments in: what never works or cannot be recorded, for a person to look at.

Each has a key of its own, so that the same thing, found again, is one letter. A letter takes
nothing out of the way: its payment is still looked at. Pure.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

import msgspec

from payins.evidence import Unrecordable
from payins.retries import Retry
from schemas.money import format_minor

GIVEN_UP = "given_up"
COMPARE = "no event can record it; compare the payment with the processor's books"
ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "refund_failed_after_success": "the money of this refund came back and is at the processor;"
        " pay the buyer in another way",
        "late_refund_failed": "money that came late cannot go back; pay the buyer in another way",
        "no_payment": "the charge names a payment of ours that does not exist; find out who lost"
        " it",
    }
)
"""Reason -> what happened and what to do; whatever is not here is `COMPARE`."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """One letter: `reason` is stable, `detail` says what to do about it."""

    reason: str
    detail: str
    at: datetime
    psp: str = ""
    reference: str = ""
    payment_id: UUID | None = None
    amount_minor: int = 0
    currency: str = ""
    """Empty if there is no amount, and in letters of older code."""
    attempts: int = 0

    @property
    def key(self) -> str:
        """The same for the same thing."""
        return f"{self.payment_id or '-'}/{self.reason}/{self.reference}"


def of_retry(retry: Retry) -> DeadLetter:
    """Return the letter for a payment that was tried too often."""
    return DeadLetter(
        reason=GIVEN_UP,
        detail=f"failed {retry.attempt} times, at last with {retry.reason}; it is tried once a day."
        " Look at the payment and at the processor",
        at=retry.last_at,
        payment_id=retry.payment_id,
        attempts=retry.attempt,
    )


def of_fact(fact: Unrecordable, psp: str, payment_id: UUID | None, at: datetime) -> DeadLetter:
    """Return the letter for a fact in a processor's books that no event can record."""
    return DeadLetter(
        reason=fact.reason,
        detail=f"{format_minor(fact.amount_minor, fact.currency)}: "
        + ADVICE.get(fact.reason, COMPARE),
        at=at,
        psp=psp,
        reference=fact.reference,
        payment_id=payment_id,
        amount_minor=fact.amount_minor,
        currency=fact.currency,
    )
