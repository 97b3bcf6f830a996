"""The command of `python -m bench`: runs the benchmarks on a temporary stack."""

from typing import Annotated

import typer

from bench.catalogue import ON_REQUEST, SECTIONS
from operations.bring_up import bring_up
from operations.console import say
from operations.own_stack import own_stack
from schemas.errors import UsageError

GOAL_MISSED = 1

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def bench(
    only: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"Any of {', '.join(SECTIONS)}; by default all but {', '.join(ON_REQUEST)}."
        ),
    ] = None,
    events: Annotated[
        int, typer.Option(help="Events of a throughput run.", min=1000, max=100_000_000)
    ] = 300_000,
    rate: Annotated[
        float,
        typer.Option(help="Payments per second for latency.", min=1, max=10_000),
    ] = 208,
    seconds: Annotated[
        float,
        typer.Option(help="Duration of the latency run.", min=1, max=86_400),
    ] = 30,
    seed: Annotated[int, typer.Option(help="Seed of the generated payments.")] = 1,
    payments: Annotated[
        int, typer.Option(help="Payments in the data for queries.", min=1000, max=1_000_000_000)
    ] = 5_000_000,
    day_payments: Annotated[
        int, typer.Option(help="Payments of the day that is loaded.", min=1000, max=100_000_000)
    ] = 1_000_000,
) -> None:
    """Measure latency, groups, throughput, transport and storage, as ratios within this run.

    Prints a table and writes bench/results/TIME.json. Uses a temporary stack, separate from that
    of `purser up`, and removes it. Exit status: 0 all goals met, 1 a goal was missed.

    Example: purser bench latency --seconds 60
    """
    for name in only or ():
        if name not in SECTIONS:
            raise UsageError("section", f"there is no {name!r}; choose from {', '.join(SECTIONS)}")
    from bench.run import run  # takes half a second, so a wrong name is refused first

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
            day_payments=day_payments,
            only=only or [],
        )
    if any(figure.met is False for figure in figures):
        raise typer.Exit(GOAL_MISSED)
