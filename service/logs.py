"""Structured logs: one JSON object a line, with the request's id; no tokens, keys or personal data.

A line has what its call gives in `extra`, and nothing of the request's body or headers.
"""

import asyncio
import logging
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from schemas.unexpected import without_secrets
from service.facts import request_id_now

LINES_KEPT = 200
LINES_KEPT_SECONDS = 0.2

_STANDARD = frozenset(vars(logging.makeLogRecord({})))
_LIBRARIES = ("uvicorn", "uvicorn.error", "asyncio", "aiohttp", "clickhouse_connect", "urllib3")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := request_id_now.get():
            line["request_id"] = request_id
        for name, value in vars(record).items():
            if name not in _STANDARD and value is not None and name not in line:
                line[name] = value
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=repr).decode()


class BatchedLines(logging.Handler):
    """Writes lines together, a few times a second; a warning takes those before it along at once.

    A write of its own for each request would give other threads the interpreter's lock each time.
    Without an event loop every line is written at once.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: list[str] = []
        self._due_in: asyncio.AbstractEventLoop | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, and see to its being written."""
        self._lines.append(self.format(record))
        if record.levelno >= logging.WARNING or len(self._lines) >= LINES_KEPT:
            self.flush()
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another thread, or the end: nobody would write it later
            self.flush()
        else:
            if self._due_in is not loop:
                self._due_in = loop
                loop.call_later(LINES_KEPT_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what is kept."""
        with self.lock or nullcontext():
            lines, self._lines, self._due_in = self._lines, [], None
            if lines:
                self._stream.write("\n".join(lines) + "\n")
                self._stream.flush()


def configure_logging(level: str) -> None:
    """Write lines to standard error; libraries from WARNING on."""
    # What these find out is in no line: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = BatchedLines(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)
