"""Rate limits by caller, with the headers of the IETF draft `RateLimit` and `RateLimit-Policy`.

Windows are aligned to the clock, so that processes that share Redis count in the same ones without
asking for their beginning: one request to Redis for each of ours. Without Redis, or while it does
not answer, each process counts for itself.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Protocol

from service.breaker import Breaker
from service.problems import Problem


class SharedCounts(Protocol):
    """What is used of a storage of the library `limits`."""

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count, and forget the key after `expiry` seconds."""


class OwnCounts:
    """The counts of this process in the current window.

    Not the library's storage in memory: that looks at all its keys for expired ones with every
    request. Windows are aligned, so all keys expire together.
    """

    def __init__(self) -> None:
        self._window = -1
        self._counts: Counter[str] = Counter()

    def incr(self, window: int, who: str) -> int:
        """Count one request."""
        if window != self._window:
            self._window = window
            self._counts.clear()
        self._counts[who] += 1
        return self._counts[who]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is left of a caller's quota; `headers` go with every answer."""

    allowed: bool
    reset_seconds: int
    headers: list[tuple[bytes, bytes]]


class RateLimits:
    """Counts the requests of each caller; one object for each kind of quota."""

    def __init__(
        self,
        *,
        requests: int,
        window_seconds: int,
        shared: SharedCounts | None,
        breaker: Breaker,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._requests = requests
        self._window_seconds = window_seconds
        self._own = OwnCounts()
        self._shared = shared
        self._breaker = breaker
        self._clock = clock
        self._policy = f'"default";q={requests};w={window_seconds}'.encode()

    async def hit(self, who: str) -> Verdict:
        """Count one request of a caller."""
        now = self._clock()
        window = int(now // self._window_seconds)
        count = await self._count(window, who)
        left = max(0, self._requests - count)
        reset_seconds = max(1, ceil((window + 1) * self._window_seconds - now))
        return Verdict(
            allowed=count <= self._requests,
            reset_seconds=reset_seconds,
            headers=[
                (b"ratelimit-policy", self._policy),
                (b"ratelimit", b'"default";r=%d;t=%d' % (left, reset_seconds)),
            ],
        )

    async def _count(self, window: int, who: str) -> int:
        own = self._own.incr(window, who)
        if self._shared is not None and self._breaker.closed:
            async with self._breaker.guarded():
                key = f"purser:rate:{window}:{who}"
                # What this process has seen itself is a lower bound, whatever Redis says.
                return max(own, await self._shared.incr(key, 2 * self._window_seconds))
        return own


def too_many(verdict: Verdict) -> Problem:
    """The 429 of a caller that has used up its quota."""
    return Problem(
        "rate_limited",
        f"the quota is used up; it is whole again in {verdict.reset_seconds} s",
        headers={"Retry-After": str(verdict.reset_seconds)},
    )
