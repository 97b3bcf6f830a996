"""Answers: streamed from the engine's pipe to the client, with ClickHouse's headers and errors.

An answer is held back until it is complete or exceeds a buffer, so that most errors still get their
HTTP status. A later error is written into the stream in ClickHouse's tagged form. The connection is
then cut deliberately, so that no client accepts a partial answer as complete.
"""

import asyncio
import json
import os
import secrets
import string
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Send

from stack.clickhouse_http.body import Spool
from stack.clickhouse_http.compression import AnswerEncoder
from stack.clickhouse_http.connection import Counts
from stack.clickhouse_http.errors import ClickHouseError

PIPE_BYTES: Final = 1 << 20
_MAX_TAGGED_TEXT_BYTES: Final = 15 * 1024
_QUICK_BYTES: Final = 64 * 1024
_PLAIN_STATUSES: Final = frozenset({401, 403})
Headers = list[tuple[bytes, bytes]]


class BrokenOffError(Exception):
    """The answer failed after its start was sent: the connection must be cut."""


def base_headers(query_id: str, of_format: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of every answer to a query, with those of its format."""
    return {
        "X-ClickHouse-Server-Display-Name": "purser",
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Timezone": "UTC",
        **of_format,
    }


def summary(counts: Counts) -> str:
    """Return the value of X-ClickHouse-Summary, with numbers as strings, as in ClickHouse."""
    return json.dumps(
        {
            "read_rows": str(counts.read_rows),
            "read_bytes": str(counts.read_bytes),
            "written_rows": str(counts.written_rows),
            "written_bytes": str(counts.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(counts.result_rows),
            "result_bytes": "0",
            "elapsed_ns": str(counts.elapsed_ns),
        },
        separators=(",", ":"),
    )


async def send_answer(send: Send, status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Send one complete answer; uvicorn leaves the body of an answer to HEAD out."""
    lines = _encode(headers)
    lines.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def send_error(
    send: Send, error: ClickHouseError, query_id: str, version: str, encoder: AnswerEncoder | None
) -> None:
    """Send an error that occurred before anything else was sent.

    It goes through `encoder` like the answer would, as in ClickHouse, except where drivers expect
    plain text whatever they asked for: where the status is 401 or 403.
    """
    headers = base_headers(query_id, {"Content-Type": "text/plain; charset=UTF-8"})
    headers["X-ClickHouse-Exception-Code"] = str(error.code)
    if error.http_status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="ClickHouse server HTTP API"'
    text = error_text(error, version)
    if encoder is not None and error.http_status not in _PLAIN_STATUSES:
        text = encoder.whole(text)
        headers |= encoder.headers
    await send_answer(send, error.http_status, headers, text)


def error_text(error: ClickHouseError, version: str) -> bytes:
    """Return an error's text with ClickHouse's ending: the version and a line break.

    Bytes that are not UTF-8 leave as they came from the engine.
    """
    text = error.text.rstrip()
    if "(version " not in text[-60:]:
        text = f"{text} (version {version})"
    return text.encode("utf-8", "surrogateescape") + b"\n"


def _encode(headers: Mapping[str, str]) -> Headers:
    return [
        (name.encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]


class Pipe:
    """The pipe between the engine, which writes in a thread, and the event loop, which reads."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        os.set_blocking(self.read_fd, False)
        self._loop = asyncio.get_running_loop()

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        while True:
            try:
                return os.read(self.read_fd, PIPE_BYTES)
            except BlockingIOError:
                await self._readable()

    async def _readable(self) -> None:
        ready = self._loop.create_future()
        self._loop.add_reader(self.read_fd, ready.set_result, None)
        try:
            await ready
        finally:
            self._loop.remove_reader(self.read_fd)

    def close_write(self) -> None:
        """Close the engine's end: the reader sees the end after draining the pipe."""
        os.close(self.write_fd)

    def close_read(self) -> None:
        os.close(self.read_fd)


class StreamedAnswer:
    """Sends the contents of a pipe while `query` (the engine's thread) fills it."""

    def __init__(
        self,
        *,
        pipe: Pipe,
        query: "asyncio.Future[Counts]",
        headers: dict[str, str],
        buffer: Spool,
        buffer_bytes: int | None,
        encoder: AnswerEncoder,
        progress: bool,
        on_disconnect: Callable[[], None],
        version: str,
        transfer_seconds: float,
    ) -> None:
        """`buffer_bytes` None holds the answer back until its end (wait_end_of_query).

        With `progress`, X-ClickHouse-Progress comes as well.
        """
        self._pipe = pipe
        self._query = query
        self._headers = headers
        self._buffer = buffer
        self._buffer_bytes = buffer_bytes
        self._encoder = encoder
        self._progress = progress
        self._on_disconnect = on_disconnect
        self._version = version
        self._transfer_seconds = transfer_seconds

    async def __call__(self, receive: Receive, send: Send) -> None:
        """Send the whole answer.

        Raises `ClickHouseError` while nothing has been sent, `BrokenOffError` afterwards.
        """
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            ended = await self._fill_buffer()
            if ended:
                await self._send_whole(send, await self._query)
            else:
                await self._send_stream(send)
        finally:
            watcher.cancel()

    async def _watch(self, receive: Receive) -> None:
        """Stop the statement if the client disconnects: nobody will read its answer."""
        while (await receive())["type"] != "http.disconnect":
            pass
        if not self._query.done():
            self._on_disconnect()

    async def _fill_buffer(self) -> bool:
        while chunk := await self._pipe.read():
            await self._buffer.add(chunk)
            if self._buffer_bytes is not None and self._buffer.size > self._buffer_bytes:
                return False
        return True

    def _count(self, counts: Counts) -> None:
        self._headers["X-ClickHouse-Summary"] = summary(counts)
        if self._progress:
            self._headers["X-ClickHouse-Progress"] = summary(counts)

    async def _send_whole(self, send: Send, counts: Counts) -> None:
        self._count(counts)
        await self._buffer.complete()
        if self._buffer.file is None:
            body = b"".join(self._buffer.chunks())
            if body:
                self._headers |= self._encoder.headers
            await send_answer(send, 200, self._headers, await _off_loop(self._encoder.whole, body))
            return
        await self._start(send)
        for chunk in self._buffer.chunks():
            await self._send_chunk(send, chunk)
        await self._end(send)

    async def _send_stream(self, send: Send) -> None:
        tag = "".join(secrets.choice(string.ascii_lowercase) for _ in range(16))
        self._headers["X-ClickHouse-Exception-Tag"] = tag
        self._count(Counts())
        await self._buffer.complete()
        await self._start(send)
        for chunk in self._buffer.chunks():
            await self._send_chunk(send, chunk)
        while chunk := await self._pipe.read():
            await self._send_chunk(send, chunk)
        try:
            await self._query
        except ClickHouseError as error:
            await self._send_chunk(send, tagged_error(error, tag, self._version))
            tail = self._encoder.flush()
            await send({"type": "http.response.body", "body": tail, "more_body": True})
            raise BrokenOffError from error
        await self._end(send)

    async def _start(self, send: Send) -> None:
        self._headers |= self._encoder.headers
        await send(
            {"type": "http.response.start", "status": 200, "headers": _encode(self._headers)}
        )

    async def _send_chunk(self, send: Send, chunk: bytes) -> None:
        chunk = await _off_loop(self._encoder.compress, chunk)
        if not chunk:
            return
        try:
            async with asyncio.timeout(self._transfer_seconds):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except TimeoutError as error:
            raise BrokenOffError("the client does not read") from error

    async def _end(self, send: Send) -> None:
        await send({"type": "http.response.body", "body": self._encoder.flush()})


async def _off_loop(encode: Callable[[bytes], bytes], data: bytes) -> bytes:
    """Compress in a thread what takes long: a client chooses the level, and nobody else waits."""
    if len(data) <= _QUICK_BYTES:
        return encode(data)
    return await asyncio.to_thread(encode, data)


def tagged_error(error: ClickHouseError, tag: str, version: str) -> bytes:
    """Return an error inside a stream, framed as in ClickHouse since 25.11, at most 16 KiB."""
    text = error_text(error, version)[:_MAX_TAGGED_TEXT_BYTES]
    marker = b"\r\n__exception__\r\n"
    name = tag.encode()
    return marker + name + b"\r\n" + text + str(len(text)).encode() + b" " + name + marker
