"""Commands on the machine of a local stack find it by themselves.

When the environment names no server at all, they are those of the stack in PURSER_HOME, if one was
ever up there: `purser up`, then `purser verify`. When it names any, only the environment counts:
half a production environment must never be completed with a laptop's other half.
"""

import os

from schemas.errors import ConfigurationError
from stack.native import Stack
from stack.settings import StackSettings


def use_local_stack() -> None:
    """Add what `purser env` would print to this process's environment, if it has none of it."""
    try:
        stack = Stack(StackSettings.load())
        wanted = stack.endpoints.environment()
    except ConfigurationError:
        return  # no local stack: the command says which variable it misses
    if not any(name in os.environ for name in wanted):
        os.environ.update(wanted)
