"""The program of the simulators: `python -m simulators.main`.

One process, one thread, one file of books. PURSER_SIMULATOR_URL says where it listens,
PURSER_HOME where the books are (`simulator/stripe.sqlite3` in it).
"""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from schemas.errors import ConfigurationError
from schemas.runtime import entry_point
from simulators.clock import Clock, Tasks
from simulators.control import Control
from simulators.database import Database
from simulators.faults import Faults
from simulators.server import Protocol
from simulators.settings import SimulatorSettings
from simulators.stripe.application import Stripe, stripe
from simulators.stripe.books import Books

BACKLOG = 2048
STOP_SECONDS = 2
KEEP_ALIVE_SECONDS = 75
API = "/v1/"


class Application:
    """The API of Stripe straight to its ASGI application, all other paths to Starlette."""

    def __init__(self, api: Any, rest: Starlette) -> None:
        self._api = api
        self._rest = rest

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"].startswith(API):
            await self._api(scope, receive, send)
        else:
            await self._rest(scope, receive, send)


def application(database: Database, settings: SimulatorSettings) -> Application:
    """Everything that the program serves, on its books."""
    clock = Clock(database)
    faults = Faults()
    with database.transaction():
        tasks = Tasks(database)
    simulator = stripe(settings, database, clock, tasks, faults)

    async def advance(seconds: float) -> None:
        await simulator.work.advance(seconds)
        simulator.deliverer.wake()

    control = Control(database, clock, faults, advance)
    books = Books(simulator.account)

    async def health(_request: Request) -> JSONResponse:
        reasons = simulator.reasons()
        answer = {
            "status": "unhealthy" if reasons else "healthy",
            "reasons": reasons,
            "webhooks_waiting": simulator.account.events.waiting(),
            "clock_ahead_seconds": round(clock.offset_seconds, 3),
        }
        return JSONResponse(answer, status_code=503 if reasons else 200)

    rest = Starlette(
        routes=[
            Route("/health", health),
            *control.routes(),
            *books.routes(),
            *simulator.routes(),
        ],
        lifespan=_lifespan(simulator),
    )
    return Application(simulator.api, rest)


def _lifespan(simulator: Stripe) -> Any:
    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        simulator.start()
        yield
        await simulator.stop()

    return lifespan


def listen(settings: SimulatorSettings) -> socket.socket:
    """Take the port; raises ConfigurationError if it cannot be had."""
    address = (settings.simulator_listen_host, settings.port)
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"PURSER_SIMULATOR_URL: cannot listen on {address[0]}:{address[1]}"
            f" ({error.strerror}); set it to a free port"
        ) from error
    return listener


@entry_point
def main() -> NoReturn:
    """Run until told to stop."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    settings = SimulatorSettings.load()
    if settings.simulator_webhook_url is not None and not settings.webhook_secrets:
        raise ConfigurationError(
            "PURSER_STRIPE_WEBHOOK_SECRET: is missing, and PURSER_SIMULATOR_WEBHOOK_URL needs it;"
            " set it to a secret such as whsec_…"
        )
    database = Database(settings.folder / "stripe.sqlite3")
    try:
        listener = listen(settings)
        configuration = uvicorn.Config(
            application(database, settings),
            http=Protocol,
            loop="uvloop",
            lifespan="on",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        uvicorn.Server(configuration).run(sockets=[listener])
    finally:
        database.close()
    raise SystemExit(0)


if __name__ == "__main__":
    main()
