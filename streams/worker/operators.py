"""The operators' port of a process, on 127.0.0.1 only: `/metrics` for Prometheus, `/health`.

It deliberately runs on the process's event loop: if the loop hangs, it does not answer.
"""

from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from schemas.errors import ConfigurationError

HOST = "127.0.0.1"
STOP_SECONDS = 0.5

Report = Callable[[], Awaitable[Mapping[str, object]]]
"""The body of `/health`; its `status` is `healthy` or `unhealthy`."""


class OperatorsPort:
    """Serves the health and the metrics until it is stopped."""

    def __init__(self, port: int, registry: CollectorRegistry, report: Report) -> None:
        self._port = port
        self._registry = registry
        self._report = report
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; raises ConfigurationError if the port cannot be used."""
        app = web.Application()
        app.add_routes([web.get("/health", self._health), web.get("/metrics", self._metrics)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, HOST, self._port).start()
        except OSError as error:
            await self.stop()
            raise port_taken(self._port, error) from error

    async def stop(self) -> None:
        """Stop listening."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _health(self, _request: web.Request) -> web.Response:
        """Answer with the report: status 200 if healthy, 503 if not."""
        report = await self._report()
        return web.json_response(report, status=200 if report["status"] == "healthy" else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )


def port_taken(port: int, error: OSError) -> ConfigurationError:
    """The error of a port that cannot be had; it says what to do."""
    return ConfigurationError(
        f"PURSER_WORKER_METRICS_PORT: {port} cannot be used ({error.strerror}); set it to a free"
        " port"
    )
