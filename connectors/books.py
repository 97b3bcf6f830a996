"""A PSP's books as Purser reads them: every line that moved money, and whose money it is.

The records are neutral: each connector translates its PSP's lines into them, and
`operations.books` compares them with `payments`. Pure: no network, no clock.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol
from uuid import UUID

from connectors.charges import BookEntry


class BookKind(StrEnum):
    """What moved the money of a payment; each kind has a total of its own."""

    CHARGES = "charges"
    REFUNDS = "refunds"
    DISPUTES_TAKEN = "disputes_taken"
    """Taken when a bank disputes a charge."""
    DISPUTES_GIVEN_BACK = "disputes_given_back"
    """Given back when a bank has decided for us, or once more while it looks again."""


RECEIVABLE_SIGN: Mapping[BookKind, int] = MappingProxyType(
    {
        BookKind.CHARGES: +1,
        BookKind.REFUNDS: -1,
        BookKind.DISPUTES_TAKEN: -1,
        BookKind.DISPUTES_GIVEN_BACK: +1,
    }
)
"""Kind -> what an amount of it does to what the PSP owes us."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The money of a payment that a line of the books moved.

    `amount_minor` is in our minor units of the payment's `currency`, gross of fees. It is positive
    in the direction of its kind: a refund of 5.00 is 500, its failure -500.
    """

    counted_as: str
    """Lines of the same name are counted once: where the books are in another currency, each line
    of a charge gives the charge's total in its own."""
    kind: BookKind
    reference: str
    """The PSP's id as in `payments.psp_reference`: of the charge, the refund or the dispute."""
    charge_reference: str
    """The PSP's id of the charge that it is about."""
    payment_id: UUID | None
    """Our payment, as the PSP's metadata say; None if they say nothing."""
    currency: str
    amount_minor: int
    is_final: bool
    """False while a bank has not decided: a transfer or a refund on its way. The PSP's books have
    it in advance and take it back if it fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BookLine:
    """One line of a PSP's books; `moved` is None for what is about no payment, such as a payout.

    `category` is the PSP's word for what the line is.
    """

    entry: BookEntry
    category: str
    is_fee: bool
    """Whether the whole line is a fee; other lines have theirs in `entry.fee_minor`."""
    moved: Moved | None


class Books(Protocol):
    """The books of one PSP, read through its public API; nothing is changed there."""

    @property
    def psp(self) -> str:
        """The PSP's name as in `payments.psp`."""

    def lines(self, since: datetime | None) -> AsyncIterator[Sequence[BookLine]]:
        """Yield all lines made from a time on (None: from the beginning), page by page.

        Newest first, as they were when the reading began; lines made later are left out. Raises
        `ProcessorError` if a page cannot be read.
        """

    async def about(self, reference: str) -> Sequence[BookLine]:
        """Return all lines of one charge, refund or dispute, whenever they were made."""

    async def close(self) -> None:
        """Close all connections."""
