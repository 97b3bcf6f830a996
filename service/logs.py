"""Structured logs: one JSON object a line, with the request's id; no tokens, keys or personal data.

A line has what its call gives in `extra`, and nothing of the request's body or headers.
"""

import logging
import sys
from datetime import UTC, datetime

import msgspec

from schemas.unexpected import without_secrets
from service.facts import request_id_now

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


def configure_logging(level: str) -> None:
    """Write lines to standard error; libraries from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level != "DEBUG":
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.WARNING)
