"""The worker's HTTP endpoints on 127.0.0.1: `/metrics` for Prometheus, `/health` for operators.

They deliberately run on the worker's event loop: if the loop hangs, they do not answer.
"""

from time import monotonic
from typing import Any, Protocol

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, generate_latest

from schemas.errors import ConfigurationError
from streams.views.health import Health

HOST = "127.0.0.1"
STOP_SECONDS = 0.5


class HealthMetrics(Protocol):
    """The metrics of any kind of worker."""

    registry: CollectorRegistry
    healthy: Gauge


class HealthServer:
    """Serves the health and the metrics until it is stopped."""

    def __init__(self, port: int, health: Health, metrics: HealthMetrics) -> None:
        self._port = port
        self._health = health
        self._metrics = metrics
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises ConfigurationError if the port cannot be used."""
        app = web.Application()
        app.add_routes([web.get("/health", self._answer_health), web.get("/metrics", self._answer)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as error:
            await self.stop()
            raise ConfigurationError(
                f"PURSER_WORKER_METRICS_PORT: {self._port} cannot be used ({error.strerror}); "
                "set it to a free port"
            ) from error

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _answer_health(self, _request: web.Request) -> web.Response:
        """Answer with the report: status 200 if healthy, 503 if not."""
        report: dict[str, Any] = self._health.report(monotonic())
        return web.json_response(report, status=200 if report["status"] == "healthy" else 503)

    async def _answer(self, _request: web.Request) -> web.Response:
        self._metrics.healthy.set(self._health.judge(monotonic()).healthy)
        return web.Response(
            body=generate_latest(self._metrics.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )
