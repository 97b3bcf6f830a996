"""`purser down`: stop the local stack and leave nothing running."""

from typing import Annotated

import typer

from operations.console import say
from stack.native import Stack
from stack.settings import StackSettings


def down(
    delete_data: Annotated[
        bool,
        typer.Option("--delete-data", help="Also delete the home and all data in it."),
    ] = False,
) -> None:
    """Stop all processes of the stack, including those that a killed process manager left behind.

    The data are kept, and the next `purser up` uses them.

    Example: purser down
    """
    stack = Stack(StackSettings.load(), say)
    stopped = stack.down()
    say("Purser is down" if stopped else "Purser was not running")
    if delete_data:
        stack.destroy()
        say(f"Deleted {stack.home.path}")
