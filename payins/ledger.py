"""What payments in need of `payments`: to append what a command says, and to read a stream.

The writer's async face is one; tests and simulations bring their own. Payments in append through
nothing else.
"""

from collections.abc import Sequence
from typing import Protocol

from schemas.errors import Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from writer.append import Appended
from writer.commands import AnyCommand


class Ledger(Protocol):
    """The only door to `payments`. Every method may raise ServiceUnavailable."""

    async def handle(
        self, command: AnyCommand, known: Sequence[Event] | None = None
    ) -> Appended | Rejection:
        """Record one command, once, however often it is sent.

        `known` is the payment's stream as it was read or appended before, empty for a new payment:
        it saves reading it. It may have moved on since.
        """

    async def load(self, payment_id: PaymentId) -> Sequence[Event]:
        """Return a payment's stream in the order of `seq`; empty if there is none."""
