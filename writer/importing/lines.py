"""Reads the lines of a user's file: plain or gzip, with bounded memory, numbered.

A problem of the whole file is raised. A problem of one line is returned with that line, so that the
others can be processed.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from schemas.errors import ConfigurationError

MAX_LINE_BYTES = 4 * 2**20
"""A payment of 1,000 orders and 10,000 events is shorter; longer lines are skipped, not kept."""

_HEAD_BYTES = 8192
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\r\n"


class Line(NamedTuple):
    """One line without its end; `problem` says why it cannot be read (`raw` is then its start)."""

    number: int
    raw: bytes
    problem: str | None = None


def read_lines(file: io.BufferedReader, name: str) -> Iterator[Line]:
    """Yield the lines of `file` that are not blank, numbered from 1; detects gzip.

    Raises:
        ConfigurationError: the file, which it names, is empty or binary.
    """
    head = file.peek(_HEAD_BYTES)[:_HEAD_BYTES]
    if not head:
        raise ConfigurationError(f"{name}: is empty; give one payment a line, as JSON")
    if head.startswith(_GZIP_MAGIC):
        text: io.BufferedIOBase = gzip.GzipFile(fileobj=file)
    else:
        _check_text(head, name)
        text = file
    is_blank = True
    for line in _numbered(text):
        if line.problem or line.raw.strip(_SPACE):
            is_blank = False
            yield line
    if is_blank:
        raise ConfigurationError(f"{name}: has blank lines only; give one payment a line, as JSON")


def _check_text(head: bytes, name: str) -> None:
    """Reject a binary file as a whole instead of line by line.

    JSON Lines start with a brace. A file that does, and is damaged further on, is read line by
    line.
    """
    start = head.removeprefix(_BYTE_ORDER_MARK).lstrip(_SPACE)
    if start.startswith(b"{"):
        return
    try:
        # The last character may be truncated.
        head.decode("utf-8", errors="strict")
        is_text = b"\0" not in head
    except UnicodeDecodeError as error:
        is_text = b"\0" not in head and error.start >= len(head) - 3
    if not is_text:
        raise ConfigurationError(
            f"{name}: is binary or not UTF-8; give JSON Lines in UTF-8, plain or gzip"
        )


def _numbered(text: io.BufferedIOBase) -> Iterator[Line]:
    number = 0
    while True:
        number += 1
        try:
            raw = text.readline(MAX_LINE_BYTES + 1)
            is_too_long = len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n")
            if is_too_long:
                _skip_line(text)
        except (EOFError, OSError, zlib.error) as error:
            yield Line(number, b"", f"the file cannot be read further ({error}); is it whole?")
            return
        if not raw:
            return
        if number == 1:
            raw = raw.removeprefix(_BYTE_ORDER_MARK)
        problem = f"is longer than {MAX_LINE_BYTES} bytes; split it" if is_too_long else None
        yield Line(number, raw.rstrip(b"\r\n"), problem)


def _skip_line(text: io.BufferedIOBase) -> None:
    while (piece := text.readline(_HEAD_BYTES)) and not piece.endswith(b"\n"):
        pass
