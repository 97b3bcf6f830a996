"""Logging of a worker process: one line per message to standard error, and no floods.

While a broker is down the Kafka client says so a hundred times a second; a log that says it once
every few seconds, with how often it was left out, is one that somebody can read.
"""

import logging
import logging.config
import time
from collections.abc import Callable

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
# Libraries whose every-day messages are for their own developers.
QUIET_LOGGERS = ("aiokafka", "faust", "mode", "asyncio")
REPEAT_SECONDS = 10.0


class RepeatFilter(logging.Filter):
    """Lets a library's message through once every `seconds`, whatever its arguments are.

    The next one let through says how many were left out. Messages from elsewhere all pass.
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
        """Whether the record is to be logged; may add to its message."""
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
            record.msg = f"{record.getMessage()} ({left_out} more like this left out)"
            record.args = ()
        return True


def configure_logging(level: str) -> None:
    """One line per message to standard error; libraries only from WARNING on, and no floods."""
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
