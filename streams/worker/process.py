"""A worker's process, from its start to its exit status."""

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from schemas.errors import ConfigurationError, PurserError, ServiceUnavailable
from schemas.runtime import COULD_NOT, UNEXPECTED, interrupted_status
from streams.app import configure_logging, run
from streams.worker.settings import TopicWorkerSettings
from streams.worker.topic_worker import TopicWorker

STOPPED = 1
"""Exit status of a worker that has stopped so that it is started again, or rather than skip or lose
a record.
"""


def run_worker(settings: TopicWorkerSettings, make: Callable[[], TopicWorker]) -> NoReturn:
    """Make a worker, run it until it is told to stop or has failed, and exit with its status.

    `make` waits for the servers; what it raises ends the process as an entry point would.
    """
    status = 0
    worker = None
    try:
        configure_logging(settings.log_level)
        worker = make()
        run(worker.app, settings, worker.watchdog)
    except PurserError as error:
        sys.stderr.write(f"purser: {error}\n")
        status = error.exit_status
    except KeyboardInterrupt:
        status = interrupted_status()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else COULD_NOT
    if worker is not None and worker.failure is not None:
        status = status_of(worker.failure)
    _exit(status)


def status_of(failure: BaseException) -> int:
    """The exit status of a worker that has ended itself."""
    if not isinstance(failure, PurserError):
        return UNEXPECTED
    return COULD_NOT if isinstance(failure, ServiceUnavailable | ConfigurationError) else STOPPED


def _exit(status: int) -> NoReturn:
    """Exit immediately: a thread that waits for an unreachable server must not delay it."""
    logging.shutdown()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)
