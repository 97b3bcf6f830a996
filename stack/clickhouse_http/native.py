"""The format Native as drivers of the TCP protocol's generation read it: `client_protocol_version`.

The engine writes version 0, without frames. From version 54454 on, which the Go driver asks for,
each block begins with its info, and a byte behind each column's type says that its serialization
is the usual one: see `native_frames`.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Final

from stack.clickhouse_http.errors import Code, refusal

MIN_FRAMED_VERSION: Final = 54454
"""The first version in which a byte stands behind each type."""
_READ_BYTES: Final = 1 << 20


def check_version(version: int) -> None:
    """Raise 48 for a version that is neither 0 nor framed in the way that is written here."""
    if 0 < version < MIN_FRAMED_VERSION:
        raise refusal(
            Code.NOT_IMPLEMENTED,
            f"client_protocol_version={version} is not supported by this server: send 0, or"
            f" {MIN_FRAMED_VERSION} or a later one.",
        )


@contextmanager
def written_as(version: int, format_name: str, write_fd: int) -> Iterator[int]:
    """Lend a descriptor: what is written to it arrives at `write_fd` in this protocol version.

    Raises 48 if a column is of a type that cannot be walked through.
    """
    if version == 0 or format_name.lower() != "native":
        yield write_fd
        return
    framing = _Framing(write_fd)
    try:
        yield framing.inner_fd
    finally:
        # Also instead of the engine's error, which may only say that nobody reads any more.
        framing.finish()


class _Framing:
    """A thread that copies from a pipe to `write_fd`, block by block."""

    def __init__(self, write_fd: int) -> None:
        read_fd, self.inner_fd = os.pipe()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="native")
        self._copied = self._thread.submit(_copy, read_fd, write_fd)

    def finish(self) -> None:
        """Wait until all is copied; raises what went wrong."""
        os.close(self.inner_fd)
        self._thread.shutdown()
        self._copied.result()


def _copy(read_fd: int, write_fd: int) -> None:
    from stack.clickhouse_http.native_frames import framed

    with (
        suppress(BrokenPipeError),  # the client went away
        os.fdopen(read_fd, "rb", 0) as source,
        open(write_fd, "wb", closefd=False) as sink,
    ):
        for piece in framed(iter(lambda: source.read(_READ_BYTES), b"")):
            sink.write(piece)
