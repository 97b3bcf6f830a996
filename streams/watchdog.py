"""The last resort against a process that hangs: it ends itself, and its supervisor starts it anew.

An event loop that no longer runs cannot notice that it does not. faulthandler's timer can: it runs
outside of Python, prints where every thread is, and ends the process with status 1. There is one
such timer in a process, so there is one watchdog.
"""

import faulthandler

__all__ = ["LoopWatchdog"]


class LoopWatchdog:
    """Ends the process when the event loop is not heard of for so long, or a stop takes longer."""

    def __init__(self, silence_seconds: float) -> None:
        self._silence_seconds = silence_seconds
        self._stopping = False

    def loop_runs(self) -> None:
        """To be called from the event loop, again and again; the first call arms the timer."""
        if not self._stopping:
            faulthandler.dump_traceback_later(self._silence_seconds, exit=True)

    def stop_within(self, seconds: float) -> None:
        """From now on only this counts: the process ends in time, whatever hangs."""
        self._stopping = True
        faulthandler.dump_traceback_later(seconds, exit=True)

    def disarm(self) -> None:
        """The process ends by itself."""
        self._stopping = True
        faulthandler.cancel_dump_traceback_later()
