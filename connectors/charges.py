"""What Purser knows of a charge at a payment service provider (PSP), whoever that is.

The records are neutral: each connector translates its PSP's objects into them, and everything above
the connectors reads only these. A `Charge` is what the PSP's books say now, whole: an answer to a
call, a webhook and a poll all give one, and `payins` compares it with `payments`. Pure: no network,
no clock, no PSP's own words.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol
from uuid import UUID


class ChargeStatus(StrEnum):
    """How a charge stands at the PSP; a refund or a dispute does not change it."""

    CREATED = "created"
    """Known at the PSP, but nothing has been asked of the buyer's bank."""
    ACTION_REQUIRED = "action_required"
    """The buyer must act: authenticate, or pay on the PSP's page."""
    PROCESSING = "processing"
    """The bank has been asked and has not answered; can take days."""
    AUTHORIZED = "authorized"
    CAPTURED = "captured"
    """At least part of the money was taken, and nothing more can be."""
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class RefundStatus(StrEnum):
    """How a refund stands at the PSP; one that succeeded can still fail, days later."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DisputeStatus(StrEnum):
    """How a dispute stands. An inquiry that has moved no money is left out of the records."""

    OPEN = "open"
    WON = "won"
    LOST = "lost"


class EventKind(StrEnum):
    """What an event of a PSP asks of us."""

    CHARGE = "charge"
    """Something happened to a charge, its refunds or its disputes: compare the charge."""
    IGNORED = "ignored"
    """Of a type that is known and says nothing about a charge."""
    UNKNOWN = "unknown"
    """Of a type that this code does not know: count it and tell an operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a charge failed: a decline, which is an answer and not an error."""

    code: str
    """The PSP's code, such as `insufficient_funds`."""
    retryable: bool
    """Whether the same card can succeed later without a change (a soft decline)."""
    confidential: bool = False
    """Show the buyer only that the card was declined: the code would warn a thief."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refund:
    """A refund of a charge, as it now is. `refund_id` is ours; None if made in the PSP's pages."""

    reference: str
    refund_id: str | None
    amount_minor: int
    status: RefundStatus
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispute:
    """A dispute of a charge, as it now is; `amount_minor` may exceed what was captured."""

    reference: str
    amount_minor: int
    status: DisputeStatus
    reason: str | None
    opened_at: datetime
    decided_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One charge as it now is at the PSP, with all its refunds and disputes.

    All amounts are in our (ISO 4217) minor units of `currency`. `refunds` and `disputes` are in the
    order in which they were made. `payment_id` and `intent_seq` are None for a charge that was not
    made by Purser.
    """

    psp: str
    reference: str
    """The PSP's id of the charge. A hosted payment has that of its page until the buyer pays."""
    payment_id: UUID | None
    intent_seq: int | None
    """`seq` of the event (created, attempted) that asked for this charge."""
    currency: str
    amount_minor: int
    """What was asked for."""
    status: ChargeStatus
    authorized_minor: int
    """What the bank reserved or paid, also after its capture; less than asked if partial."""
    captured_minor: int
    """What was taken so far, refunds not deducted. With AUTHORIZED, more can follow."""
    captures_more: bool = False
    """Whether it can be captured in several parts; else the first one releases what is left.

    `retrieve` tells. The answer to another call may lack it and say no.
    """
    action_url: str | None = None
    failure: Failure | None = None
    refunds: tuple[Refund, ...] = ()
    disputes: tuple[Dispute, ...] = ()
    at: datetime
    """When it came to be so, as near as the PSP tells; else when it was seen to be so."""

    def has_refund(self, refund_id: str | None, status: RefundStatus | None = None) -> bool:
        """Whether it has a refund of ours, in that status if one is given."""
        return refund_id is not None and any(
            refund.refund_id == refund_id and status in (None, refund.status)
            for refund in self.refunds
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRequest:
    """What to ask of a PSP, and the key under which repeating the question is safe.

    `payment_token` is the PSP's own token of a card or an account; None if `hosted`, where the
    buyer enters it on the PSP's page and comes back to `return_url`.
    """

    payment_id: UUID
    intent_seq: int
    key: str
    currency: str
    amount_minor: int
    method: str
    capture_manually: bool
    payment_token: str | None
    hosted: bool
    return_url: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long a PSP remembers, and how long a request can be under way."""

    keys_kept: timedelta
    """A request that is repeated under its key within this time has its effect once."""
    under_way_most: timedelta
    """A request that we gave up on takes effect within this time, or never."""

    def may_repeat(self, first_sent_at: datetime, now: datetime) -> bool:
        """Whether a request first sent then may be sent again under its key without a look-up.

        The time under way is kept free: a request may wait at the PSP before its key is read.
        """
        return now - first_sent_at < self.keys_kept - self.under_way_most

    def settled(self, last_sent_at: datetime, now: datetime) -> bool:
        """Whether a request last sent then has taken effect by now, if it ever will."""
        return now - last_sent_at >= self.under_way_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What a search for the charges of one payment gave, and where it looked.

    Several charges are possible: attempts under different intents, or a charge made twice after a
    key was forgotten. `complete` is true if sources were read to their end that hold every charge
    the moment it is made, so that what is not in `charges` was not there at `looked_at`. That
    proves absence only if no request was under way then (`Terms.settled`).
    """

    charges: tuple[Charge, ...]
    sources: tuple[str, ...]
    """Short codes of what was read, in order: "reference", "search", "list", …"""
    complete: bool
    looked_at: datetime
    """When the look-up began."""
    intent_seq: int | None = None
    """The attempt that was looked for; None: any of the payment."""

    @property
    def wanted(self) -> tuple[Charge, ...]:
        """The charges of the attempt that was looked for."""
        return tuple(
            charge
            for charge in self.charges
            if self.intent_seq is None or charge.intent_seq == self.intent_seq
        )

    def proves_absence(self, terms: Terms, last_sent_at: datetime) -> bool:
        """Whether the wanted charge is not there and never will be: the next attempt is safe."""
        return self.complete and not self.wanted and terms.settled(last_sent_at, self.looked_at)

    @property
    def evidence(self) -> str:
        """Short code for the details of an event, such as "search_list_empty"."""
        found = "found" if self.wanted else "empty"
        return "_".join((*self.sources, found))


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorEvent:
    """One event of a PSP, from a webhook or from its list: a hint to look at a charge.

    Events come in any order, twice or never, so nothing is decided by them. `charge` is given where
    the event holds the whole charge as it was at `at`; otherwise retrieve `reference`, or find
    `payment_id` if that is None too.
    """

    psp: str
    event_id: str
    event_type: str
    """The PSP's name, such as `payment_intent.succeeded`."""
    kind: EventKind
    at: datetime
    object_id: str
    """The PSP's id of what the event is about: a charge, a refund, a dispute, …"""
    reference: str | None
    payment_id: UUID | None
    charge: Charge | None = field(default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookEntry:
    """One line of a PSP's books: `net = amount - fee`, in our minor units of `currency`."""

    psp: str
    reference: str
    entry_type: str
    """The PSP's name, such as `charge`, `refund`, `adjustment`, `payout`."""
    source: str | None
    """The PSP's id of what moved the money."""
    currency: str
    amount_minor: int
    fee_minor: int
    net_minor: int
    created_at: datetime
    available_at: datetime


HOLDING = frozenset(
    {ChargeStatus.AUTHORIZED, ChargeStatus.ACTION_REQUIRED, ChargeStatus.PROCESSING}
)
"""Statuses of a charge that holds money, or can still take some."""


class Processor(Protocol):
    """A PSP that takes payments. Every method returns the charge as it now is there, whole.

    A request that is repeated under its key gives the answer of its first time, so a charge as it
    was then: stale, and never wrong.

    Each method makes bounded attempts under the same key and raises, of `schemas.errors`:
    `NotSent` (provably without effect), `OutcomeUnknown` (repeat under the same key within
    `terms.keys_kept`, or `find`), `ProcessorRefused` (would be refused again). A decline is a
    charge with status FAILED. After `OutcomeUnknown` an attempt under another key, or at another
    PSP, is safe only once `find` has proven absence. What became of a capture, a cancellation or a
    refund (by its `refund_id`) is seen with `retrieve`.
    """

    @property
    def name(self) -> str:
        """The PSP's name as in `payments.psp`."""

    @property
    def terms(self) -> Terms:
        """How long keys are kept, and requests can be under way."""

    async def charge(self, request: ChargeRequest) -> Charge:
        """Ask for the money; a hosted payment returns the address of the PSP's page."""

    async def retrieve(self, reference: str) -> Charge:
        """Read one charge by its reference."""

    async def find(
        self,
        payment_id: UUID,
        since: datetime,
        reference: str | None = None,
        intent_seq: int | None = None,
        until: datetime | None = None,
    ) -> Lookup:
        """Look for the charges of a payment that were made since a time, best evidence first.

        `until`: nobody can have made one later; None: until now. With `intent_seq` it goes on until
        it has found the charge of that attempt, or has read everything; without, any charge of the
        payment ends it.
        """

    async def capture(
        self, reference: str, *, currency: str, amount_minor: int, key: str, final: bool
    ) -> Charge:
        """Take this much more of an authorized charge; `final` gives back what is left."""

    async def cancel(self, reference: str, *, key: str) -> Charge:
        """Give back an authorization, or end a payment that is waiting for the buyer."""

    async def refund(
        self, reference: str, *, currency: str, amount_minor: int, refund_id: str, key: str
    ) -> Charge:
        """Give back this much of a captured charge; our `refund_id` is kept with it."""

    def events(
        self, since: datetime, until: datetime | None = None, *, undelivered_only: bool = False
    ) -> AsyncIterator[ProcessorEvent]:
        """List the events that say something about charges between two times, newest first.

        `undelivered_only`: those alone of which a webhook has not been taken yet.
        """

    async def close(self) -> None:
        """Close all connections."""
