"""`purser env`: the addresses of the local stack, as shell lines."""

import os
import shlex

import typer

from stack.native import Stack
from stack.settings import StackSettings


def env() -> None:
    """Print the addresses of the local stack as shell lines. They contain passwords.

    Example: eval "$(purser env)" && psql "$PURSER_POSTGRES_READER_DSN"
    """
    endpoints = Stack(StackSettings.load()).endpoints
    for name, value in (endpoints.environment() | endpoints.outside(os.environ)).items():
        typer.echo(f"export {name}={shlex.quote(value)}")
