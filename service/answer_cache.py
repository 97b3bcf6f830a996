"""Keeps final answers in Redis, so that repeated requests need not reach PostgreSQL.

PostgreSQL alone knows the answers. What Redis returns is used only if it bears our signature over
the key, the request and the answer; anything else counts as not found. So a Redis that is lost,
flushed, slow, or that gives another key's answer changes only how long an answer takes. Answers
never change, so an old one is as good as a new one.
"""

import asyncio
import hmac
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.driver_info import DriverInfo

from service.breaker import Breaker
from service.metrics import ApiMetrics

if TYPE_CHECKING:
    from collections.abc import Sequence

PREFIX = "purser:answer:"
CONNECTIONS_MOST = 512
PUT_SECONDS = 0.02
"""Answers of this time are put into Redis by one request, after they were given."""
_MAC_BYTES = 32


class StoredAnswer(NamedTuple):
    """An answer as it was given; `headers` are those beyond every answer's."""

    status: int
    headers: "Sequence[tuple[bytes, bytes]]"
    body: bytes
    request_id: str = ""
    """That in the body, if it has one."""


_decoder = msgspec.msgpack.Decoder(tuple[int, list[tuple[bytes, bytes]], bytes, str])


def open_redis(url: str) -> "Redis":
    """A client that never tries twice by itself; connects when it is used.

    It waits for ever: `Breaker` has the time limit. The client's own makes a task of each command.
    """
    return Redis.from_url(
        url,
        socket_timeout=None,
        socket_connect_timeout=None,
        retry=Retry(NoBackoff(), 0),
        max_connections=CONNECTIONS_MOST,
        driver_info=DriverInfo(),  # else each connection reads the version from the package's files
    )


class AnswerCache:
    """Final answers by the caller's key; without a Redis it never finds any."""

    def __init__(
        self,
        redis: "Redis | None",
        secret: bytes,
        breaker: Breaker,
        metrics: ApiMetrics,
        *,
        kept_seconds: int,
    ) -> None:
        self._redis = redis
        self._secret = secret
        self._breaker = breaker
        self._metrics = metrics
        self._kept_seconds = kept_seconds
        self._waiting: dict[str, bytes] = {}
        self._putting: asyncio.Task[None] | None = None

    async def get(self, key: str, request: bytes) -> StoredAnswer | None:
        """The answer that the same request got under this key; None if it is not known here.

        `request` is a digest of everything that makes it the same.
        """
        if waiting := self._waiting.get(key):
            return self._verified(key, request, waiting)
        if self._redis is None or not self._breaker.closed:
            return None
        async with self._breaker.guarded():
            stored = await self._redis.get(PREFIX + key)
            if isinstance(stored, bytes):
                return self._verified(key, request, stored)
        return None

    def put(self, key: str, request: bytes, answer: StoredAnswer) -> None:
        """Keep a final answer for a while; it goes into Redis a moment later."""
        if self._redis is None or not self._breaker.closed:
            return
        payload = msgspec.msgpack.encode(answer)
        self._waiting[key] = self._mac(key, request, payload) + payload
        if self._putting is None:
            self._putting = asyncio.create_task(self._put_soon())

    async def flush(self) -> None:
        """Put into Redis what waits for that."""
        if self._putting is not None:
            await self._putting

    async def _put_soon(self) -> None:
        assert self._redis is not None
        try:
            await asyncio.sleep(PUT_SECONDS)
            while self._waiting:
                waiting, self._waiting = self._waiting, {}
                if self._breaker.closed:
                    async with self._breaker.guarded():
                        together = self._redis.pipeline(transaction=False)
                        for key, value in waiting.items():
                            together.set(PREFIX + key, value, ex=self._kept_seconds)
                        await together.execute()
        finally:
            self._putting = None

    def _verified(self, key: str, request: bytes, stored: bytes) -> StoredAnswer | None:
        mac, payload = stored[:_MAC_BYTES], stored[_MAC_BYTES:]
        # Another request under the same key ends here too: PostgreSQL knows what differs.
        if not hmac.compare_digest(mac, self._mac(key, request, payload)):
            self._metrics.cache_failures.labels("not_ours").inc()
            return None
        return StoredAnswer(*_decoder.decode(payload))

    def _mac(self, key: str, request: bytes, payload: bytes) -> bytes:
        # Lengths first: no two different triples are the same bytes.
        head = b"%d:%d:" % (len(key), len(request))
        return hmac.digest(self._secret, head + key.encode() + request + payload, sha256)
