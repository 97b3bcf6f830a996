"""Walks through blocks of the format Native, which say nothing of their length, to frame them.

Where a column ends only its data tells, so clickhouse-connect's reader walks through them. This
module is loaded when it is needed: that library is large.
"""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Final

from clickhouse_connect.datatypes.registry import get_from_name
from clickhouse_connect.driver.buffer import ResponseBuffer
from clickhouse_connect.driver.exceptions import ClickHouseError as DriverError
from clickhouse_connect.driver.exceptions import StreamCompleteException
from clickhouse_connect.driver.query import QueryContext

from stack.clickhouse_http.errors import Code, refusal

_BLOCK_INFO: Final = b"\x01\x00\x02\xff\xff\xff\xff\x00"
"""No overflow rows, no bucket."""
_USUAL: Final = b"\x00"


class _Recorder(ResponseBuffer):  # type: ignore[misc]
    """Keeps the bytes that are read."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        super().__init__(SimpleNamespace(gen=pieces, close=lambda: None))
        self._read = bytearray()

    def read_bytes(self, sz: int) -> bytes:
        data: bytes = super().read_bytes(sz)
        self._read += data
        return data

    def read_byte(self) -> int:
        byte: int = super().read_byte()
        self._read.append(byte)
        return byte

    def take(self) -> bytes:
        """Return what was read since the last call."""
        taken, self._read = bytes(self._read), bytearray()
        return taken


def framed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield an answer of version 0, which comes in any pieces, as one with frames.

    It ends where the input ends, also within a block: then the engine has failed, and says so.
    """
    source, context = _Recorder(pieces), QueryContext()
    try:
        while True:
            columns, rows = source.read_leb128(), source.read_leb128()
            yield _BLOCK_INFO + source.take()
            for _ in range(columns):
                source.read_leb128_str()
                kind = source.read_leb128_str()
                yield source.take() + _USUAL
                if rows:
                    _skip(source, kind, rows, context)
                    yield source.take()
    except StreamCompleteException:
        return


def _skip(source: _Recorder, kind: str, rows: int, context: QueryContext) -> None:
    try:
        get_from_name(kind).read_column(source, rows, context)
    except DriverError as error:
        raise refusal(
            Code.NOT_IMPLEMENTED,
            f"client_protocol_version: this server cannot write a column of type {kind} in this"
            f" version ({error}); convert it, or ask for another format.",
        ) from None
