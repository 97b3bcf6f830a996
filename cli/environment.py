"""Lets commands find the local stack without configuration.

If the environment names no server, commands use the stack in PURSER_HOME, provided that one was
started there: `purser up`, then `purser verify`. If the environment names any server, only the
environment counts, so that a partial production environment is never completed with local servers.
"""

import os

from schemas.errors import ConfigurationError
from stack.native import Stack
from stack.settings import StackSettings


def use_local_stack() -> None:
    """Add the variables of `purser env` to this process's environment, if it has none of them."""
    try:
        stack = Stack(StackSettings.load())
        endpoints = stack.endpoints
        wanted = endpoints.environment()
    except ConfigurationError:
        return  # no local stack: the command reports the variable that it needs
    if not any(name in os.environ for name in wanted):
        os.environ.update(wanted | endpoints.outside(os.environ))
