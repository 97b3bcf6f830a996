"""`python -m bench`, which `purser bench` runs: measure on a stack of its own."""

import sys
from typing import Annotated

import typer

from bench.catalogue import ON_REQUEST, SECTIONS
from operations.bring_up import bring_up
from operations.console import say
from operations.own_stack import own_stack
from schemas.errors import InputError, PurserError
from schemas.runtime import entry_point

GOAL_MISSED = 1
INTERRUPTED = 130


def bench(
    only: Annotated[
        list[str] | None,
        typer.Argument(help=f"{', '.join(SECTIONS)}; by default all but {', '.join(ON_REQUEST)}."),
    ] = None,
    events: Annotated[int, typer.Option(help="Events that a throughput run moves.", min=1000)] = (
        300_000
    ),
    rate: Annotated[float, typer.Option(help="Payments per second for latency.", min=1)] = 208,
    seconds: Annotated[float, typer.Option(help="How long latency is measured.", min=1)] = 30,
    seed: Annotated[int, typer.Option(help="Of the generated payments.")] = 1,
    payments: Annotated[int, typer.Option(help="Payments that queries look at.", min=1000)] = (
        5_000_000
    ),
) -> None:
    """Measure latency, throughput, transport and storage, as ratios within this run.

    Prints a table and writes bench/results/TIME.json. Takes a stack of its own, apart from that of
    `purser up`, and removes it. Exit status: 0 all goals met, 1 one was missed.

    Example: purser bench latency --seconds 60
    """
    for name in only or ():
        if name not in SECTIONS:
            raise InputError("section", f"there is no {name!r}; take of {', '.join(SECTIONS)}")
    from bench.run import run  # half a second that a wrong name need not wait for

    with own_stack("bench") as stack:
        bring_up(stack, say)
        figures = run(
            stack,
            say,
            events=events,
            rate=rate,
            seconds=seconds,
            seed=seed,
            payments=payments,
            only=only or [],
        )
    if any(figure.met is False for figure in figures):
        raise typer.Exit(GOAL_MISSED)


@entry_point
def main() -> None:
    """Run it; an error on purpose is one line and its own exit status."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(bench)
    try:
        app(prog_name="purser bench")
    except PurserError as error:
        typer.echo(f"purser: {error}", err=True)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
