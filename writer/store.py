"""Where events are kept: what the writer needs of a store, whatever it is made of.

`writer.memory` and `writer.postgres` are the two there are; one suite of tests holds both to this.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from schemas.errors import ServiceUnavailable
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId


class StreamMoved(ServiceUnavailable):
    """Somebody else appended to the same payment first: read it again and decide again."""


class EventStore(Protocol):
    """An append-only table of events, unique by `(payment_id, seq)`.

    Every method may raise `ServiceUnavailable`; after it nobody knows whether an append happened,
    so one has to read again before trying again.
    """

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        """The stream of one payment or payout in the order of `seq`; empty when there is none."""

    def available_minor(self, seller_id: str, currency: str) -> int:
        """The seller's payable balance: the sum of `available_delta_minor`; may be negative."""

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        """Append all of them or none; returns them as they now stand.

        Raises:
            StreamMoved: one of the positions is taken, or is not the next one.
            Rejection: a guard refused, such as a payout above the seller's balance.
        """

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        """The streams of those payments that exist."""

    def append_many(self, events: Sequence[NewEvent]) -> None:
        """Like `append`, for thousands of events at once; all of them or none."""

    def recover(self) -> None:
        """After a `ServiceUnavailable`: let go of connections that died, so a retry can work."""
