"""A breaker around Redis: after a failure it is left alone for a while. Nothing depends on Redis.

A slow Redis costs a request its time limit once in each pause, not every request.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from redis.exceptions import RedisError

from service.metrics import ApiMetrics

_log = logging.getLogger("purser.api")


class Breaker:
    """Closed while Redis works; open for `pause_seconds` after a failure.

    An answer that takes longer than `answer_seconds` counts as a failure.
    """

    def __init__(
        self,
        metrics: ApiMetrics,
        *,
        pause_seconds: float,
        answer_seconds: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._pause_seconds = pause_seconds
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._open_until = float("-inf")
        self._failing = False

    @property
    def closed(self) -> bool:
        """Whether Redis may be asked."""
        return self._clock() >= self._open_until

    @asynccontextmanager
    async def guarded(self) -> AsyncIterator[None]:
        """Ask Redis in the body. A failure ends the body, opens the breaker and is not raised."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                yield
        except (RedisError, OSError, TimeoutError, ValueError, TypeError) as error:
            self._open_until = self._clock() + self._pause_seconds
            self._metrics.cache_failures.labels("no_answer").inc()
            if not self._failing:
                _log.warning("Redis does not answer and is left alone for a while: %r", error)
            self._failing = True
        else:
            if self._failing:
                _log.info("Redis answers again")
            self._failing = False
