"""The interface of event stores: what the writer needs, whatever the implementation.

`writer.memory` and `writer.postgres` implement it; one test suite checks both.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from schemas.errors import ServiceUnavailable
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId


class StreamMoved(ServiceUnavailable):
    """Another writer appended to the same payment first: read it again and decide again."""


class TookTooLong(ServiceUnavailable):
    """The server answers, but not this statement in its time: something holds it up."""


Account = tuple[str, str]
"""A seller and a currency, which have one available balance."""


class EventStore(Protocol):
    """An append-only table of events, unique by `(payment_id, seq)`.

    Every method may raise `ServiceUnavailable`. After it, an append may or may not have happened,
    so read again before retrying.
    """

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        """Return the stream of a payment or payout in the order of `seq`; empty if none exists."""

    def available_minor(self, seller_id: str, currency: str) -> int:
        """Return the seller's available balance, the sum of `available_delta_minor`; may be below
        0.
        """

    def available_many_minor(self, accounts: Collection[Account]) -> Mapping[Account, int]:
        """Return the available balances of all these accounts, at least one."""

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        """Append all events or none; returns them as stored.

        Raises:
            StreamMoved: one of the positions is taken, or is not the next one.
            Rejection: a guard refused, for example a payout above the seller's balance.
        """

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        """Return the streams of those payments that exist."""

    def append_many(self, events: Sequence[NewEvent]) -> None:
        """Like `append`, for thousands of events; all of them or none."""

    def recover(self) -> None:
        """After a `ServiceUnavailable`: drop dead connections, so that a retry can succeed."""
