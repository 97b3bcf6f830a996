"""Logging of a worker process: one line per message to standard error, without floods.

While a broker is down, the Kafka client logs the same message a hundred times a second. This module
lets one through every few seconds, with the number of suppressed ones, so that the log stays
readable.
"""

import logging
import logging.config
import time
from collections.abc import Callable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Libraries whose routine messages are meant for their own developers.
QUIET_LOGGERS = ("aiokafka", "faust", "mode", "asyncio")
REPEAT_SECONDS = 10.0


class RepeatFilter(logging.Filter):
    """Let a library's message through once every `seconds`, whatever its arguments are.

    The next message that passes ends with the number of suppressed ones. Messages from other
    loggers always pass.
    """

    def __init__(
        self, seconds: float = REPEAT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._said_at: dict[tuple[str, int, str], float] = {}
        self._left_out: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record; may append to its message."""
        if record.name.partition(".")[0] not in QUIET_LOGGERS:
            return True
        key = (record.name, record.lineno, record.levelname)
        now = self._clock()
        said_at = self._said_at.get(key)
        if said_at is not None and now - said_at < self._seconds:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return False
        self._said_at[key] = now
        left_out = self._left_out.pop(key, 0)
        if left_out:
            record.msg = f"{record.getMessage()} ({left_out} similar messages suppressed)"
            record.args = ()
        return True


def configure_logging(level: str) -> None:
    """Log one line per message to standard error; libraries from WARNING on, without floods."""
    quiet = level if level == "DEBUG" else "WARNING"
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"line": {"format": LOG_FORMAT}},
            "filters": {"repeats": {"()": RepeatFilter}},
            "handlers": {
                "stderr": {
                    "class": "logging.StreamHandler",
                    "formatter": "line",
                    "filters": ["repeats"],
                }
            },
            "loggers": {name: {"level": quiet} for name in QUIET_LOGGERS},
            "root": {"level": level, "handlers": ["stderr"]},
        }
    )
