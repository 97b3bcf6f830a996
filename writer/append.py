"""The append path: load a stream, decide, append the new rows; repeat after losing a race.

This is the only way to append an event. Two writers that race on the same payment insert the same
`(payment_id, seq)`: one succeeds, the other reads again and decides again. If a connection breaks,
the result of the append is unknown and the same happens: after reading again, the idempotency key
shows whether the first attempt succeeded.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from schemas.errors import Rejection
from schemas.events import Event
from schemas.runtime import require_assertions
from writer.commands import AnyCommand, RequestPayout
from writer.decide import AlreadyDone, decide
from writer.postgres import open_store
from writer.retry import RETRY_SECONDS, retrying
from writer.state import fold
from writer.store import EventStore


@dataclass(frozen=True, slots=True)
class Appended:
    """The command was carried out and its rows are stored. `already_done`: they were before."""

    events: tuple[Event, ...]
    already_done: bool = False


Answer = Appended | Rejection


class Writer:
    """Appends the rows of commands; thread-safe if its store is."""

    def __init__(self, store: EventStore, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._store = store
        self._retrying = retrying(store, retry_seconds=retry_seconds)

    def handle(self, command: AnyCommand) -> Answer:
        """Record one command, once, however often it is sent.

        Raises:
            ServiceUnavailable: not possible now; send the same command again with the same key.
            ConfigurationError, SchemaVersionError: not possible until somebody fixes the cause.
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
    """Open a writer on PostgreSQL for the length of a `with`; raises what `open_store` raises."""
    require_assertions()  # also in a service's process: assertions protect money
    with open_store(dsn) as store:
        yield Writer(store)
