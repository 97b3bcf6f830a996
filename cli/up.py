"""`purser up`: bring the local stack up, whole."""

from typing import Annotated

import typer

from operations.bring_up import bring_up
from operations.console import say
from stack.native import Stack
from stack.settings import StackSettings


def up(
    servers_only: Annotated[
        bool,
        typer.Option("--servers-only", help="No migrations, no connector, no workers."),
    ] = False,
) -> None:
    """Start the local stack: PostgreSQL, Kafka, Connect, ClickHouse and our workers.

    Repeatable: what runs is left alone, what died is started. Ports count from PURSER_PORT_BASE,
    data are below PURSER_HOME.

    Example: PURSER_PORT_BASE=16000 PURSER_HOME=/tmp/second purser up
    """
    bring_up(Stack(StackSettings.load(), say), say, servers_only=servers_only)
    say("Purser is up; `purser status` shows how it is, `purser env` how to reach it")
