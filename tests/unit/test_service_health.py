"""`/healthz` and `/readyz`: what decides, and what everybody is told."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from schemas.errors import ServiceUnavailable
from service import main
from service.health import Readiness
from stack.ports import lend_port
from tests.payins_world import World
from tests.service_world import SETTINGS, ApiWorld, public_keys
from writer.append import AsyncWriter


@pytest.fixture
def world() -> Iterator[ApiWorld]:
    made = ApiWorld()
    yield made
    made.close()


def get(world: ApiWorld, path: str, method: str = "GET") -> Any:
    async def once() -> Any:
        async with world.client("") as client:
            return await client.request(method, path)

    return asyncio.run(once())


async def well() -> None:
    """Nothing is wrong."""


async def sick() -> None:
    raise ServiceUnavailable(
        "ClickHouse at http://10.0.0.5:8123 refuses the login of purser_reader"
    )


def test_everybody_is_told_what_fails_but_not_where_it_is(world: ApiWorld) -> None:
    world.fastapi.state.readiness = Readiness({"postgres": well}, {"clickhouse": sick})
    answer = get(world, "/readyz")
    checks = {"postgres": "ok", "clickhouse": "failing"}
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "checks": checks})
    report = asyncio.run(world.fastapi.state.readiness.report())
    assert "10.0.0.5" in report["checks"]["clickhouse"]  # operators are


def test_what_is_needed_decides(world: ApiWorld) -> None:
    world.fastapi.state.readiness = Readiness({"postgres": sick}, {"clickhouse": well})
    answer = get(world, "/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert "10.0.0.5" not in answer.text


def test_a_process_that_stops_takes_no_payments(world: ApiWorld) -> None:
    world.fastapi.state.readiness = readiness = Readiness({"postgres": well}, {})
    readiness.stopping = True
    assert get(world, "/readyz").status_code == 503


@pytest.mark.parametrize("is_there", [True, False])
def test_ready_means_that_the_writer_gets_answers(
    is_there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists have connections of their own, which here have no server; payments do not need them."""
    store = World().store

    def down(_payment_ids: Any) -> Any:
        raise ServiceUnavailable("PostgreSQL does not answer")

    if not is_there:
        cast(Any, store).load_many = down

    @asynccontextmanager
    async def opened(_dsn: str) -> AsyncIterator[AsyncWriter]:
        writer = AsyncWriter(store, retry_seconds=0.1)
        yield writer
        writer.close()

    monkeypatch.setattr(main, "open_async_writer", opened)
    monkeypatch.setattr(main, "open_async_reader", opened)
    monkeypatch.setattr(main, "fetch_from", lambda _url: keys)
    monkeypatch.setenv("PURSER_STRIPE_API_KEY", "sk_test_1")
    monkeypatch.setenv("PURSER_STRIPE_WEBHOOK_SECRET", "whsec_1")
    settings = SETTINGS.model_copy(update={"worker_metrics_port": lend_port()})

    async def work() -> bool:
        async with AsyncExitStack() as stack:
            _, readiness = await main.open_app(settings, stack)
            return (await readiness.report())["status"] == "healthy"

    assert asyncio.run(work()) == is_there


async def keys() -> bytes:
    return json.dumps(public_keys()).encode()


def test_a_busy_process_is_not_a_dead_one() -> None:
    world = ApiWorld(settings=SETTINGS.model_copy(update={"requests_most": 0}))
    try:
        assert get(world, "/readyz").status_code == 503
        assert get(world, "/healthz").status_code == 200
    finally:
        world.close()


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/openapi.json", "/docs"])
def test_head_is_get_without_the_content(world: ApiWorld, path: str) -> None:
    head, whole = (get(world, path, method) for method in ("HEAD", "GET"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == whole.headers["content-length"]
