"""Puts the application together: routes, problems, and the parts of one process."""

import logging
import re
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from schemas.errors import PurserError, ServiceUnavailable
from service import documents, health, shown, webhooks
from service.answers import JSON
from service.facts import SCOPE
from service.frame import ALIVE_PATH, Frame, Receive, Scope, Send
from service.gate import Gate
from service.health import Readiness
from service.parts import Parts
from service.problems import MEDIA_TYPE, Problem, defect, unavailable
from service.routes import ROUTES
from service.settings import ServiceSettings
from service.validation import of_http_exception, of_validation

_log = logging.getLogger("purser.api")

_OF_A_PARTY = re.compile(r"\{((?:buyer|seller|user)_id)\}")
"""Ids that clients make, in a path. They may have a slash, which a server sees unescaped."""
WEBHOOKS_PATH = "/webhooks/stripe"
HANDLED = (Problem, RequestValidationError, PurserError)
"""What handlers raise deliberately."""


def make_app(
    settings: ServiceSettings,
    gate: Gate,
    parts: Parts,
    readiness: Readiness,
    keys_document: bytes | None = None,
) -> tuple[FastAPI, Frame]:
    """The FastAPI application, and the same in its frame, which is what serves."""
    app = new_application()
    app.state.gate, app.state.parts, app.state.readiness = gate, parts, readiness
    app.state.keys_document = keys_document
    framed = Frame(
        WebhooksFirst(app),
        parts.metrics,
        body_bytes_most=settings.body_bytes_most,
        body_seconds=settings.body_seconds,
        requests_most=settings.requests_most,
    )
    return app, framed


class WebhooksFirst:
    """ASGI: answers webhooks, and leaves all other requests to the application.

    At the peak rate every second request is a webhook. The application's layers would cost as much
    as its work.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["path"] != WEBHOOKS_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        scope["app"] = self._app
        request = Request(scope, receive)
        try:
            response = await webhooks.stripe_webhook(request)
        except HANDLED as error:
            response = await answer_error(request, error)
        await response(scope, receive, send)


def new_application() -> FastAPI:
    """All routes, without the parts that answer."""
    app = FastAPI(
        title="Purser",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Looking for somebody who listens costs each request more than our own metrics do.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    for handled in (*HANDLED, HTTPException):
        app.add_exception_handler(handled, answer_error)
    # Starlette raises the error again after this answer, so the frame sees and reports it.
    app.add_exception_handler(Exception, answer_defect)
    _add_operations(app)
    _add_others(app)
    documents.add_pages(app)
    return app


def _add_operations(app: FastAPI) -> None:
    for route in ROUTES:
        app.router.add_api_route(
            _OF_A_PARTY.sub(r"{\1:path}", route.path),
            route.handler,
            methods=[route.method],
            operation_id=route.operation.value,
            tags=[route.tag],
            status_code=min(route.answers),
            responses={status: {"model": answer.model} for status, answer in route.answers.items()},
            response_class=Response,
            route_class_override=route.kind,
        )


def _add_others(app: FastAPI) -> None:
    """Routes that need no token."""
    ok: dict[int | str, dict[str, Any]] = {200: {"model": shown.Status}}
    sick: dict[int | str, dict[str, Any]] = {503: {"model": shown.Status}}
    app.router.add_api_route(
        ALIVE_PATH, health.healthz, tags=["operation"], responses=ok, operation_id="healthz"
    )
    app.router.add_api_route(
        "/readyz", health.readyz, tags=["operation"], responses=ok | sick, operation_id="readyz"
    )
    problem = {"content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemShown"}}}}
    statuses = (400, 408, 413, 500, 503)
    app.router.add_api_route(  # for the document, and for other methods: see `WebhooksFirst`
        WEBHOOKS_PATH,
        webhooks.stripe_webhook,
        methods=["POST"],
        tags=["webhooks"],
        operation_id="stripe_webhook",
        responses={
            200: {"model": shown.Nothing},
            **{status: {"description": "a problem", **problem} for status in statuses},
        },
        openapi_extra={
            "requestBody": {"content": {JSON: {"schema": {"type": "object"}}}, "required": True},
            "parameters": [
                {
                    "name": "Stripe-Signature",
                    "in": "header",
                    "required": True,
                    "schema": {"type": "string"},
                }
            ],
        },
    )


async def answer_error(request: Request, error: Exception) -> Response:
    """The answer to whatever a handler raised deliberately."""
    problem = problem_of(error)
    headers = dict(problem.headers or {})
    if problem.status_code == 405:
        headers["Allow"] = _allowed(request)
    request_id = request.scope[SCOPE].request_id
    return Response(
        problem.body(request_id),
        problem.status_code,
        headers=headers,
        media_type=MEDIA_TYPE,
    )


def _allowed(request: Request) -> str:
    """All methods of the path: Starlette names only those of the first route that has it."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= route.methods
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


async def answer_defect(request: Request, _error: Exception) -> Response:
    """The answer to a defect of ours."""
    return await answer_error(request, defect())


def problem_of(error: Exception) -> Problem:
    """The problem of an error; raises it again if it is none of those that clients are told."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return of_validation(error)
        case HTTPException():
            return of_http_exception(error)
        case ServiceUnavailable():
            # Its text names servers, which is nobody's business outside.
            _log.warning("%s", error)
            return unavailable("something that this needs does not answer; repeat the request")
        case PurserError():
            # It would come again each time until somebody mends it.
            _log.error("%s", error)
            return defect()
    raise error
