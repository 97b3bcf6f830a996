"""What the Python that runs us must be like; every entry point asks first."""

import sys

from schemas.errors import ConfigurationError


def require_assertions() -> None:
    """Refuse to run under `python -O`: it removes the assertions, which hold invariants of money.

    Raises:
        ConfigurationError: says what to do.
    """
    if sys.flags.optimize:  # not an assertion and not __debug__, which are compiled away
        raise ConfigurationError(
            "python -O, PYTHONOPTIMIZE: removes the assertions that protect money;"
            " start without the option and unset the variable"
        )
