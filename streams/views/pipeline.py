"""From batches to acknowledged batches: fold, write, park, refresh totals, acknowledge.

Three tasks of the event loop hand flushes to each other; the work itself runs in threads. A flush
that is full is folded while the one before it is written; a smaller one waits until nothing is
under way, and grows meanwhile. It must never acknowledge a batch before its rows *and* the totals
they belong to are in, and never go on after a step has failed for good.

What a crash costs, step by step (a restarted worker reads again all that was not acknowledged):

1. take    a flush leaves the coalescer                    nothing is lost, nothing was written
2. fold    records become rows                             as 1
3. write   rows go into their tables                       rows are written again, to the same keys
4. park    dead letters go to their topic                  as 3, and parked again under the same key
5. refresh totals of the touched keys are recomputed       as 4; the totals are absolute
6. ack     the transport may commit the batches' offsets   as 5, for what was not committed yet
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Generic, Protocol, TypeVar

from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception_type,
    stop_after_delay,
    wait_exponential_jitter,
)

from schemas.errors import ServiceUnavailable
from streams.views.coalescer import Batch, Coalescer, Flush

Folded = TypeVar("Folded")
Receipt = TypeVar("Receipt")
Result = TypeVar("Result")


class Steps(Protocol[Folded, Receipt]):
    """The work on a flush. All but `park` block and run in a thread; each may be called again.

    They raise `ServiceUnavailable` for what a later try may cure; anything else ends the worker.
    """

    def fold(self, flush: Flush) -> Folded:
        """Make rows of records; touches nothing outside."""

    def write(self, folded: Folded) -> Receipt:
        """Write the rows; when it returns, a reader sees all of them. The receipt is small: it is
        kept until the refresh, the rows are not.
        """

    async def park(self, folded: Folded) -> None:
        """Send what could not be folded to the dead letters' topic."""

    def refresh(self, written: list[Receipt]) -> None:
        """Recompute the totals that these flushes touch, and note how far the views are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineLimits:
    """How much is under way at once, how often totals are refreshed, how long to try again.

    - `refresh_seconds`: between the starts of two refreshes, at least.
    - `refresh_share_max`: of the time may go into refreshing totals; when a refresh takes long,
      the next one waits longer and covers more flushes, up to half of `flushes_unrefreshed_max`:
      with the other half rows go on becoming visible while totals are refreshed.
    - `retry_first_seconds`, `retry_most_seconds`: the first and the longest wait between tries.
    - `give_up_seconds`: after so long without success the worker ends, unacknowledged.
    """

    refresh_seconds: float = 0.5
    refresh_share_max: float = 0.25
    flushes_unrefreshed_max: int = 128
    retry_first_seconds: float = 0.1
    retry_most_seconds: float = 5.0
    give_up_seconds: float = 300.0


class Observer(Protocol):
    """Who wants to know how it goes; must be quick and must not raise."""

    def retrying(self, step: str, error: BaseException, attempt: int) -> None:
        """A step failed and is tried again."""

    def recovered(self, step: str) -> None:
        """A step that was tried again has succeeded."""

    def acknowledged(self, batches: Iterable[Batch]) -> None:
        """Batches are done."""


FLUSHES_UNDER_WAY_MAX = 2
"""One is written while the next is folded."""


class Pipeline(Generic[Folded, Receipt]):
    """The tasks that carry flushes, and the first failure that stopped them."""

    def __init__(
        self,
        steps: Steps[Folded, Receipt],
        coalescer: Coalescer,
        limits: PipelineLimits,
        observer: Observer,
    ) -> None:
        self._steps = steps
        self._coalescer = coalescer
        self._limits = limits
        self._observer = observer
        self._folded: asyncio.Queue[tuple[tuple[Batch, ...], Folded]] = asyncio.Queue()
        self._written: list[tuple[tuple[Batch, ...], Receipt]] = []
        self._under_way = 0
        self._unacknowledged = 0
        self._changed = asyncio.Condition()
        self._draining = False
        self._failure: BaseException | None = None
        self._failed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._threads = ThreadPoolExecutor(max_workers=3, thread_name_prefix="views")

    # -- the outside

    def start(self) -> None:
        """Begin to carry flushes."""
        for stage in (self._fold_stage, self._write_stage, self._refresh_stage):
            self._tasks.append(asyncio.create_task(self._guard(stage()), name=stage.__name__))

    async def put(self, batch: Batch) -> None:
        """Hand over a batch; returns at once unless a whole flush is already waiting.

        Never raises: after a failure or during a stop the batch is left unacknowledged and the
        caller is held until it is cancelled.
        """
        async with self._changed:
            if not self._is_closed():
                self._coalescer.add(batch, monotonic())
                self._changed.notify_all()
            await self._changed.wait_for(lambda: self._is_closed() or not self._coalescer.is_full)
        if self._is_closed():
            await asyncio.Event().wait()

    def fail(self, error: BaseException) -> None:
        """Stop for good; the first failure is the one that counts."""
        if self._failure is None:
            self._failure = error
            self._failed.set()

    @property
    def failure(self) -> BaseException | None:
        """What ended the pipeline, if anything did."""
        return self._failure

    async def failed(self) -> BaseException:
        """Wait for the failure that ends the worker."""
        await self._failed.wait()
        assert self._failure is not None
        return self._failure

    async def drain(self) -> None:
        """Finish and acknowledge what is under way; what still waits is left to be read again."""
        async with self._changed:
            self._draining = True
            self._coalescer.clear()
            self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._failure is not None or not self._unacknowledged
            )

    async def close(self) -> None:
        """End the tasks, whatever they are doing; threads in a call end when the call does."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _is_closed(self) -> bool:
        return self._draining or self._failure is not None

    # -- the stages

    async def _fold_stage(self) -> None:
        while True:
            flush = await self._next_flush()
            folded = await self._in_thread(self._steps.fold, flush)
            for batch in flush.batches:
                batch.release()
            self._folded.put_nowait((flush.batches, folded))

    async def _next_flush(self) -> Flush:
        """Step 1: a full flush as soon as there is room, a smaller one once nothing is under way.

        While one is written, the next would only wait for it: better that it grows meanwhile.
        """
        while True:
            async with self._changed:
                seconds = self._seconds_to_flush(monotonic())
                flush = self._coalescer.take(monotonic()) if seconds == 0 else None
                if flush is not None:
                    self._under_way += 1
                    self._unacknowledged += 1
                    self._changed.notify_all()
                    return flush
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()

    def _seconds_to_flush(self, now: float) -> float | None:
        if self._is_closed() or self._unacknowledged >= self._limits.flushes_unrefreshed_max:
            return None
        if self._coalescer.is_full and self._under_way < FLUSHES_UNDER_WAY_MAX:
            return 0.0
        return None if self._under_way else self._coalescer.due_in(now)

    async def _write_stage(self) -> None:
        while True:
            batches, folded = await self._folded.get()
            receipt = await self._persist("write", self._in_thread, self._steps.write, folded)
            await self._persist("park", self._steps.park, folded)
            del folded
            async with self._changed:
                self._under_way -= 1
                self._written.append((batches, receipt))
                self._changed.notify_all()

    async def _refresh_stage(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._written))
                written, self._written = self._written, []
            started = monotonic()
            receipts = [receipt for _, receipt in written]
            await self._persist("refresh", self._in_thread, self._steps.refresh, receipts)
            # Rows and totals are in: only now.
            batches = [batch for done, _ in written for batch in done]
            for batch in batches:
                batch.acknowledge()
            self._observer.acknowledged(batches)
            async with self._changed:
                self._unacknowledged -= len(written)
                self._changed.notify_all()
            await self._pause_refresh(monotonic() - started)

    async def _pause_refresh(self, took_seconds: float) -> None:
        """Let flushes gather before the next refresh, unless the worker is stopping."""
        wanted = max(self._limits.refresh_seconds, took_seconds / self._limits.refresh_share_max)
        with suppress(TimeoutError):
            async with asyncio.timeout(wanted - took_seconds), self._changed:
                await self._changed.wait_for(
                    lambda: (
                        self._is_closed()
                        or self._unacknowledged >= self._limits.flushes_unrefreshed_max // 2
                    )
                )

    # -- how a step is run

    async def _persist(
        self, step: str, call: Callable[..., Awaitable[Result]], *arguments: Any
    ) -> Result:
        """Try until it succeeds, with growing waits; give up after `give_up_seconds`."""

        def before_sleep(state: RetryCallState) -> None:
            assert state.outcome is not None
            error = state.outcome.exception()
            assert error is not None
            self._observer.retrying(step, error, state.attempt_number)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            wait=wait_exponential_jitter(
                multiplier=self._limits.retry_first_seconds, max=self._limits.retry_most_seconds
            ),
            stop=stop_after_delay(self._limits.give_up_seconds),
            before_sleep=before_sleep,
            reraise=True,
        )
        async for attempt in retrying:
            with attempt:
                result = await call(*arguments)
                if attempt.retry_state.attempt_number > 1:
                    self._observer.recovered(step)
                return result
        raise AssertionError("tenacity returns or raises")

    async def _in_thread(self, call: Callable[..., Result], *arguments: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)

    async def _guard(self, stage: Awaitable[None]) -> None:
        """Whatever ends a stage ends the worker: nothing behind it may be acknowledged."""
        try:
            await stage
        except Exception as error:  # noqa: BLE001 - handed over to whoever waits for `failed`
            self.fail(error)
            async with self._changed:
                self._changed.notify_all()
