"""Requirements on the Python interpreter, which every entry point checks first."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from schemas.errors import ConfigurationError

_Arguments = ParamSpec("_Arguments")
_Answer = TypeVar("_Answer")


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
    """Mark a program's main function; the program exits with status 2 if it may not run."""

    @wraps(main)
    def checked(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Answer:
        try:
            require_assertions()
        except ConfigurationError as error:
            sys.stderr.write(f"error: {error}\n")
            raise SystemExit(error.exit_status) from None
        return main(*arguments, **options)

    return checked
