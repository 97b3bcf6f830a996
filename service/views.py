"""Asks ClickHouse without blocking the event loop: few threads, a short queue, a time limit.

The client is synchronous and may be shared by threads. It connects with the first question, so the
API starts and takes payments without ClickHouse.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from clickhouse_connect.driver.client import Client

from schemas.errors import ServiceUnavailable
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

Answer = TypeVar("Answer")


class Views:
    """The views, for as many questions at once as there are threads."""

    def __init__(self, url: str, *, threads: int, waiting_most: int, seconds: int) -> None:
        self._settings = ClickHouseSettings.load(
            url, clickhouse_request_seconds=seconds, clickhouse_connect_seconds=min(seconds, 5)
        )
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="views")
        self._most = threads + waiting_most
        self._seconds = seconds
        self._asked = 0
        self._client: Client | None = None
        self._lock = Lock()

    async def ask(self, question: Callable[[Client], Answer]) -> Answer:
        """Ask one question, a function of `sinks.queries_figures` with its arguments bound.

        Raises:
            ServiceUnavailable: too many questions wait, or there was no answer in time.
            PurserError: see `sinks.client`.
        """
        if self._asked >= self._most:
            raise ServiceUnavailable("too many questions wait for ClickHouse; try again")
        self._asked += 1
        loop = asyncio.get_running_loop()
        asked = loop.run_in_executor(self._threads, self._answer, question)
        asked.add_done_callback(self._answered)
        try:
            # A thread goes on until the client's own limit, and counts until then.
            return await asyncio.wait_for(asyncio.shield(asked), self._seconds + 1)
        except TimeoutError:
            raise ServiceUnavailable(
                f"ClickHouse gave no answer within {self._seconds} s; try again"
            ) from None

    def close(self) -> None:
        """Close the connections; does not wait for questions."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    def _answered(self, asked: "asyncio.Future[Any]") -> None:
        self._asked -= 1
        if not asked.cancelled():
            asked.exception()  # whoever waited has it; nobody may have

    def _answer(self, question: Callable[[Client], Answer]) -> Answer:
        with translated(self._settings.address()):
            return question(self._connected())

    def _connected(self) -> Client:
        with self._lock:
            if self._client is None:
                self._client = connect(self._settings)
            return self._client
