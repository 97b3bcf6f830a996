"""Rate limits by caller, with the headers of the IETF draft `RateLimit` and `RateLimit-Policy`.

Windows are aligned to the clock, so that processes that share Redis count in the same ones without
asking for their beginning. Each counts for itself and shares its counts now and then. Without it,
or while it does not answer, each process counts for itself alone.
"""

import time
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


SYNC_SECONDS = 0.25
SYNC_SHARE = 100
"""Counts are shared after this time, or after this part of the quota: a hundredth. So a small quota
is exact, and a large one costs next to nothing. A request to Redis for each of ours took a tenth of
the processor time of a payment."""


@dataclass(slots=True)
class Count:
    """What is known of one caller in the current window: shared, and not shared yet."""

    shared: int = 0
    pending: int = 0
    own: int = 0
    shared_at: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is left of a caller's quota; `headers` go with every answer."""

    allowed: bool
    reset_seconds: int
    headers: list[tuple[bytes, bytes]]


class RateLimits:
    """Counts the requests of each caller; one object for each kind of quota.

    Not with the library's storage in memory: that looks at all its keys for expired ones with every
    request. Windows are aligned, so all counts end together.
    """

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
        self._sync_after = max(1, requests // SYNC_SHARE)
        self._shared = shared
        self._breaker = breaker
        self._clock = clock
        self._window = -1
        self._counts: dict[str, Count] = {}
        self._policy = f'"default";q={requests};w={window_seconds}'.encode()

    async def hit(self, who: str) -> Verdict:
        """Count one request of a caller."""
        now = self._clock()
        window = int(now // self._window_seconds)
        if window != self._window:
            self._window = window
            self._counts = {}
        count = self._counts.setdefault(who, Count())
        count.own += 1
        count.pending += 1
        if self._shared is not None and self._is_due(count, now):
            await self._share(count, f"purser:rate:{window}:{who}", now)
        # What this process has seen itself is a lower bound, whatever Redis says.
        used = max(count.own, count.shared + count.pending)
        reset_seconds = max(1, ceil((window + 1) * self._window_seconds - now))
        return Verdict(
            allowed=used <= self._requests,
            reset_seconds=reset_seconds,
            headers=[
                (b"ratelimit-policy", self._policy),
                (
                    b"ratelimit",
                    b'"default";r=%d;t=%d' % (max(0, self._requests - used), reset_seconds),
                ),
            ],
        )

    def _is_due(self, count: Count, now: float) -> bool:
        return count.pending >= self._sync_after or now - count.shared_at >= SYNC_SECONDS

    async def _share(self, count: Count, key: str, now: float) -> None:
        if not self._breaker.closed:
            return
        assert self._shared is not None
        # Whatever comes of it: after a timeout they may be counted, and nobody is refused early.
        pending, count.pending, count.shared_at = count.pending, 0, now
        async with self._breaker.guarded():
            count.shared = await self._shared.incr(key, 2 * self._window_seconds, pending)


def too_many(verdict: Verdict) -> Problem:
    """The 429 of a caller that has used up its quota."""
    return Problem(
        "rate_limited",
        f"the quota is used up; it is whole again in {verdict.reset_seconds} s",
        headers={"Retry-After": str(verdict.reset_seconds)},
    )
