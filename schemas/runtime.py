"""The frame around every program: what it needs, how signals end it, and its exit status.

0 is done; 1 has the meaning that the command gives it; 2 could not be done; 64 wrong usage; 70 an
unexpected error, with its details in a file; 128 + n ended by signal n. Nothing else prints a stack
trace or chooses another status.

This module is the first that a program imports, so it imports little: a signal must find the frame
in place.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

from schemas.errors import ConfigurationError, PurserError
from schemas.standard_streams import flush_standard_streams, take_standard_streams, unwritten

COULD_NOT = 2
UNEXPECTED = 70
"""EX_SOFTWARE of sysexits(3)."""
SIGNAL = 128
"""Added to a signal's number, as shells do."""
AGAIN_SECONDS = 0.01
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")
_Handler = Callable[[int, FrameType | None], None]

_received: int | None = None


def require_assertions() -> None:
    """Refuse to run under `python -O`, which removes the assertions that protect money.

    Raises:
        ConfigurationError: says what to do.
    """
    if sys.flags.optimize:  # not assert or __debug__, which are compiled away
        raise ConfigurationError(
            "Python runs without assertions, and they protect money; start it without -O, and"
            " unset PYTHONOPTIMIZE"
        )


def entry_point(main: Callable[_Arguments, _Answer]) -> Callable[_Arguments, _Answer]:
    """Mark a program's main function and put the frame around it.

    The function returns if all is well, and raises SystemExit with the status otherwise.
    """

    @wraps(main)
    def framed(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Answer:
        _on_signals(_leave)
        take_standard_streams()
        sys.unraisablehook = _in_destructor
        threading.excepthook = _in_thread
        status = 0
        try:
            try:
                _on_signals(_interrupt)
                require_assertions()
                return main(*arguments, **options)
            finally:
                _on_signals(_leave)  # a second Ctrl-C ends the ending
        except (SystemExit, KeyboardInterrupt) as ended:
            status = _status_of(ended)
        except PurserError as error:
            sys.stderr.write(f"purser: {error}\n")
            status = error.exit_status
        except BaseException as error:  # noqa: BLE001 - the file that the line names has all of it
            status = _unexpected(error)
        finally:
            status = _written(status)
            _on_signals(lambda _number, _frame: os._exit(status))
            if status:
                raise SystemExit(status)
        raise SystemExit(status)

    return framed


@contextmanager
def loading() -> Iterator[None]:
    """While modules are loaded a signal ends the process at once: there is nothing to clean up.

    An exception in the midst of an import can be lost in it, or come out as another one.
    """
    _on_signals(_leave)
    yield
    _on_signals(_interrupt)


def interrupted_status() -> int:
    """The exit status of a program that a signal has ended; Ctrl-C if it was none of ours."""
    return SIGNAL + (_received or signal.SIGINT)


def _on_signals(handler: _Handler) -> None:
    for number in SIGNALS:
        # What is ignored stays so: nohup, and jobs in the background of a script.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    """Every signal that ends a program ends it as Ctrl-C does: whoever must clean up does so."""
    global _received  # noqa: PLW0603 - a process receives signals, not a function
    _received = number
    raise KeyboardInterrupt


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(SIGNAL + number)


def _status_of(ended: SystemExit | KeyboardInterrupt) -> int:
    if isinstance(ended, KeyboardInterrupt):
        return interrupted_status()
    if ended.code is None or isinstance(ended.code, int):
        status = ended.code or 0
        return interrupted_status() if status == SIGNAL + signal.SIGINT else status
    sys.stderr.write(f"{ended.code}\n")
    return COULD_NOT


def _unexpected(error: BaseException) -> int:
    from schemas.unexpected import report  # it needs what a program need not load

    sys.stderr.write(f"purser: {report(error)}\n")
    return UNEXPECTED


def _in_destructor(unraisable: "sys.UnraisableHookArgs") -> None:
    """What a destructor raises goes nowhere. A signal that came in its midst comes once more."""
    if isinstance(unraisable.exc_value, KeyboardInterrupt):
        number = _received or signal.SIGINT
        threading.Timer(AGAIN_SECONDS, os.kill, (os.getpid(), number)).start()
    elif isinstance(unraisable.exc_value, Exception):
        _unexpected(unraisable.exc_value)


def _in_thread(ended: threading.ExceptHookArgs) -> None:
    """The thread is over; whoever needs what it does will miss it."""
    if isinstance(ended.exc_value, Exception):
        _unexpected(ended.exc_value)


def _written(status: int) -> int:
    """Write the rest; success whose answer was not written is none, and another status stays."""
    flush_standard_streams()
    failure = unwritten()
    if failure is None:
        return status
    sys.stderr.write(
        f"purser: the answer cannot be written to standard output ({failure.strerror}); write it"
        " elsewhere\n"
    )
    return status or COULD_NOT


def utc_now() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)
