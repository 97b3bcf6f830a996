"""Start-up checks of every worker: the servers that must answer before it reads a record.

The worker waits for a server that is down. It rejects a wrong setting, password or schema
immediately, because waiting would not cure it. These checks block, so they run before the event
loop.
"""

import logging
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from schemas.errors import ServiceUnavailable
from streams.worker.operators import HOST, port_taken

RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0
"""How often to log a message while waiting."""

_log = logging.getLogger("purser.worker")

Answer = TypeVar("Answer")


def wait_for(
    what: str,
    check: Callable[[], Answer],
    *,
    wait_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Repeat a check until it no longer raises ServiceUnavailable; return its answer.

    Raises the last ServiceUnavailable after `wait_seconds`, and any other exception immediately.
    """
    started = clock()
    reported = float("-inf")
    while True:
        try:
            return check()
        except ServiceUnavailable as error:
            now = clock()
            if now - started >= wait_seconds:
                raise ServiceUnavailable(
                    f"{what}: gave up after {wait_seconds:g} s: {error}"
                ) from error
            if now - reported >= REPORT_SECONDS:
                _log.warning("waiting for %s: %s", what, error)
                reported = now
            sleep(RETRY_SECONDS)


def check_port_free(port: int) -> None:
    """Raise ConfigurationError if the port of the metrics is already in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise port_taken(port, error) from error
