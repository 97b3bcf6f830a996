"""HTTP for the simulators: reading bodies, answering JSON, and ending a connection unanswered."""

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from schemas.joined_writes import JoinedWrites

TRANSPORT = "simulator.transport"


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which also lets an application drop its connection."""

    def connection_made(self, transport: Any) -> None:
        """Begin a connection."""
        super().connection_made(JoinedWrites(transport, self.loop.call_soon))  # type: ignore[arg-type]

    def on_message_begin(self) -> None:
        """Begin a request; its scope names the connection."""
        super().on_message_begin()
        self.scope["extensions"] = {TRANSPORT: {"transport": self.transport}}


class ClientLeft(Exception):  # noqa: N818 - named for what happened
    """The client left before its request was whole: nobody knows what it asked for."""


async def body_of(receive: Any, bytes_most: int) -> bytes | None:
    """The body of a request; None if it is larger than allowed.

    Raises ClientLeft if it does not come to its end.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > bytes_most:
            return None
        more = message.get("more_body", False)
    return b"".join(parts)


async def send_json(send: Any, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    """Answer with JSON."""
    listed = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-cache, no-store"),
        *((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()),
    ]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body})


async def drop(scope: Any, receive: Any, seconds: float) -> None:
    """Let a connection hang for some seconds, or until the client leaves, and end it unanswered."""
    if seconds:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (await receive())["type"] != "http.disconnect":
                    pass
    transport = scope["extensions"][TRANSPORT]["transport"]
    transport.abort()
    # uvicorn answers 500 for an application that returns in silence, unless the client is gone.
    while (await receive())["type"] != "http.disconnect":
        pass
