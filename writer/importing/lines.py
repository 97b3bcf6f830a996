"""Reads the lines of a user's file: plain or gzip, with bounded memory, numbered.

A problem of the whole file is raised. A problem of one line is returned with that line, so that the
others can be processed.
"""

import io
from collections.abc import Callable, Iterator
from typing import NamedTuple

from schemas.errors import ConfigurationError
from writer.importing.kinds import BYTE_ORDER_MARK, GIVE, HEAD_BYTES, SPACE
from writer.importing.whole import READ_ERRORS, whole_text

MAX_LINE_BYTES = 4 * 2**20
"""A payment of 1,000 orders and 10,000 events is shorter; longer lines are skipped, not kept."""


class Line(NamedTuple):
    """One line without its end; `problem` says why it cannot be read (`raw` is then its start)."""

    number: int
    raw: bytes
    problem: str | None = None


def read_lines(
    file: io.BufferedReader, name: str, on_check: Callable[[], None] = lambda: None
) -> Iterator[Line]:
    """Yield the lines of `file` that are not blank, numbered from 1; detects gzip.

    `on_check` is called now and then while a gzip file is checked, before its first line.

    Raises:
        ConfigurationError: the file, which it names, is empty, damaged, or plainly not JSON Lines;
            or it cannot be read further, or has changed while it was read.
    """
    with whole_text(file, name, on_check) as text:
        is_blank = True
        for line in _numbered(text, name):
            if line.problem or line.raw.strip(SPACE):
                is_blank = False
                yield line
        if is_blank:
            raise ConfigurationError(f"{name}: has blank lines only; {GIVE}")


def _numbered(text: io.BufferedIOBase, name: str) -> Iterator[Line]:
    number = 0
    while True:
        number += 1
        try:
            raw = text.readline(MAX_LINE_BYTES + 1)
            is_too_long = len(raw) > MAX_LINE_BYTES and not raw.endswith(b"\n")
            if is_too_long:
                _skip_line(text)
        except READ_ERRORS as error:
            raise ConfigurationError(
                f"{name}: cannot be read further than line {number - 1} ({error}); "
                "import it again when it can"
            ) from error
        if not raw:
            return
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        problem = (
            f"is longer than {MAX_LINE_BYTES} bytes; pay its orders by several payments"
            if is_too_long
            else None
        )
        yield Line(number, raw.rstrip(b"\r\n"), problem)


def _skip_line(text: io.BufferedIOBase) -> None:
    while (piece := text.readline(HEAD_BYTES)) and not piece.endswith(b"\n"):
        pass
