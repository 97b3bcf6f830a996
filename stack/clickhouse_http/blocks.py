"""ClickHouse's own compression, for `compress=1` and `decompress=1`: blocks with checksums.

A block is a checksum of 16 bytes, one byte for the method, two sizes of 4 bytes (of the compressed
data with their head of 9 bytes, and of the plain data), and the compressed data. The checksum is
CityHash128 of all that follows it, in the version that ClickHouse keeps (1.0.2). Drivers for Java
and Go ask for such blocks by default. The interfaces are those of `compression`.
"""

import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128

from stack.clickhouse_http.errors import Code, refusal

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

BLOCK_BYTES: Final = 1 << 20
"""How much plain data a block of an answer holds, as in ClickHouse."""
MAX_BLOCK_BYTES: Final = 256 << 20
"""The largest block of a body: it is decompressed in one piece, in memory.

ClickHouse and the driver for Java send 1 MiB at most, but the driver for Go makes one block of a
whole batch.
"""
_HALVES: Final = struct.Struct("<QQ")
_HEAD: Final = struct.Struct("<BII")
_CHECKSUM_BYTES: Final = _HALVES.size
_PLAIN, _LZ4, _ZSTD = 0x02, 0x82, 0x90
METHODS: Final[Mapping[str, int]] = {"NONE": _PLAIN, "LZ4": _LZ4, "LZ4HC": _LZ4, "ZSTD": _ZSTD}
"""By the names of the setting `network_compression_method`."""
DEFAULT_METHOD: Final = "LZ4"
"""What drivers that name no method can read."""


def checksum(data: bytes) -> bytes:
    """The 16 bytes before a block."""
    high, low = divmod(int(CityHash128(data)), 1 << 64)
    return _HALVES.pack(high, low)


class BlockEncoder:
    """Compresses one answer into blocks; an answer without a byte has no block."""

    def __init__(self, method: str = DEFAULT_METHOD, level: int = 1) -> None:
        """`method` is a name of METHODS, `level` that of ZSTD."""
        self._method = METHODS[method]
        self._level = level

    def compress(self, data: bytes) -> bytes:
        """Return whole blocks."""
        starts = range(0, len(data), BLOCK_BYTES)
        return b"".join(self._block(data[start : start + BLOCK_BYTES]) for start in starts)

    def flush(self) -> bytes:
        """Nothing is held back."""
        return b""

    def _block(self, plain: bytes) -> bytes:
        packed = plain
        if self._method == _LZ4:
            packed = lz4.block.compress(plain, store_size=False)
        elif self._method == _ZSTD:
            packed = zstd.compress(plain, self._level)
        block = _HEAD.pack(self._method, _HEAD.size + len(packed), len(plain)) + packed
        return checksum(block) + block


class BlockDecoder:
    """Decompresses a body of blocks, fed in any pieces."""

    def __init__(self, max_block_bytes: int = MAX_BLOCK_BYTES, *, verify: bool = True) -> None:
        """`verify` False leaves the checksums out."""
        self._max_block_bytes = max_block_bytes
        self._verify = verify
        self._held = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the plain bytes of each block that is complete; raises 40 for a wrong checksum."""
        self.hold(data)
        while self.has_block:
            yield self.unpack()

    def hold(self, data: bytes) -> None:
        """Take bytes as they come."""
        self._held += data

    @property
    def has_block(self) -> bool:
        """Whether a whole block is held; raises 31 and 89 as soon as its head is wrong."""
        if len(self._held) < _CHECKSUM_BYTES + _HEAD.size:
            return False
        method, size, plain_size = _HEAD.unpack_from(self._held, _CHECKSUM_BYTES)
        self._check_head(method, size, plain_size)
        return len(self._held) - _CHECKSUM_BYTES >= int(size)

    @property
    def is_large(self) -> bool:
        """Whether the block that is held is larger than those of ClickHouse itself."""
        _, size, plain_size = _HEAD.unpack_from(self._held, _CHECKSUM_BYTES)
        return bool(max(size, plain_size) > BLOCK_BYTES + _HEAD.size)

    def unpack(self) -> bytes:
        """Return the plain bytes of the block that is held; raises 40 for a wrong checksum."""
        method, size, plain_size = _HEAD.unpack_from(self._held, _CHECKSUM_BYTES)
        end = _CHECKSUM_BYTES + size
        block = bytes(self._held[_CHECKSUM_BYTES:end])
        if self._verify and checksum(block) != self._held[:_CHECKSUM_BYTES]:
            raise refusal(
                Code.CHECKSUM_DOESNT_MATCH,
                "Checksum doesn't match: corrupted data in the body. Nothing was inserted.",
            )
        del self._held[:end]
        return _plain(method, block[_HEAD.size :], plain_size)

    def _check_head(self, method: int, size: int, plain_size: int) -> None:
        """Before a byte of the block is kept or unpacked."""
        if method not in METHODS.values():
            raise refusal(
                Code.UNKNOWN_COMPRESSION_METHOD,
                f"Unknown compression method of a block: 0x{method:02x}; LZ4, ZSTD and NONE are"
                " supported. With decompress=1 the body must consist of ClickHouse's own blocks.",
            )
        if size < _HEAD.size or max(size, plain_size) > self._max_block_bytes:
            raise refusal(
                Code.TOO_LARGE_SIZE_COMPRESSED,
                f"A block of the body has {size} bytes, and {plain_size} decompressed: the most is"
                f" {self._max_block_bytes}. The data is corrupted, or send smaller blocks.",
            )

    def finish(self) -> None:
        """Mark the end of the body; raises 33 if it is inside a block."""
        if self._held:
            raise refusal(
                Code.CANNOT_READ_ALL_DATA,
                "The body ends inside a compressed block: it was cut off. Nothing was inserted.",
            )


def _plain(method: int, packed: bytes, size: int) -> bytes:
    """Return the `size` plain bytes of a block's data; raises 271."""
    try:
        plain = _UNPACK[method](packed, size)
    except (lz4.block.LZ4BlockError, zstd.ZstdError, ValueError) as error:
        raise _cannot_decompress(str(error)) from None
    if len(plain) != size:
        raise _cannot_decompress(f"it has {len(plain)} bytes instead of {size}")
    return plain


def _unpack_zstd(packed: bytes, size: int) -> bytes:
    frame = zstd.ZstdDecompressor()
    plain: bytes = frame.decompress(packed, size + 1)
    if not frame.eof or frame.unused_data:
        raise ValueError("it is no whole ZSTD frame")
    return plain


def _cannot_decompress(problem: str) -> Exception:
    return refusal(
        Code.CANNOT_DECOMPRESS,
        f"Cannot decompress a block of the body: {problem}. Nothing was inserted.",
    )


_UNPACK: Final[dict[int, Callable[[bytes, int], bytes]]] = {
    _PLAIN: lambda packed, size: packed,
    _LZ4: lambda packed, size: lz4.block.decompress(packed, uncompressed_size=size),
    _ZSTD: _unpack_zstd,
}
