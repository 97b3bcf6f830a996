"""`purser env`: how to reach the local stack, as lines for a shell."""

import shlex

import typer

from stack.native import Stack
from stack.settings import StackSettings


def env() -> None:
    """Print where everything answers, as shell lines; they hold passwords.

    Example: eval "$(purser env)" && psql "$PURSER_POSTGRES_READER_DSN"
    """
    for name, value in Stack(StackSettings.load()).endpoints.environment().items():
        typer.echo(f"export {name}={shlex.quote(value)}")
