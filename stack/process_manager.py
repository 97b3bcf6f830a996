"""supervisord, as the stack runs it: a full disk does not end it.

`stack.supervisord` starts this file (`python -I process_manager.py -c supervisord.conf`). It
imports no other module of Purser, so that a broken one cannot keep programs from being restarted.

supervisord writes the programs' output to log files. If a line cannot be written, it reports that
on its own standard error, which is a file on the same disk. That second error ends supervisord, and
then nothing restarts the programs. Here such a line is dropped instead.
"""

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from supervisor import loggers, process, supervisord
from supervisor.states import ProcessStates

PAUSE_SECONDS_MOST = 20.0
"""Longest pause before a program is started again. supervisord adds a second each time, without
end. After an hour it would take more than a minute to notice that the disk has room again."""


class Log(loggers.RotatingFileHandler):  # type: ignore[misc]
    """A log file that may be impossible to write for a while."""

    def handleError(self) -> None:  # noqa: N802 - supervisord's name
        """Drop the line; the file's buffer keeps the last few for later."""

    def doRollover(self) -> None:  # noqa: N802 - supervisord's name
        """Start a new file when this one is long; go on with the old one if that is impossible."""
        try:
            super().doRollover()
        except (OSError, ValueError):  # ValueError: it was closed and could not be opened again
            with suppress(OSError):
                self.stream = Path(self.baseFilename).open("ab")  # noqa: SIM115 - kept open


class Program(process.Subprocess):  # type: ignore[misc]
    """A program that is started again after at most `PAUSE_SECONDS_MOST`."""

    delay: float

    def change_state(self, new_state: int, expected: bool = True) -> Any:
        """Change the state; limit the pause that supervisord has chosen."""
        changed = super().change_state(new_state, expected)
        if new_state == ProcessStates.BACKOFF:
            self.delay = min(self.delay, time.time() + PAUSE_SECONDS_MOST)
        return changed


def main() -> None:
    """Run supervisord with these classes in the places of its own."""
    loggers.RotatingFileHandler = Log
    process.Subprocess = Program
    supervisord.main()


if __name__ == "__main__":
    main()
