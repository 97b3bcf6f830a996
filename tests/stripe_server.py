"""A server on this machine that answers as a test says, and behaves badly where a test wants it."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

Writer = asyncio.StreamWriter
Behaviour = Callable[[Writer], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: its parameters are those of the query and of the form."""

    method: str
    path: str
    headers: dict[str, str]
    params: dict[str, str]


@dataclass(slots=True)
class Script:
    """Answers in order, the last one for ever; and what was asked."""

    answers: Sequence[Behaviour]
    asked: list[Asked] = field(default_factory=list)

    def next(self) -> Behaviour:
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


def answer(body: Any, status: int = 200, **headers: str) -> Behaviour:
    """Answer with JSON, or with text as it is."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()

    async def behave(writer: Writer) -> None:
        lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(content)}", "Request-Id: req_1"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + content)
        await writer.drain()

    return behave


def error(status: int, code: str | None = None, **fields: str) -> Behaviour:
    """Answer with an error object of Stripe's."""
    kind = fields.pop("type", "invalid_request_error")
    return answer({"error": {"type": kind, "message": "pm_secret", "code": code, **fields}}, status)


async def close_at_once(writer: Writer) -> None:
    """Close without a byte of an answer."""
    writer.close()


async def close_in_the_body(writer: Writer) -> None:
    """Promise more bytes than are sent."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.close()


async def hang(writer: Writer) -> None:
    """Never answer."""
    await asyncio.sleep(60)


async def hang_in_the_body(writer: Writer) -> None:
    """Begin to answer, and stop."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    await asyncio.sleep(60)


async def talk_nonsense(writer: Writer) -> None:
    """Answer in no HTTP."""
    writer.write(b"\x00\x01 SSH-2.0\r\n\r\n")
    await writer.drain()


class Server:
    """Listens on a port of its own inside a `with`."""

    def __init__(self, *answers: Behaviour, encryption: ssl.SSLContext | None = None) -> None:
        self.script = Script(answers)
        self._encryption = encryption

    @property
    def asked(self) -> list[Asked]:
        return self.script.asked

    async def __aenter__(self) -> "Server":
        self._connections: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, ssl=self._encryption
        )
        scheme = "https" if self._encryption else "http"
        self.url = f"{scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            while not writer.is_closing() and (asked := await _read(reader)) is not None:
                self.script.asked.append(asked)
                await self.script.next()(writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    method, target, _ = first.split(" ")
    address = urlsplit(target)
    params = dict(parse_qsl(address.query) + parse_qsl(body.decode()))
    return Asked(method, address.path, headers, params)
