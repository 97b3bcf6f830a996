"""Makes sure that a file is whole before its first line is used, as far as that can be known.

A gzip file ends with a checksum and a length of what it holds. They are checked by reading it to
its end before its first line is given, because what is appended stays. A gzip stream that cannot be
read twice (a pipe) is first kept in a temporary file, compressed. Plain text has nothing to check
it by: its lines are given as they come.
"""

import gzip
import io
import os
import shutil
import stat
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from schemas.errors import ConfigurationError
from writer.importing.kinds import GIVE, HEAD_BYTES, what_it_is_instead

_GZIP_MAGIC = b"\x1f\x8b"
_CHECKED_BYTES = 2**20
_IN_MEMORY_BYTES = 2**24

READ_ERRORS = (EOFError, OSError, zlib.error)
"""What reading a file or decompressing it raises."""


@contextmanager
def whole_text(
    file: io.BufferedReader, name: str, on_check: Callable[[], None] = lambda: None
) -> Iterator[io.BufferedIOBase]:
    """Give the text of `file`, decompressed; `on_check` is called while a gzip file is checked.

    Raises:
        ConfigurationError: the file, which it names, is empty, damaged, or plainly not JSON Lines;
            or, at the end, it changed while it was read.
    """
    try:
        head, source = _head(file)
    except OSError as error:
        raise ConfigurationError(f"{name}: cannot be read ({error.strerror}); {GIVE}") from error
    if not head:
        raise ConfigurationError(f"{name}: is empty; {GIVE}")
    before = _version(source)
    if not head.startswith(_GZIP_MAGIC):
        _refuse_other_kinds(head, name)
        yield source
    elif source.seekable():
        yield from _checked_gzip(source, name, on_check)
    else:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as copy:
            _keep(source, copy, name)
            yield from _checked_gzip(copy, name, on_check)
    if _version(source) != before:
        raise ConfigurationError(
            f"{name}: changed while it was read; import it again when nothing writes to it"
        )


def _head(file: io.BufferedReader) -> tuple[bytes, io.BufferedReader]:
    """Return the first bytes of a file, and the file from its start."""
    if file.seekable():
        start = file.tell()
        head = file.read(HEAD_BYTES)
        file.seek(start)
        return head, file
    head = file.read(HEAD_BYTES)
    return head, io.BufferedReader(_Again(head, file))


class _Again(io.RawIOBase):
    """A stream whose first bytes were read already."""

    def __init__(self, head: bytes, rest: io.BufferedReader) -> None:
        self._head = head
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # as it is called
        piece = self._head[: len(buffer)] or self._rest.read1(len(buffer))
        self._head = self._head[len(piece) :]
        buffer[: len(piece)] = piece
        return len(piece)


def _refuse_other_kinds(head: bytes, name: str) -> None:
    if (words := what_it_is_instead(head)) is not None:
        raise ConfigurationError(f"{name}: {words}")


def _keep(stream: io.BufferedReader, copy: IO[bytes], name: str) -> None:
    try:
        shutil.copyfileobj(stream, copy)
    except OSError as error:
        raise ConfigurationError(
            f"{name}: cannot be kept in a temporary file until it is checked ({error.strerror}); "
            "free space, set TMPDIR, or give a file"
        ) from error
    copy.seek(0)


def _checked_gzip(
    source: IO[bytes], name: str, on_check: Callable[[], None]
) -> Iterator[io.BufferedIOBase]:
    start = source.tell()
    try:
        with gzip.GzipFile(fileobj=source, mode="rb") as text:
            while text.read(_CHECKED_BYTES):
                on_check()
    except READ_ERRORS as error:
        raise ConfigurationError(
            f"{name}: is damaged or not whole ({error}); nothing is appended, get the file again"
        ) from error
    source.seek(start)
    with gzip.GzipFile(fileobj=source, mode="rb") as text:
        _refuse_other_kinds(text.peek(HEAD_BYTES)[:HEAD_BYTES], name)
        yield text


def _version(file: io.BufferedReader) -> tuple[int, int] | None:
    """Return size and time of the last change of a regular file; None for everything else."""
    try:
        status = os.fstat(file.fileno())
    except io.UnsupportedOperation:
        return None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else None
