"""Redis is lost, flushed and filled with lies in mid-load: nothing changes but speed."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import httpx
import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schemas.errors import ServiceUnavailable
from service.answer_cache import PREFIX
from stack.settings import HOST
from stack.topology import Port
from tests.integration.service.world import Client, RealApi, payment, real_api

pytestmark = pytest.mark.integration

PAYMENTS = 60
REPEATS = 3


@pytest.fixture(scope="module")
def api() -> Iterator[RealApi]:
    with real_api() as made:
        yield made


async def nothing(_api: RealApi, _redis: Redis) -> None:
    await asyncio.sleep(0.05)


async def flush(_api: RealApi, redis: Redis) -> None:
    await redis.flushall()


async def kill(api: RealApi, _redis: Redis) -> None:
    with suppress(ServiceUnavailable):  # it is being started again
        await asyncio.to_thread(api.stack.kill, "valkey")
    await asyncio.sleep(0.5)


async def swap(_api: RealApi, redis: Redis) -> None:
    """Every key gets another key's answer."""
    names = [name async for name in redis.scan_iter(f"{PREFIX}*")]
    values = [await redis.get(name) for name in names]
    for name, value in zip(names, values[1:] + values[:1], strict=True):
        if value is not None:
            await redis.set(name, value)


async def lie(_api: RealApi, redis: Redis) -> None:
    """Every key gets garbage, of other types too; quotas included."""
    async for name in redis.scan_iter("*"):
        await redis.delete(name)
        match random.randrange(3):
            case 0:
                await redis.set(name, b'201 {"id": "forged", "status": "captured"}')
            case 1:
                await redis.set(name, b"")
            case _:
                await redis.sadd(name, "a")


async def hang(_api: RealApi, redis: Any) -> None:
    """It answers nobody for a while."""
    await redis.client_pause(400)
    await asyncio.sleep(0.5)


@pytest.mark.parametrize("trouble", [nothing, flush, kill, swap, lie, hang])
def test_answers_are_the_same(
    api: RealApi, trouble: Callable[[RealApi, Any], Awaitable[None]]
) -> None:
    async def work(client: Client) -> list[str]:
        redis = Redis.from_url(api.stack.endpoints.redis_url, socket_timeout=5)
        done = asyncio.Event()

        async def make_trouble() -> None:
            while not done.is_set():
                try:
                    await trouble(api, redis)
                except OSError:
                    await asyncio.sleep(0.1)  # it is being started again
                except RedisError:
                    await asyncio.sleep(0.1)
                await asyncio.sleep(0.02)

        async def one(number: int) -> str:
            body, key = payment(), str(uuid4())
            answers = [
                await client.send("POST", "/v1/payments", key=key, json=body, process=n % 2)
                for n in range(number, number + 1 + REPEATS)
            ]
            assert {answer.status for answer in answers} == {201}, answers
            assert len({answer.body for answer in answers}) == 1
            other = await client.send(
                "POST", "/v1/payments", key=key, json=body | {"buyer_id": "other"}
            )
            assert (other.status, other.json["differing_fields"]) == (422, ["/buyer_id"])
            payment_id: str = answers[0].json["id"]
            return payment_id

        troubles = asyncio.create_task(make_trouble())
        made = []
        for begin in range(0, PAYMENTS, 10):
            made += await asyncio.gather(*map(one, range(begin, begin + 10)))
        done.set()
        await troubles
        await redis.aclose()
        return made

    made = api.run(work)
    assert len(set(made)) == PAYMENTS
    charges = Counter(charge["payment_id"] for charge in api.charges())
    assert {each: charges[each] for each in made} == dict.fromkeys(made, 1)


def answered_by_redis(api: RealApi) -> float:
    """How many repeated requests the first process has answered from Redis."""
    port = api.stack.settings.port(Port.API_METRICS)
    metrics = httpx.get(f"http://{HOST}:{port}/metrics").raise_for_status().text
    found = re.search(r'^purser_api_replays_total\{source="redis"\} (.+)$', metrics, re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_a_repeated_request_is_answered_by_redis(api: RealApi) -> None:
    """The second process has answered first, so the first one can only have it from Redis."""
    # A process that was killed again and again is started after ever longer pauses: not now.
    api.stack.stop("valkey")
    api.stack.start("valkey")
    api.stack.wait_ready("valkey")

    async def work(client: Client) -> None:
        key, body = str(uuid4()), payment()
        first = await client.send("POST", "/v1/payments", key=key, json=body, process=1)
        for _ in range(100):  # the API leaves Redis alone for a while after a failure
            again = await client.send("POST", "/v1/payments", key=key, json=body, process=1)
            before = answered_by_redis(api)
            other = await client.send("POST", "/v1/payments", key=key, json=body)
            assert (again.body, other.body) == (first.body, first.body)
            if answered_by_redis(api) > before:
                return
            await asyncio.sleep(0.1)
        raise AssertionError("Redis never answered a repeated request")

    api.run(work)
