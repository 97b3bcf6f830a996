"""The operators' port of every process: the report as `/health`, the registry as `/metrics`."""

import asyncio
import socket
from collections.abc import Mapping

import aiohttp
import pytest
from prometheus_client import CollectorRegistry, Gauge

from schemas.errors import ConfigurationError
from streams.worker.operators import HOST, OperatorsPort


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    Gauge("purser_test_healthy", "1 if healthy else 0.", registry=made).set(1)
    return made


@pytest.mark.parametrize(("status", "answer"), [("healthy", 200), ("unhealthy", 503)])
def test_health_and_metrics_are_answered_until_it_is_stopped(status: str, answer: int) -> None:
    async def report() -> Mapping[str, object]:
        return {"status": status, "reasons": []}

    async def ask() -> None:
        with socket.socket() as free:
            free.bind((HOST, 0))
            port = free.getsockname()[1]
        operators = OperatorsPort(port, registry(), report)
        await operators.start()
        async with aiohttp.ClientSession(f"http://{HOST}:{port}") as client:
            async with client.get("/health") as health:
                assert health.status == answer
                assert await health.json() == {"status": status, "reasons": []}
            async with client.get("/metrics") as metrics:
                assert metrics.headers["Content-Type"].startswith("text/plain; version=")
                assert "purser_test_healthy 1.0" in await metrics.text()
            await operators.stop()
            with pytest.raises(aiohttp.ClientConnectionError):
                await client.get("/health")

    asyncio.run(ask())


def test_a_port_that_is_taken_is_named() -> None:
    async def report() -> Mapping[str, object]:
        return {"status": "healthy"}

    async def start() -> None:
        with socket.socket() as taken:
            taken.bind((HOST, 0))
            taken.listen()
            operators = OperatorsPort(taken.getsockname()[1], registry(), report)
            await operators.start()

    with pytest.raises(ConfigurationError, match=r"^PURSER_WORKER_METRICS_PORT: \d+ cannot be us"):
        asyncio.run(start())
