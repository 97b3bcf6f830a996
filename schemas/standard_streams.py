"""Standard input, output and error of a program: always open, and writing to them never raises.

A reader that is gone (`| head`), a full disk, a closed descriptor or an alphabet without a check
mark is no reason to stop half-way through the work. The work goes on; at the end `unwritten` says
whether the answer arrived.
"""

import codecs
import errno
import io
import os
import select
import sys
from typing import Any, TextIO

PLAIN = {
    "✓": "+",
    "✗": "x",
    "≥": ">=",
    "≤": "<=",
    "…": "...",
    "–": "-",
    "—": "-",
    "−": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "•": "*",
    "·": "*",
    "→": "->",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""What is written for a character that the stream's alphabet does not have; others are escaped."""
_HANDLER = "purser_plain"
_AT_START = ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY))
"""How the null device is opened in place of a closed descriptor. Using 0 or 1 must fail as using a
closed one does; messages to 2 have no reader."""


def _plain(error: UnicodeError) -> tuple[str, int]:
    """Codec error handler: the nearest ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(map(_replacement, unknown)), error.end


def _replacement(character: str) -> str:
    return PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()


class _Output(io.FileIO):
    """A descriptor to write to; an answer ends with its first failure, which is kept.

    Messages on standard error go on: of those, only what could not be written is lost.
    """

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        """Return the number of bytes taken: all of them if they cannot be written."""
        while self.failure is None:
            try:
                written = super().write(data)
            except OSError as error:
                if self.fileno() == 2:
                    break
                self.failure = error
            else:
                if written is not None:
                    return written
                select.select([], [self], [])  # a terminal that another program made non-blocking
        return len(data)


_output: _Output | None = None


def take_standard_streams() -> None:
    """Open what is closed, before a socket gets its number, and wrap output and error.

    Streams that a caller has replaced, as a test does, are left alone.
    """
    global _output  # noqa: PLW0603 - there is one standard output
    for descriptor, flags in _AT_START:
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # the lowest free number is this
    codecs.register_error(_HANDLER, _plain)
    if sys.stdin is None and sys.__stdin__ is None:
        sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)))
    if sys.stdout is sys.__stdout__:
        _output = _Output(1, "w", closefd=False)
        sys.stdout = _text(_output, sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(_Output(2, "w", closefd=False), sys.stderr)


def _text(raw: _Output, before: TextIO | None) -> TextIO:
    by_line = getattr(before, "line_buffering", False) or getattr(before, "write_through", False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=getattr(before, "encoding", "utf-8"),
        errors=_HANDLER,
        line_buffering=by_line or raw.fileno() == 2,
    )


def flush_standard_streams() -> None:
    """Write what is still in memory."""
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()


def unwritten() -> OSError | None:
    """Why the answer could not be written to standard output.

    None if it was written, or if its reader had enough.
    """
    failure = None if _output is None else _output.failure
    return None if failure is None or failure.errno == errno.EPIPE else failure
