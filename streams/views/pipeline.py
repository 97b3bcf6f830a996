"""The pipeline for batches: fold, write, park, settle, acknowledge.

Three tasks of the event loop pass flushes to each other; the work itself runs in threads. A full
flush is folded while the previous one is written. A smaller one waits until no flush is in
progress, and rests for as long as that flush took; it grows meanwhile. The pipeline must never
acknowledge a batch before its rows are written *and* noted for the totals, and never continue after
a step has failed for good.

The cost of a crash at each step (a restarted worker reads all unacknowledged records again):

1. take    a flush leaves the coalescer                    nothing is lost, nothing was written
2. fold    records become rows                             as 1
3. write   rows go into their tables                       rows are written again, to the same keys
4. park    dead letters go to their topic                  as 3, and parked again under the same key
5. settle  minutes that got entries and progress are noted  as 4; a note more changes no total
6. ack     the transport may commit the batches' offsets   as 5, for what was not committed yet
"""

import asyncio
from collections.abc import Awaitable, Callable
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
    """The work on a flush. All steps but `park` block and run in a thread; each may be repeated.

    They raise `ServiceUnavailable` for errors that a retry may cure; any other error ends the
    worker.
    """

    def fold(self, flush: Flush) -> Folded:
        """Turn records into rows; has no side effects on the stores."""

    def write(self, folded: Folded) -> Receipt:
        """Write the rows; when it returns, readers see all of them.

        The receipt is small, because it is kept until the flush is settled; the rows are not.
        """

    async def park(self, folded: Folded) -> None:
        """Send records that could not be folded to the dead letters' topic."""

    def settle(self, written: list[Receipt]) -> None:
        """Note the minutes that got entries, for the totals, and the progress of the views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineLimits:
    """How much is in progress at once, how often flushes are settled, how long to retry.

    - `settle_seconds`: least time between the starts of two settlements. Each costs two small
      inserts, however many flushes it covers.
    - `flushes_unsettled_max`: most flushes that wait for it; from half of it on it does not wait.
    - `retry_first_seconds`, `retry_most_seconds`: the first and the longest wait between attempts.
    - `give_up_seconds`: after this time without success the worker exits without acknowledging.
    """

    settle_seconds: float = 0.5
    flushes_unsettled_max: int = 128
    retry_first_seconds: float = 0.1
    retry_most_seconds: float = 5.0
    give_up_seconds: float = 300.0


class Observer(Protocol):
    """Receives the pipeline's progress; must be quick and must not raise."""

    def retrying(self, step: str, error: BaseException, attempt: int) -> None:
        """A step failed and will be retried."""

    def recovered(self, step: str) -> None:
        """A step that was retried has succeeded."""


FLUSHES_UNDER_WAY_MAX = 2
"""One flush is written while the next is folded."""


class Pipeline(Generic[Folded, Receipt]):
    """The tasks that process flushes, and the first failure that stopped them."""

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
        """Start to process flushes."""
        for stage in (self._fold_stage, self._write_stage, self._settle_stage):
            self._tasks.append(asyncio.create_task(self._guard(stage()), name=stage.__name__))

    async def put(self, batch: Batch) -> None:
        """Hand over a batch; returns immediately unless a full flush is already waiting.

        Never raises: after a failure or during a stop, the batch stays unacknowledged and the
        caller blocks until it is cancelled.
        """
        async with self._changed:
            if not self._is_closed():
                self._coalescer.add(batch, monotonic())
                self._changed.notify_all()
            await self._changed.wait_for(lambda: self._is_closed() or not self._coalescer.is_full)
        if self._is_closed():
            await asyncio.Event().wait()

    def fail(self, error: BaseException) -> None:
        """Stop for good; only the first failure counts."""
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
        """Finish and acknowledge the flushes in progress; waiting batches are read again later."""
        async with self._changed:
            self._draining = True
            self._coalescer.clear()
            self._changed.notify_all()
            await self._changed.wait_for(
                lambda: self._failure is not None or not self._unacknowledged
            )

    async def close(self) -> None:
        """Cancel the tasks, whatever they are doing; a thread ends after its current call."""
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
        """Step 1: take a full flush as soon as there is room, a smaller one when none is in work.

        While a flush is written, a small one would only wait for it, so let it grow meanwhile.
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
        if self._is_closed() or self._unacknowledged >= self._limits.flushes_unsettled_max:
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
                self._coalescer.written(monotonic())
                self._written.append((batches, receipt))
                self._changed.notify_all()

    async def _settle_stage(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: bool(self._written))
                written, self._written = self._written, []
            started = monotonic()
            receipts = [receipt for _, receipt in written]
            await self._persist("settle", self._in_thread, self._steps.settle, receipts)
            # Acknowledge only now that the rows are written and noted.
            for batches, _ in written:
                for batch in batches:
                    batch.acknowledge()
            async with self._changed:
                self._unacknowledged -= len(written)
                self._changed.notify_all()
            await self._pause_settling(monotonic() - started)

    async def _pause_settling(self, took_seconds: float) -> None:
        """Let flushes accumulate before the next settlement, unless the worker is stopping."""
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(max(0.0, self._limits.settle_seconds - took_seconds)),
                self._changed,
            ):
                await self._changed.wait_for(
                    lambda: (
                        self._is_closed()
                        or self._unacknowledged >= self._limits.flushes_unsettled_max // 2
                    )
                )

    # -- how a step is run

    async def _persist(
        self, step: str, call: Callable[..., Awaitable[Result]], *arguments: Any
    ) -> Result:
        """Retry with growing waits until it succeeds; give up after `give_up_seconds`."""

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
        """End the worker when a stage ends: nothing after it may be acknowledged."""
        try:
            await stage
        except Exception as error:  # noqa: BLE001 - passed to the waiters of `failed`
            self.fail(error)
            async with self._changed:
                self._changed.notify_all()
