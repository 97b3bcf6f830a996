"""`purser up`: starts the whole local stack."""

from typing import Annotated

import typer

from operations.bring_up import bring_up
from operations.console import say
from stack.native import Stack
from stack.settings import StackSettings


def up(
    servers_only: Annotated[
        bool,
        typer.Option("--servers-only", help="Skip migrations, the connector and the workers."),
    ] = False,
) -> None:
    """Start the local stack: PostgreSQL, Kafka, Connect, ClickHouse and the workers.

    Safe to repeat: running processes are left alone, dead ones are started. Ports are numbered
    from PURSER_PORT_BASE. Data are stored under PURSER_HOME.

    Example: PURSER_PORT_BASE=16000 PURSER_HOME=/tmp/second purser up
    """
    try:
        bring_up(Stack(StackSettings.load(), say), say, servers_only=servers_only)
    except KeyboardInterrupt:
        say("interrupted; `purser up` goes on from here, `purser down` stops what was started")
        raise
    say("Purser is up; `purser status` shows its state, `purser env` prints its addresses")
