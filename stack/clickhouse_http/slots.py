"""Places for queries: each kind of user has its own, so that none waits for the other kind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from stack.clickhouse_http.errors import Code, refusal

BESIDE: Final = 2
"""How many KILL QUERY may run at a time beside the slots of a kind of user."""
_Result = TypeVar("_Result")


class Slots:
    """At most `number` queries at a time, each with a thread to run in."""

    def __init__(self, number: int, wait_seconds: float, name: str) -> None:
        self._number = number
        self._wait_seconds = wait_seconds
        self._free = asyncio.Semaphore(number)
        self._threads = ThreadPoolExecutor(number, thread_name_prefix=name)
        self._beside = ThreadPoolExecutor(BESIDE, thread_name_prefix=f"{name}-beside")

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """Hold a slot; raises 202 when none is free within `wait_seconds`."""
        try:
            if self._free.locked():
                await asyncio.wait_for(self._free.acquire(), self._wait_seconds)
            else:
                await self._free.acquire()
        except TimeoutError:
            raise refusal(
                Code.TOO_MANY_SIMULTANEOUS_QUERIES,
                f"Too many simultaneous queries. Maximum: {self._number}.",
            ) from None
        try:
            yield
        finally:
            self._free.release()

    async def run(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking `work` in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def run_beside(self, work: Callable[[], _Result]) -> _Result:
        """Run blocking `work` that stops queries, and so must not wait for a slot."""
        return await asyncio.get_running_loop().run_in_executor(self._beside, work)

    def shut_down(self) -> None:
        """Wait for the threads to end."""
        self._beside.shutdown()
        self._threads.shutdown()
