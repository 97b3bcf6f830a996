"""The append path: load a stream, decide, append the new rows; repeat after losing a race.

This is the only way to append an event. Commands that arrive at the same time are appended in
groups (`writer.group`, `writer.lanes`). Two writers that race on the same payment insert the same
`(payment_id, seq)`: one succeeds, the other reads again and decides again. If a connection breaks,
the result of the append is unknown and the same happens: after reading again, the idempotency key
shows whether the first attempt succeeded.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from schemas.events import Event
from schemas.ids import PaymentId
from schemas.runtime import require_assertions
from writer.commands import AnyCommand
from writer.group import READ_SECONDS, Asked, GroupAppender
from writer.group import Answer as Answer
from writer.group import Appended as Appended
from writer.lanes import Lanes
from writer.postgres import open_store
from writer.retry import RETRY_SECONDS, retrying
from writer.store import EventStore

_Value = TypeVar("_Value")
_Face = TypeVar("_Face", "AsyncWriter", "AsyncReader")


class Writer:
    """Appends the rows of commands; thread-safe if its store is."""

    def __init__(
        self,
        store: EventStore,
        *,
        retry_seconds: float = RETRY_SECONDS,
        read_seconds: float = READ_SECONDS,
    ) -> None:
        self._lanes = command_lanes(store, retry_seconds=retry_seconds, read_seconds=read_seconds)

    def handle(self, command: AnyCommand, known: Sequence[Event] | None = None) -> Answer:
        """Record one command, once, however often it is sent.

        `known` is the payment's stream as it was read or appended before, empty for a new payment:
        it saves reading it. It may have moved on since.

        Raises:
            ServiceUnavailable: not possible now; send the same command again with the same key.
            ConfigurationError, SchemaVersionError: not possible until somebody fixes the cause.
        """
        return self._lanes.run(_asked(command, known))

    def submit(self, command: AnyCommand, known: Sequence[Event] | None = None) -> "Future[Answer]":
        """Like `handle`, for a caller with many commands at once; never blocks.

        The answer, or what `handle` raises, will be in the future.

        Raises:
            ServiceUnavailable: too many commands are waiting, or the writer is closed.
        """
        return self._lanes.submit(_asked(command, known))

    def group_sizes(self) -> Counter[int]:
        """Commands that were answered together -> how many such groups there were so far."""
        return self._lanes.sizes()

    def close(self) -> None:
        """Take no new commands, and wait until all others are answered."""
        self._lanes.close()


class AsyncReader:
    """Reads streams for coroutines; those that are asked for at the same time, by one statement."""

    def __init__(self, store: EventStore, *, retry_seconds: float = RETRY_SECONDS) -> None:
        def load_all(payment_ids: Sequence[PaymentId]) -> list[tuple[Event, ...]]:
            streams = store.load_many(list(dict.fromkeys(payment_ids)))
            return [streams.get(payment_id, ()) for payment_id in payment_ids]

        self._loads = Lanes(
            load_all,
            retrying=retrying(store, retry_seconds=retry_seconds),
            retry_seconds=retry_seconds,
            lanes=1,
            linger_seconds=0.0,
        )

    async def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        """Return the stream of a payment or payout in the order of `seq`; empty if none exists.

        It has everything that was answered before the call. Raises what `AsyncWriter.handle` does.
        """
        return await asyncio.wrap_future(self._loads.submit(payment_id))

    def close(self) -> None:
        """Take nothing new, and wait until all others are answered; blocks."""
        self._loads.close()


class AsyncWriter:
    """The same for coroutines: no call blocks their event loop."""

    def __init__(self, store: EventStore, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._commands = command_lanes(store, retry_seconds=retry_seconds)
        self._reader = AsyncReader(store, retry_seconds=retry_seconds)

    async def handle(self, command: AnyCommand, known: Sequence[Event] | None = None) -> Answer:
        """Record one command, once, however often it is sent; `known` as in `Writer.handle`.

        If the caller is cancelled, the command may be appended or not; its neighbours are.

        Raises:
            ServiceUnavailable: not possible now; send the same command again with the same key.
            ConfigurationError, SchemaVersionError: not possible until somebody fixes the cause.
        """
        return await asyncio.wrap_future(self._commands.submit(_asked(command, known)))

    async def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        """Return the stream of a payment or payout; see `AsyncReader.load`."""
        return await self._reader.load(payment_id)

    def close(self) -> None:
        """Take nothing new, and wait until all others are answered; blocks."""
        self._commands.close()
        self._reader.close()


def _asked(command: AnyCommand, known: Sequence[Event] | None) -> Asked:
    return Asked(command, None if known is None else tuple(known))


def command_lanes(
    store: EventStore, *, retry_seconds: float, read_seconds: float = READ_SECONDS
) -> Lanes[Asked, Answer]:
    """Return what appends the commands of all callers in groups."""
    return Lanes(
        GroupAppender(store, read_seconds=read_seconds).append,
        retrying=retrying(store, retry_seconds=retry_seconds),
        key=lambda asked: asked.command.payment_id,
        retry_seconds=retry_seconds,
    )


@contextmanager
def open_writer(dsn: str) -> Iterator[Writer]:
    """Open a writer on PostgreSQL for the length of a `with`; raises what `open_store` raises.

    The end of the `with` waits until every command is answered.
    """
    require_assertions()  # also in a service's process: assertions protect money
    with open_store(dsn) as store:
        writer = Writer(store)
        try:
            yield writer
        finally:
            writer.close()


@asynccontextmanager
async def open_async_writer(dsn: str) -> AsyncIterator[AsyncWriter]:
    """Open a writer for an event loop; raises what `open_store` raises.

    The end of the `async with` waits until every command is answered.
    """
    require_assertions()
    async with _opened(dsn, AsyncWriter) as writer:
        yield writer


@asynccontextmanager
async def open_async_reader(dsn: str) -> AsyncIterator[AsyncReader]:
    """Open a reader with a connection of its own: it keeps no writer waiting.

    Raises what `open_store` raises.
    """
    async with _opened(dsn, AsyncReader) as reader:
        yield reader


@asynccontextmanager
async def _opened(dsn: str, face: Callable[[EventStore], _Face]) -> AsyncIterator[_Face]:
    stack = ExitStack()
    try:
        opened = face(await _in_thread(stack.enter_context, open_store(dsn)))
        stack.callback(opened.close)
        yield opened
    finally:
        await _in_thread(stack.close)


async def _in_thread(function: Callable[..., _Value], *arguments: Any) -> _Value:
    """Call a function that blocks; it has ended when this returns, even if the caller is cancelled.

    Otherwise a cancelled caller would leave a pool open, or close it under those who still use it.
    """
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
