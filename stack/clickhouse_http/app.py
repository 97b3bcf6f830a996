"""The routes: `/` for queries, `/ping` and `/replicas_status` for health, `/play` for a browser."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stack.clickhouse_http.compression import AnswerEncoder
from stack.clickhouse_http.engine import Engine
from stack.clickhouse_http.errors import ClickHouseError, Code, refusal
from stack.clickhouse_http.handler import Handler
from stack.clickhouse_http.request import answer_options
from stack.clickhouse_http.results import BrokenOffError, send_error
from stack.clickhouse_http.settings import ServerSettings

logger = logging.getLogger(__name__)
_METHODS: Final = ("GET", "HEAD", "POST")
_ALLOW: Final = ", ".join((*_METHODS, "OPTIONS"))
_PREFLIGHT_SECONDS: Final = 86_400
MAX_DRAINED_BYTES: Final = 16 << 20


class QueryEndpoint:
    """`/`: runs the query of a request, or answers Ok if there is none."""

    def __init__(self, handler: Handler, engine: Engine) -> None:
        self._handler = handler
        self._engine = engine

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        if request.method in ("GET", "HEAD") and "query" not in request.query_params:
            await PlainTextResponse("Ok.\n")(scope, receive, send)
            return
        if request.method == "OPTIONS":
            await Response(status_code=204, headers={"Allow": _ALLOW})(scope, receive, send)
            return
        query_id = ""
        encoder: AnswerEncoder | None = None
        try:
            if request.method not in _METHODS:
                raise refusal(Code.NOT_IMPLEMENTED, f"Method {request.method} is not supported.")
            answer = answer_options(request.query_params)
            encoder = AnswerEncoder(answer)
            user, asked = self._handler.read(request, answer)
            query_id = asked.query_id
            await self._handler.run(request, user, asked, receive, send)
        except ClickHouseError as error:
            await _drain(request)
            await send_error(send, error, query_id, self._engine.version, encoder)
        except ClientDisconnect:
            logger.info("query %s: the client went away before its body was complete", query_id)
        except BrokenOffError as error:
            # Returning without the last chunk makes uvicorn cut the connection, as intended.
            logger.warning("query %s: failed within its answer: %s", query_id, error.__cause__)


async def _drain(request: Request) -> None:
    """Read what the client is still sending; otherwise it might never read the error."""
    seen = 0
    try:
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > MAX_DRAINED_BYTES:
                return
    except (ClientDisconnect, RuntimeError):  # the client is gone, or the body was read already
        return


async def _ok(request: Request) -> Response:
    return PlainTextResponse("Ok.\n")


async def _play(request: Request) -> Response:
    page = files(__package__).joinpath("play.html").read_text("utf-8")
    return HTMLResponse(page, headers={"Content-Security-Policy": "frame-ancestors 'none'"})


async def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse(
        f"There is no handle {request.url.path}\n\nUse / or /ping for health checks,"
        " / with ?query= for queries, /play for a page to type them in. A database is no part of"
        " the path: name it in ?database= or in the statement.\n",
        status_code=404,
    )


def build_app(settings: ServerSettings) -> Starlette:
    """Return the ASGI application; the engine starts and stops with its lifespan.

    `app.state.engine` is already open on return, so that a failing start is an error of the command
    line and not of a worker.
    """
    engine = Engine(settings)
    engine.open()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        handler = Handler(settings, engine)
        app.router.routes.insert(0, Route("/", QueryEndpoint(handler, engine)))
        app.router.routes.insert(1, Route("/query", QueryEndpoint(handler, engine)))
        yield
        await handler.close()
        engine.close()

    return Starlette(
        routes=[
            Route("/ping", _ok),
            Route("/replicas_status", _ok),
            Route("/play", _play),
        ],
        exception_handlers={404: _not_found},
        # As ClickHouse's own configuration has it: any page may ask, with a password of its own.
        middleware=[
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=[*_METHODS],
                allow_headers=["*"],
                expose_headers=["*"],
                max_age=_PREFLIGHT_SECONDS,
            )
        ],
        lifespan=lifespan,
    )
