"""The frame around every request: its id, its limits, its log line, and the last resort.

Pure ASGI and the outermost layer: nothing that happens below leaves without an answer, and no
answer without X-Request-Id. Limits: the size of the body, also of one without Content-Length, and
the time in which it must arrive.
"""

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from schemas.unexpected import report
from service.facts import NO_ROUTE, SCOPE, RequestFacts, new_request_id, request_id_now
from service.metrics import ApiMetrics
from service.problems import MEDIA_TYPE, Problem, defect, unavailable

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ALIVE_PATH = "/healthz"
"""Answered even if too many requests are under way."""
_REQUEST_ID = re.compile(rb"[!-~]{1,128}")
FIXED_HEADERS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]

_log = logging.getLogger("purser.api.requests")


class Frame:
    """ASGI: the application in its frame."""

    def __init__(
        self,
        app: App,
        metrics: ApiMetrics,
        *,
        body_bytes_most: int,
        body_seconds: float,
        requests_most: int,
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._body_bytes_most = body_bytes_most
        self._body_seconds = body_seconds
        self._requests_most = requests_most
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        exchange = Exchange(scope, send)
        request_id_now.set(exchange.facts.request_id)
        began = time.perf_counter()
        self._metrics.in_flight.inc()
        self._requests += 1
        try:
            exchange.check_request_id()
            # A process that is busy is not dead, and nobody shall end it for that.
            if self._requests > self._requests_most and scope["path"] != ALIVE_PATH:
                raise unavailable("too many requests are being worked on; repeat this one")
            body = LimitedBody(
                exchange, receive, bytes_most=self._body_bytes_most, seconds=self._body_seconds
            )
            if scope["method"] == "HEAD":  # the server leaves the content out
                scope = {**scope, "method": "GET"}
            await self._app(scope, body.receive, exchange.send)
        except Problem as problem:
            await exchange.answer(problem)
        except ClientGone:
            pass
        except Exception as error:  # noqa: BLE001 - the last resort; the file has all of it
            await exchange.unexpected(error)
        finally:
            self._metrics.in_flight.dec()
            self._requests -= 1
            self._finished(exchange, time.perf_counter() - began)

    def refused(self, status: int, request_id: str) -> None:
        """Count and log an answer to what was no request; see `service.protocol`."""
        self._metrics.refused(status)
        before = request_id_now.set(request_id)
        try:
            _log.info("request", extra={"route": NO_ROUTE, "status": status})
        finally:
            request_id_now.reset(before)

    def _finished(self, exchange: "Exchange", seconds: float) -> None:
        facts = exchange.facts
        self._metrics.finished(facts.route, exchange.status, seconds)
        if _log.isEnabledFor(logging.INFO):
            roles = "+".join(sorted(facts.caller.roles)) if facts.caller is not None else None
            _log.info(
                "request",
                extra={
                    "method": exchange.scope["method"],
                    "route": facts.route,
                    "status": exchange.status or None,
                    "milliseconds": round(seconds * 1000, 1),
                    "role": roles,
                    "replayed": facts.replayed or None,
                },
            )


class ClientGone(Exception):  # noqa: N818 - what happened, and nobody's error
    """The client closed the connection before its request was complete."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self.scope = scope
        self._send = send
        self.status = 0
        """That of the answer; 0 until it begins, and for ever if the client has left."""
        self.client_left = False
        given = [value for name, value in scope["headers"] if name == b"x-request-id"]
        self._well_formed = not given or (
            len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) is not None
        )
        is_given = bool(given) and self._well_formed
        self.facts = RequestFacts(
            given[0].decode("ascii") if is_given else new_request_id(), not is_given
        )
        scope[SCOPE] = self.facts

    def check_request_id(self) -> None:
        """Refuse an id that would forge a log line."""
        if not self._well_formed:
            raise Problem(
                "request_id_malformed",
                "X-Request-Id has other than 1 to 128 printable ASCII characters without spaces",
            )

    async def send(self, message: Message) -> None:
        """Send a part of the answer; its head gets the headers that every answer has."""
        if self.client_left:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            facts = self.facts
            message["headers"] = [
                *message.get("headers", ()),
                (b"x-request-id", facts.request_id.encode("ascii")),
                *FIXED_HEADERS,
                *facts.headers,
            ]
        await self._send(message)

    async def answer(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun."""
        if self.status:
            return
        body = problem.body(self.facts.request_id)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body))]
        headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in (problem.headers or {}).items()
        ]
        await self.send(
            {"type": "http.response.start", "status": problem.status_code, "headers": headers}
        )
        await self.send({"type": "http.response.body", "body": body})

    async def unexpected(self, error: Exception) -> None:
        """Answer a defect of ours with 500; a file has its details, the answer has none."""
        _log.error("%s", await asyncio.to_thread(report, error))
        await self.answer(defect())


class LimitedBody:
    """The request's body as it arrives, within its limits."""

    def __init__(
        self, exchange: Exchange, receive: Receive, *, bytes_most: int, seconds: float
    ) -> None:
        self._exchange = exchange
        self._receive = receive
        self._bytes_most = bytes_most
        self._seconds = seconds
        # One deadline for all parts: a client that sends a byte now and then gains nothing.
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._bytes = 0
        self._complete = False
        for name, value in exchange.scope["headers"]:
            if name == b"content-length" and int(value) > bytes_most:
                raise self._too_large()

    async def receive(self) -> Message:
        """The next part.

        Raises:
            Problem: the body is too large, or did not arrive in time.
            ClientGone: the connection is closed, and the body incomplete.
        """
        if self._complete:  # what comes now is the client leaving
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError:
            raise Problem(
                "request_timeout",
                f"the body did not arrive within {self._seconds:g} s",
                headers={"Connection": "close"},
            ) from None
        if message["type"] == "http.disconnect":
            self._exchange.client_left = True
            raise ClientGone
        self._bytes += len(message.get("body", b""))
        if self._bytes > self._bytes_most:
            raise self._too_large()
        self._complete = not message.get("more_body", False)
        return message

    def _too_large(self) -> Problem:
        return Problem(
            "body_too_large",
            f"the body has more than {self._bytes_most} bytes; send less",
            headers={"Connection": "close"},
        )
