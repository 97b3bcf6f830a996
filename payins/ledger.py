"""What payments in need of `payments`: to append what a command says, and to read a stream.

The writer's async face is one; tests and simulations bring their own. Payments in append through
nothing else.
"""

import asyncio
from collections.abc import Sequence
from typing import Protocol

from schemas.errors import Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from writer.append import Appended, Writer
from writer.commands import AnyCommand
from writer.store import EventStore


class Ledger(Protocol):
    """The only door to `payments`. Every method may raise ServiceUnavailable."""

    async def handle(self, command: AnyCommand) -> Appended | Rejection:
        """Record one command, once, however often it is sent."""

    async def load(self, payment_id: PaymentId) -> Sequence[Event]:
        """Return a payment's stream in the order of `seq`; empty if there is none."""


class ThreadedLedger:
    """A ledger on the blocking writer, for processes that append little: each call in a thread."""

    def __init__(self, store: EventStore) -> None:
        self._store = store
        self._writer = Writer(store)

    async def handle(self, command: AnyCommand) -> Appended | Rejection:
        return await asyncio.to_thread(self._writer.handle, command)

    async def load(self, payment_id: PaymentId) -> Sequence[Event]:
        return await asyncio.to_thread(self._store.load, payment_id)
