"""uvicorn's HTTP protocol with limits that it lacks: time and size of a request's headers.

A client that connects and says nothing, or a header now and then, would hold a connection for ever.
What is said to it is no answer to an earlier request: while one is worked on, nothing is said.

A request that would rather be of another protocol (Upgrade) is served as it is, as RFC 9110, 7.8
allows. Java's client begins with such a request, and the parser would leave its body unread.
"""

from asyncio import TimerHandle
from collections.abc import Callable
from typing import Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.joined_writes import JoinedWrites
from service.facts import new_request_id
from service.frame import FIXED_HEADERS
from service.problems import MEDIA_TYPE, PROBLEMS, Problem

HEADERS_BYTES_MOST = 32 * 1024
Refused = Callable[[int, str], None]
"""Is told the status and the request's id of what was no request."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection; a subclass sets `headers_seconds` and `refused`."""

    headers_seconds: float
    refused: Refused

    _timer: TimerHandle | None = None
    _messages = 0
    _header_bytes = 0
    _problem = "invalid_http"
    _reads_headers = True

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport, self.loop.call_soon))  # type: ignore[arg-type]
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers_are_here()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        before = self._messages
        self._unset_keepalive_if_required()
        try:
            self._parse(data)
        except HttpParserError:
            self._end(self._problem)
        if not self._reads_headers or self.transport.is_closing():
            return
        # What came together with the end of an earlier request is not counted: only the next read.
        if self._messages == before or before == 0:
            self._header_bytes += len(data)
        if self._header_bytes > HEADERS_BYTES_MOST:
            self._end("headers_too_large")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._messages += 1
        self._expect_headers()

    def on_headers_complete(self) -> None:
        self._headers_are_here()
        if sum(len(name) + len(value) for name, value in self.headers) > HEADERS_BYTES_MOST:
            self._problem = "headers_too_large"
            raise ValueError  # the parser ends, with an error of its own
        if self.parser.get_method() == b"CONNECT":  # what follows is of whatever protocol
            raise ValueError
        if not self.parser.should_upgrade():
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        """Read requests. One with Upgrade is read again without that header, before its body."""
        while data:
            try:
                self.parser.feed_data(data)
            except HttpParserUpgrade as upgrade:
                # The parser ended at the headers' end; after `Connection: close` it reads no more.
                data = self._head_without_upgrade() + data[upgrade.args[0] :]
                self.parser = HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        """The request line and the headers that were just read, but for Upgrade."""
        version = self.parser.get_http_version().encode()
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _expect_headers(self) -> None:
        self._reads_headers, self._header_bytes = True, 0
        if self._timer is None:
            self._timer = self.loop.call_later(self.headers_seconds, self._too_late)

    def _headers_are_here(self) -> None:
        self._reads_headers = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._end("request_timeout")

    def _end(self, code: str) -> None:
        """Answer with a problem and close: what follows on this connection is unknown."""
        if not self._is_working():
            request_id = new_request_id()
            self.transport.write(_answer(code, request_id))
            self.refused(PROBLEMS[code].status, request_id)
        self.transport.close()

    def _is_working(self) -> bool:
        """Whether the client would take an answer for that to a request that is being done.

        A request whose body is incomplete is not done, and is not begun by any handler.
        """
        cycle = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        return bool(self.pipeline) or cycle.response_started or not cycle.more_body


def _answer(code: str, request_id: str) -> bytes:
    body = Problem(code, PROBLEMS[code].remedy).body(request_id)
    head = [
        f"HTTP/1.1 {PROBLEMS[code].status} {PROBLEMS[code].title}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(body)}",
        f"x-request-id: {request_id}",
        *(f"{name.decode()}: {value.decode()}" for name, value in FIXED_HEADERS),
        "connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode("ascii") + body


def guarded_protocol(headers_seconds: float, refused: Refused) -> type[GuardedProtocol]:
    """The protocol with this time limit; uvicorn takes a class."""
    own = {"headers_seconds": headers_seconds, "refused": staticmethod(refused)}
    return type("GuardedProtocol", (GuardedProtocol,), own)
