"""The append path: load a stream, decide, append its new rows; again when somebody was faster.

The only door for a fact. Two writers that race on the same payment meet at `(payment_id, seq)`:
one wins, the other reads again and decides again. When a connection breaks nobody knows whether
the append is in, so the same happens: the idempotency key tells on reading.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.errors import Rejection
from schemas.events import Event
from writer.commands import AnyCommand, RequestPayout
from writer.decide import AlreadyDone, decide
from writer.postgres import open_store
from writer.retry import RETRY_SECONDS, retrying
from writer.state import fold
from writer.store import EventStore


@dataclass(frozen=True, slots=True)
class Appended:
    """The command holds: its rows are in the table. `already_done`: they were before."""

    events: tuple[Event, ...]
    already_done: bool = False


Answer = Appended | Rejection


class Writer:
    """Appends what commands ask for; safe for threads when its store is."""

    def __init__(self, store: EventStore, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._store = store
        self._retrying = retrying(store, retry_seconds=retry_seconds)

    def handle(self, command: AnyCommand) -> Answer:
        """Record one command, once, however often it is sent.

        Raises:
            ServiceUnavailable: not possible now; send the same command again with the same key.
            ConfigurationError, SchemaVersionError: not possible until somebody repairs it.
        """
        return self._retrying.copy()(self._try, command)

    def _try(self, command: AnyCommand) -> Answer:
        state = fold(self._store.load(command.payment_id))
        available_minor = None
        if isinstance(command, RequestPayout) and state is None:
            available_minor = self._store.available_minor(command.seller_id, command.currency)
        match decide(state, command, available_minor=available_minor):
            case Rejection() as rejection:
                return rejection
            case AlreadyDone(events=events):
                return Appended(tuple(_stored(event) for event in events), already_done=True)
            case rows:
                try:
                    return Appended(self._store.append(rows))
                except Rejection as rejection:
                    return rejection


def _stored(event: object) -> Event:
    assert isinstance(event, Event), event
    return event


@contextmanager
def open_writer(dsn: str) -> Iterator[Writer]:
    """A writer on PostgreSQL, for the length of a `with`; raises what `open_store` raises."""
    with open_store(dsn) as store:
        yield Writer(store)
