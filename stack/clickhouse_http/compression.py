"""Compression in both directions, request bodies and results, in bounded memory.

Content-Encoding is here, ClickHouse's own blocks are in `blocks`; a request may use both at once.

A body is a sequence of whole frames (gzip members, zstd or lz4 frames). A body that ends inside a
frame, or fails its checksum, is an error: it must never be accepted as a shorter body.
"""

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Final, Protocol

import lz4.frame

from stack.clickhouse_http.blocks import BlockEncoder
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.request import AnswerOptions

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OUTPUT_CHUNK_BYTES: Final = 1 << 20
_ZSTD_LEVEL: Final = 1


class _FrameDecoder(Protocol):
    """The common interface of Python's bz2, lz4 and zstd decompressors."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...
    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes | None: ...


class _ZlibFrame:
    """A zlib decompressor with the interface of `bz2.BZ2Decompressor`."""

    def __init__(self, window_bits: int) -> None:
        self._inner = zlib.decompressobj(window_bits)
        self._full = False

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        plain = self._inner.decompress(self._inner.unconsumed_tail + data, max(max_length, 0))
        self._full = len(plain) == max_length  # zlib may hold more output without any input left
        return plain

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._full and not self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


_FRAMES: Final[dict[str, Callable[[], _FrameDecoder]]] = {
    "gzip": lambda: _ZlibFrame(31),
    "x-gzip": lambda: _ZlibFrame(31),
    "deflate": lambda: _ZlibFrame(15),
    "zstd": zstd.ZstdDecompressor,
    "lz4": lz4.frame.LZ4FrameDecompressor,
}


class Decoder:
    """Decompresses a body, fed in any pieces, into pieces of at most 1 MiB."""

    def __init__(self, encoding: str) -> None:
        """`encoding` is the Content-Encoding header; raises 48 if it is not supported."""
        name = encoding.strip().lower()
        if name not in ("", "identity") and name not in _FRAMES:
            raise refusal(
                Code.NOT_IMPLEMENTED,
                f"Unknown compression method '{encoding}'."
                " Only 'identity', 'gzip', 'deflate', 'zstd', 'lz4' are supported.",
            )
        self._name = name
        self._new_frame = _FRAMES.get(name)
        self._frame: _FrameDecoder | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of `data`; raises 117 if it is not in the header's encoding."""
        if self._new_frame is None:
            yield data
            return
        while data or (self._frame is not None and not self._frame.needs_input):
            if self._frame is None:
                self._frame = self._new_frame()
            try:
                plain = self._frame.decompress(data, OUTPUT_CHUNK_BYTES)
            except (zlib.error, zstd.ZstdError, RuntimeError, EOFError) as error:
                raise refusal(
                    Code.INCORRECT_DATA, f"The body is not valid {self._name}: {error}."
                ) from None
            data = b""
            if plain:
                yield plain
            if self._frame.eof:
                data = self._frame.unused_data or b""
                self._frame = None

    def finish(self) -> None:
        """Mark the end of the body; raises 33 if it is inside a compressed frame."""
        if self._frame is not None:
            raise refusal(
                Code.CANNOT_READ_ALL_DATA,
                f"The body ends inside a {self._name} frame: it was cut off. Nothing was inserted.",
            )


class Encoder(Protocol):
    """A streaming compressor of one response."""

    def compress(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class _Lz4Encoder:
    def __init__(self) -> None:
        self._inner = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes) -> bytes:
        header = self._begin()
        compressed: bytes = self._inner.compress(data)
        return header + compressed

    def flush(self) -> bytes:
        tail: bytes = self._begin() + self._inner.flush()
        return tail

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        header: bytes = self._inner.begin()
        return header


# In the order of CPU cost, the cheapest first.
_ENCODERS: Final[dict[str, Callable[[int], Encoder]]] = {
    "lz4": lambda zlib_level: _Lz4Encoder(),
    "zstd": lambda zlib_level: zstd.ZstdCompressor(level=_ZSTD_LEVEL),
    "gzip": lambda zlib_level: zlib.compressobj(zlib_level, zlib.DEFLATED, 31),
    "deflate": lambda zlib_level: zlib.compressobj(zlib_level, zlib.DEFLATED, 15),
}


def choose_encoder(accept_encoding: str, zlib_level: int) -> tuple[str, Encoder] | None:
    """Return the cheapest of an Accept-Encoding header's encodings; None for no compression."""
    accepted = set()
    for part in accept_encoding.split(","):
        name, _, weight = part.strip().lower().partition(";")
        if weight.replace(" ", "") not in ("q=0", "q=0.0"):
            accepted.add(name.strip())
    for name, make in _ENCODERS.items():
        if name in accepted:
            return name, make(zlib_level)
    return None


class AnswerEncoder:
    """What an answer goes through: ClickHouse's own blocks, then the encoding that HTTP names.

    `headers` say the second; an answer without a byte needs neither.
    """

    def __init__(self, options: AnswerOptions, accept_encoding: str = "") -> None:
        self.headers: dict[str, str] = {}
        self._stages: list[Encoder] = []
        if options.block_method is not None:
            self._stages.append(BlockEncoder(options.block_method, options.zstd_level))
        chosen = choose_encoder(accept_encoding, options.zlib_level)
        if chosen is not None and options.http_compression:
            self.headers["Content-Encoding"] = chosen[0]
            self._stages.append(chosen[1])

    def compress(self, data: bytes) -> bytes:
        """Return what can be sent by now."""
        for stage in self._stages:
            data = stage.compress(data)
        return data

    def flush(self) -> bytes:
        """Return the rest."""
        rest = b""
        for stage in self._stages:
            rest = stage.compress(rest) + stage.flush()
        return rest

    def whole(self, data: bytes) -> bytes:
        """Return a complete answer."""
        return self.compress(data) + self.flush() if data else b""
