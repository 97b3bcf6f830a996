"""The operators' port, on 127.0.0.1 only: `/metrics` for Prometheus, `/health` with the reasons.

It runs on the API's event loop on purpose: if the loop hangs, it does not answer.
"""

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from schemas.errors import ConfigurationError
from service.health import Readiness
from service.metrics import ApiMetrics

HOST = "127.0.0.1"
STOP_SECONDS = 0.5


class OperatorsPort:
    """Serves until it is stopped."""

    def __init__(self, port: int, metrics: ApiMetrics, readiness: Readiness) -> None:
        self._port = port
        self._metrics = metrics
        self._readiness = readiness
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises ConfigurationError if the port cannot be used."""
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._answer)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as error:
            await self.stop()
            raise ConfigurationError(
                f"PURSER_WORKER_METRICS_PORT: {self._port} cannot be used ({error.strerror});"
                " set it to a free port"
            ) from error

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        ready, report = await self._readiness.report()
        return web.json_response(report, status=200 if ready else 503)

    async def _answer(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._metrics.registry),
            headers={"Content-Type": CONTENT_TYPE_LATEST},
        )
