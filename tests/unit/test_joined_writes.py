"""Writes of one turn of the loop reach the transport together, and none is lost."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httpx
import uvicorn

from schemas.joined_writes import JoinedWrites
from service.protocol import guarded_protocol


class Transport:
    """Remembers what was done to it."""

    def __init__(self) -> None:
        self.done: list[bytes | str] = []

    def write(self, data: bytes) -> None:
        self.done.append(data)

    def close(self) -> None:
        self.done.append("closed")

    def is_closing(self) -> bool:
        return "closed" in self.done


def done_by(work: Callable[[JoinedWrites], Any]) -> list[bytes | str]:
    """What reaches the transport of what is done in one turn, and in the next."""

    async def run() -> list[bytes | str]:
        transport = Transport()
        work(JoinedWrites(transport, asyncio.get_running_loop().call_soon))
        await asyncio.sleep(0)
        return transport.done

    return asyncio.run(run())


def test_writes_of_one_turn_are_one() -> None:
    def work(joined: JoinedWrites) -> None:
        joined.write(b"head")
        joined.write(b"body")

    assert done_by(work) == [b"headbody"]


def test_what_was_written_is_sent_before_the_end() -> None:
    def work(joined: JoinedWrites) -> None:
        joined.write(b"head")
        joined.write(b"body")
        assert not joined.is_closing()
        joined.close()
        assert joined.is_closing()

    assert done_by(work) == [b"headbody", "closed"]
    assert done_by(lambda joined: joined.close()) == ["closed"]


def test_writes_of_two_turns_are_two() -> None:
    async def run() -> list[bytes | str]:
        transport = Transport()
        joined = JoinedWrites(transport, asyncio.get_running_loop().call_soon)
        for part in (b"1", b"2"):
            joined.write(part)
            await asyncio.sleep(0)
        return transport.done

    assert asyncio.run(run()) == [b"1", b"2"]


class Started(uvicorn.Server):
    """Tells when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_started = asyncio.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_started.set()


def test_uvicorn_answers_in_one_write() -> None:
    """Also what is long or comes in parts, on a connection that is used again."""
    written: list[int] = []

    class Counting(JoinedWrites):
        def _flush(self) -> None:
            if self._kept:
                written.append(len(self._kept))
            super()._flush()

    async def application(scope: Any, _receive: Any, send: Any) -> None:
        body = b"x" * int(scope["path"].strip("/"))
        head = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:]})

    async def run() -> None:
        protocol = guarded_protocol(5.0, lambda *_: None)

        class Watched(cast(Any, protocol)):  # type: ignore[misc]
            def connection_made(self, transport: Any) -> None:
                super().connection_made(transport)
                assert isinstance(self.transport, JoinedWrites)
                self.transport.__class__ = Counting

        config = uvicorn.Config(
            application, port=0, http=Watched, log_config=None, lifespan="off", access_log=False
        )
        server = Started(config)
        serving = asyncio.create_task(server.serve())
        await server.is_started.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            for length in (10, 1_000, 3_000_000):
                answer = await client.get(f"/{length}")
                assert len(answer.content) == length
        server.should_exit = True
        await serving

    asyncio.run(run())
    assert written == [3, 3, 3]
