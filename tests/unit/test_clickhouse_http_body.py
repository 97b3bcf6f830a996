"""The spool: complete or refused, in memory or in a nameless file."""

import asyncio
import resource
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from stack.clickhouse_http.blocks import BLOCK_BYTES, BlockDecoder, BlockEncoder
from stack.clickhouse_http.body import BodyReader, Spool
from stack.clickhouse_http.errors import ClickHouseError

MIB = 1 << 20


async def _fill(spool: Spool, pieces: list[bytes]) -> None:
    for piece in pieces:
        await spool.add(piece)
    await spool.complete()


@pytest.mark.parametrize("memory_bytes", [1, 10, 1000, 10 * MIB])
def test_bytes_come_out_as_they_went_in(tmp_path: Path, memory_bytes: int) -> None:
    pieces = [bytes([number % 256]) * (number * 7 % 400) for number in range(300)]
    spool = Spool(tmp_path, memory_bytes)
    asyncio.run(_fill(spool, pieces))
    assert b"".join(spool.chunks()) == b"".join(pieces)
    assert (spool.file is not None) == (memory_bytes < spool.size)
    assert list(tmp_path.iterdir()) == [], "a file with a name would outlive a crash"
    spool.close()


def test_small_bytes_of_a_file_format_go_to_the_file_when_asked(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10 * MIB)
    asyncio.run(spool.add(b"x" * 1000))
    spool.prefer_file(100)
    asyncio.run(spool.complete())
    assert spool.file is not None
    assert spool.file.read() == b"x" * 1000
    spool.close()


class WatchedDecoder(BlockDecoder):
    """Keeps the threads in which blocks are unpacked."""

    threads: list[bool]

    def unpack(self) -> bytes:
        self.threads.append(threading.current_thread() is threading.main_thread())
        return super().unpack()


def test_large_blocks_do_not_hold_up_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = bytes(BLOCK_BYTES + 100)
    usual = BlockEncoder().compress(plain)
    monkeypatch.setattr("stack.clickhouse_http.blocks.BLOCK_BYTES", 2 * BLOCK_BYTES)
    large = BlockEncoder("ZSTD").compress(plain)
    monkeypatch.undo()
    body = usual + large + usual

    async def stream() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    decoder = WatchedDecoder()
    decoder.threads = []
    reader = BodyReader(stream(), "", 60, decoder)
    assert asyncio.run(reader.take(1 << 30)) == plain * 3
    assert decoder.threads == [True, True, False, True, True]


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process may grow beyond 1 MiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files")
def test_write_that_fails_is_an_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    with pytest.raises(ClickHouseError, match="nothing was inserted"):
        asyncio.run(_fill(spool, [b"x" * (3 * MIB)]))
    spool.close()


def test_folder_that_is_gone_is_an_error(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "gone", 1)
    with pytest.raises(ClickHouseError, match="nothing was inserted"):
        asyncio.run(_fill(spool, [b"xx"]))
