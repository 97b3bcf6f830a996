"""The last resort against a process that hangs: it ends itself, and its supervisor restarts it.

An event loop that is blocked cannot detect that it is blocked. faulthandler's timer can: it runs
outside of Python, prints the stack of every thread, and ends the process with status 1. A process
has only one such timer, so it can have only one watchdog.
"""

import faulthandler

__all__ = ["LoopWatchdog"]


class LoopWatchdog:
    """Ends the process if the event loop is silent for too long, or if a stop takes too long."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._stopping = False

    def loop_runs(self) -> None:
        """Call this from the event loop regularly; the first call arms the timer."""
        if not self._stopping:
            faulthandler.dump_traceback_later(self._silence_seconds, exit=True)

    def stop_within(self, seconds: float) -> None:
        """Replace the timer: the process ends within `seconds`, whatever hangs."""
        self._stopping = True
        faulthandler.dump_traceback_later(seconds, exit=True)

    def disarm(self) -> None:
        """Cancel the timer, because the process is about to end normally."""
        self._stopping = True
        faulthandler.cancel_dump_traceback_later()
