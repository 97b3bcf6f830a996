"""Request bodies: decompressed, complete before anything is inserted, in bounded memory.

An INSERT starts only after its last byte has arrived and the body has proved complete. Data that
does not fit into memory is kept in an unnamed file, which disappears with the process, whatever
ends it.
"""

import asyncio
import errno
import tempfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final

from stack.clickhouse_http.blocks import BlockDecoder
from stack.clickhouse_http.compression import Decoder
from stack.clickhouse_http.errors import ClickHouseError, Code, refusal

_FILE_WRITE_BYTES: Final = 1 << 20
_UNPACKER: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="unpack")
"""One thread, so that large blocks take their memory one after the other."""


class BodyReader:
    """Decompresses a body as it arrives: `take` reads the first part, `rest` the remainder."""

    def __init__(
        self,
        stream: AsyncIterator[bytes],
        encoding: str,
        transfer_seconds: float,
        blocks: BlockDecoder | None = None,
    ) -> None:
        """`transfer_seconds` is how long a client may send nothing before the request fails.

        `blocks` decodes what is within the encoding, if it comes in ClickHouse's own blocks.
        """
        self._stream = stream
        self._transfer_seconds = transfer_seconds
        self._decoder = Decoder(encoding)
        self._blocks = blocks
        self._plain = self._read()

    async def _read(self) -> AsyncIterator[bytes]:
        while chunk := await self._receive():
            for plain in self._decoder.feed(chunk):
                if self._blocks is None:
                    yield plain
                    continue
                self._blocks.hold(plain)
                while self._blocks.has_block:
                    yield await _unpacked(self._blocks)
        self._decoder.finish()
        if self._blocks is not None:
            self._blocks.finish()

    async def _receive(self) -> bytes:
        """Return the next received bytes; empty at the end."""
        try:
            async with asyncio.timeout(self._transfer_seconds):
                async for chunk in self._stream:
                    if chunk:
                        return chunk
        except TimeoutError:
            raise refusal(
                Code.SOCKET_TIMEOUT,
                f"The client sent nothing for {self._transfer_seconds:g} seconds.",
            ) from None
        return b""

    async def take(self, wanted_bytes: int) -> bytes:
        """Return at least `wanted_bytes` from the front, or the whole body if it is shorter."""
        parts: list[bytes] = []
        size = 0
        async for plain in self._plain:
            parts.append(plain)
            size += len(plain)
            if size >= wanted_bytes:
                break
        return b"".join(parts)

    def rest(self) -> AsyncIterator[bytes]:
        """Return what `take` left."""
        return self._plain


async def _unpacked(blocks: BlockDecoder) -> bytes:
    """The next block. A large one takes long, so the event loop does not wait for it."""
    if not blocks.is_large:
        return blocks.unpack()
    return await asyncio.get_running_loop().run_in_executor(_UNPACKER, blocks.unpack)


class Spool:
    """Keeps bytes until they are complete: up to `memory_bytes` in memory, then in a file."""

    def __init__(self, folder: Path, memory_bytes: int) -> None:
        self._folder = folder
        self._memory_bytes = memory_bytes
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._file: IO[bytes] | None = None
        self.size = 0

    async def add(self, chunk: bytes) -> None:
        """Keep `chunk`; raises 243 if the disk is full."""
        self._parts.append(chunk)
        self._held_bytes += len(chunk)
        self.size += len(chunk)
        limit = self._memory_bytes if self._file is None else _FILE_WRITE_BYTES
        if self._held_bytes > limit:
            await asyncio.to_thread(self._flush)

    def prefer_file(self, memory_bytes: int) -> None:
        """From now on, keep at most `memory_bytes` in memory."""
        self._memory_bytes = min(self._memory_bytes, memory_bytes)

    async def complete(self) -> None:
        """Mark the data as complete."""
        if self._file is not None or self._held_bytes > self._memory_bytes:
            await asyncio.to_thread(self._flush)

    def _flush(self) -> None:
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - lives on
            self._file.writelines(self._parts)
            self._file.flush()
        except OSError as error:
            raise _disk_error(error) from None
        self._parts, self._held_bytes = [], 0

    @property
    def file(self) -> IO[bytes] | None:
        """The rewound file, if the bytes did not fit into memory."""
        if self._file is not None:
            self._file.seek(0)
        return self._file

    def chunks(self) -> Iterator[bytes]:
        """Yield all bytes, in pieces of bounded size."""
        if self._file is None:
            yield b"".join(self._parts)
            return
        self._file.seek(0)
        while chunk := self._file.read(_FILE_WRITE_BYTES):
            yield chunk

    def close(self) -> None:
        """Drop all data."""
        self._parts = []
        if self._file is not None:
            self._file.close()
            self._file = None


def _disk_error(error: OSError) -> ClickHouseError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return refusal(
            Code.NOT_ENOUGH_SPACE,
            "No space left on the server's disk for the incoming data; nothing was inserted.",
        )
    return refusal(
        Code.CANNOT_WRITE_TO_FILE_DESCRIPTOR,
        f"The server cannot keep the incoming data: {error.strerror}; nothing was inserted.",
    )
