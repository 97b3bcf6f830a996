"""Redis can be lost, flushed, slow or lying: nothing changes but speed."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisGone
from redis.exceptions import ResponseError

from service.answer_cache import PREFIX, AnswerCache, StoredAnswer
from service.breaker import Breaker
from service.metrics import ApiMetrics
from tests.payins_world import World
from tests.service_world import ApiWorld, body, key

ANSWER = StoredAnswer(201, [(b"content-type", b"application/json")], b'{"id":"1"}')


class FakeRedis:
    """A map, or whatever a test makes of it."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.calls = 0
        self.error: Exception | None = None

    async def get(self, name: str) -> Any:
        self._called()
        return self.values.get(name)

    def pipeline(self, *, transaction: bool) -> "FakePipeline":
        assert not transaction
        return FakePipeline(self)

    def _called(self) -> None:
        self.calls += 1
        if self.error is not None:
            raise self.error


class FakePipeline:
    """Sets that reach the map together."""

    def __init__(self, redis: FakeRedis) -> None:
        self._redis = redis
        self._values: dict[str, bytes] = {}

    def set(self, name: str, value: bytes, ex: int) -> None:
        assert ex == 300
        self._values[name] = value

    async def execute(self) -> None:
        self._redis._called()
        self._redis.values |= self._values


async def put(cache: AnswerCache, name: str, request: bytes, answer: StoredAnswer) -> None:
    """Put an answer, and wait until Redis has it."""
    cache.put(name, request, answer)
    await cache.flush()


def cache_on(
    redis: FakeRedis, secret: bytes = b"secret", now: list[float] | None = None
) -> AnswerCache:
    metrics = ApiMetrics()
    clock = now or [0.0]
    breaker = Breaker(metrics, pause_seconds=1, clock=lambda: clock[0])
    return AnswerCache(cast(Redis, redis), secret, breaker, metrics, kept_seconds=300)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_an_answer_comes_back_as_it_was() -> None:
    redis = FakeRedis()
    run(put(cache_on(redis), "api:1", b"request", ANSWER))
    assert run(cache_on(redis).get("api:1", b"request")) == ANSWER


def lie(change: Callable[[bytes], Any]) -> Any:
    """What is found if Redis returns something else than what was stored."""
    redis = FakeRedis()
    cache = cache_on(redis)
    run(put(cache, "api:1", b"request", ANSWER))
    redis.values[f"{PREFIX}api:1"] = change(redis.values[f"{PREFIX}api:1"])
    return run(cache.get("api:1", b"request"))


@pytest.mark.parametrize(
    "change",
    [
        lambda _: None,
        lambda _: b"",
        lambda _: b"x",
        lambda _: "text",
        lambda _: 7,
        lambda _: [b"list"],
        lambda stored: stored[:-1],
        lambda stored: stored + b"x",
        lambda stored: stored[:32] + stored[33:],
        lambda stored: bytes(32) + stored[32:],
        lambda stored: stored.replace(b"201", b"200").replace(b'"1"', b'"2"'),
    ],
)
def test_what_is_not_ours_counts_as_not_found(change: Callable[[bytes], Any]) -> None:
    assert lie(change) is None


def test_every_byte_counts() -> None:
    for position in range(60):

        def flip(stored: bytes, at: int = position) -> bytes:
            return stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1 :]

        assert lie(flip) is None, position


def test_an_answer_of_another_key_request_or_secret_is_none() -> None:
    redis = FakeRedis()
    run(put(cache_on(redis), "api:1", b"request", ANSWER))
    redis.values[f"{PREFIX}api:2"] = redis.values[f"{PREFIX}api:1"]
    assert run(cache_on(redis).get("api:2", b"request")) is None
    assert run(cache_on(redis).get("api:1", b"another")) is None
    assert run(cache_on(redis, b"other").get("api:1", b"request")) is None


@pytest.mark.parametrize(
    "error", [RedisGone("gone"), ResponseError("WRONGTYPE"), TimeoutError(), OSError("reset")]
)
def test_after_a_failure_it_is_left_alone_for_a_while(error: Exception) -> None:
    redis, now = FakeRedis(), [0.0]
    cache = cache_on(redis, now=now)
    run(put(cache, "api:1", b"request", ANSWER))
    redis.error = error
    assert run(cache.get("api:1", b"request")) is None
    calls = redis.calls
    for _ in range(10):
        assert run(cache.get("api:1", b"request")) is None
        run(put(cache, "api:2", b"request", ANSWER))
    assert redis.calls == calls
    now[0], redis.error = 1.0, None
    assert run(cache.get("api:1", b"request")) == ANSWER


def test_answers_of_a_moment_go_into_redis_together_and_are_known_at_once() -> None:
    redis = FakeRedis()

    async def work() -> None:
        cache = cache_on(redis)
        for number in range(10):
            cache.put(f"api:{number}", b"request", ANSWER)
        assert redis.calls == 0
        assert await cache.get("api:3", b"request") == ANSWER
        assert await cache.get("api:3", b"another") is None
        await cache.flush()
        assert (len(redis.values), redis.calls) == (10, 1)
        cache.put("api:10", b"request", ANSWER)  # after a pause, too
        await cache.flush()
        assert len(redis.values) == 11

    run(work())


def test_a_defect_does_not_end_the_cache() -> None:
    redis = FakeRedis()

    async def work() -> None:
        cache = cache_on(redis)
        redis.error = RuntimeError("the handler is closed")
        with pytest.raises(RuntimeError):
            await put(cache, "api:1", b"request", ANSWER)
        redis.error = None
        await put(cache, "api:2", b"request", ANSWER)
        assert await cache.get("api:2", b"request") == ANSWER

    run(work())


def test_a_redis_that_hangs_is_waited_for_once_and_not_long() -> None:
    class Hanging(FakeRedis):
        async def get(self, name: str) -> Any:
            self._called()
            await asyncio.Event().wait()

    redis, metrics = Hanging(), ApiMetrics()
    breaker = Breaker(metrics, pause_seconds=60, answer_seconds=0.01)
    cache = AnswerCache(cast(Redis, redis), b"secret", breaker, metrics, kept_seconds=300)

    async def work() -> None:
        async with asyncio.timeout(10):
            assert await cache.get("api:1", b"request") is None
            assert not breaker.closed
            assert await cache.get("api:1", b"request") is None

    run(work())
    assert redis.calls == 1


def test_without_redis_there_is_nothing() -> None:
    breaker = Breaker(ApiMetrics(), pause_seconds=1)
    cache = AnswerCache(None, b"", breaker, ApiMetrics(), kept_seconds=300)
    run(put(cache, "api:1", b"request", ANSWER))
    assert run(cache.get("api:1", b"request")) is None


# -- through the API


def test_a_repeated_request_does_not_reach_postgresql() -> None:
    redis, world = FakeRedis(), World()
    caches = [cache_on(redis) for _ in range(2)]
    one, two = (ApiWorld(world, answers=cache) for cache in caches)

    async def work() -> None:
        async with one.client() as client:
            first = await client.post("/v1/payments", json=body(), headers=key("k"))
        await caches[0].flush()

        async def unreachable(*_: Any) -> Any:
            raise AssertionError("PostgreSQL was asked")

        cast(Any, two.payins).create = unreachable
        async with two.client() as client:
            again = await client.post("/v1/payments", json=body(), headers=key("k"))
            assert again.status_code == 201, again.text
            assert again.content == first.content
            assert again.headers["location"] == first.headers["location"]
            assert again.headers["content-type"] == "application/json"
            assert again.headers["idempotent-replayed"] == "true"

    run(work())
    one.close()
    two.close()


@pytest.mark.parametrize(
    ("change", "status"),
    [({"amount_minor": 9000}, 422), ({}, 201)],
)
def test_another_request_is_judged_by_postgresql(change: dict[str, Any], status: int) -> None:
    redis = FakeRedis()
    world = ApiWorld(answers=cache_on(redis))

    async def work() -> None:
        async with world.client() as client:
            await client.post("/v1/payments", json=body(), headers=key("k"))
            answer = await client.post("/v1/payments", json=body(**change), headers=key("k"))
            assert answer.status_code == status, answer.text

    run(work())
    world.close()


def test_only_final_answers_are_kept() -> None:
    redis = FakeRedis()
    cache = cache_on(redis)
    world = ApiWorld(answers=cache)

    async def work() -> None:
        async with world.client() as client:
            await client.post("/v1/payments", json=body(currency="XXX"), headers=key("a"))
            await client.post(
                "/v1/payments", json=body(), headers={**key("b"), "Prefer": "respond-async"}
            )
            await cache.flush()
            found = len(redis.values)
            waiting = await client.post("/v1/payments", json=body(), headers=key("b"))
            assert waiting.status_code == 409
            await cache.flush()
            assert len(redis.values) == found
            await client.post("/v1/payments", json=body(payment_token="declined"), headers=key("c"))
            await cache.flush()
            assert len(redis.values) == found + 1

    run(work())
    world.close()


def test_redis_gives_no_role_what_it_may_not_have() -> None:
    redis = FakeRedis()
    with_redis = ApiWorld(answers=cache_on(redis))
    without = ApiWorld(with_redis.world)

    async def work() -> None:
        async with with_redis.client("service", "u-1") as client:
            first = await client.post("/v1/payments", json=body(), headers=key("k"))
            assert first.status_code == 201
        found = []
        for world in (with_redis, without):
            async with world.client("buyer", "u-1") as client:
                again = await client.post("/v1/payments", json=body(), headers=key("k"))
                found.append((again.status_code, again.json()["code"]))
        assert found == [(403, "forbidden")] * 2

    run(work())
    with_redis.close()
    without.close()


def test_all_preferences_are_part_of_the_question() -> None:
    redis = FakeRedis()
    with_redis = ApiWorld(answers=cache_on(redis))
    without = ApiWorld(with_redis.world)

    async def work() -> None:
        wait, both = [("Prefer", "wait=5")], [("Prefer", "wait=5"), ("Prefer", "respond-async")]
        given = [("Idempotency-Key", "k")]
        async with with_redis.client() as client:
            later = await client.post("/v1/payments", json=body(), headers=given + both)
            assert later.status_code == 202
        found = []
        for world in (with_redis, without):
            async with world.client() as client:
                answer = await client.post("/v1/payments", json=body(), headers=given + wait)
                found.append(answer.status_code)
        assert found == [409, 409]

    run(work())
    with_redis.close()
    without.close()
