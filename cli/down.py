"""`purser down`: stop the local stack and leave nothing running."""

from typing import Annotated

import typer

from operations.console import say
from stack.native import Stack
from stack.settings import StackSettings


def down(
    delete_data: Annotated[
        bool,
        typer.Option("--delete-data", help="Delete the home and all data in it as well."),
    ] = False,
) -> None:
    """Stop everything the stack runs, also what a killed process manager left behind.

    The data stay, and `purser up` goes on with them.

    Example: purser down
    """
    stack = Stack(StackSettings.load(), say)
    stopped = stack.down()
    say("Purser is down" if stopped else "Purser was not running")
    if delete_data:
        stack.destroy()
        say(f"Deleted {stack.home.path}")
