"""`purser repair`: heals the slot, the publication or the topic; shows the plan first."""

from typing import Annotated, Any

import typer

from cli.verify_report import show
from operations.console import print_json, progress, say, wide_console
from operations.repair import Extent, Options, Outcome, Part, Plan
from operations.repair import repair as run
from schemas.errors import PurserError, UsageError

WRONG = 1
COULD_NOT = 2
EVENTS_PER_SECOND = 6_000
"""About what Debezium sends on two cores (docs/benchmarks.md)."""

repair = typer.Typer(
    help="Heal the replication slot, the publication or the payments topic.", no_args_is_help=True
)

Apply = Annotated[
    bool, typer.Option("--apply", help="Do it. Without this, only show what would be done.")
]
Everything = Annotated[
    bool,
    typer.Option("--all", help="Send all of history again, not only what Kafka may lack."),
]
Force = Annotated[
    bool, typer.Option("--force", help="Take a new snapshot even if nothing seems wrong.")
]
Timeout = Annotated[float, typer.Option(help="Seconds that verify waits for rows in flight.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="One JSON object on standard output, even after a failure.")
]


@repair.command()
def slot(
    apply: Apply = False,
    everything: Everything = False,
    force: Force = False,
    timeout: Timeout = 600.0,
    as_json: AsJson = False,
) -> None:
    """Replace a replication slot that is lost, missing or made anew; start a stopped connector.

    The command first shows what is wrong, what it would do and how many events it would send. With
    --apply it drops the slot, lets Debezium make a new one and take the snapshot that belongs to
    it, and verifies. Writers are not disturbed. After an interruption, run it again.

    Exit status: 0 healed, or nothing is wrong; 1 something is wrong (without --apply), or the views
    still differ afterwards; 2 could not be done, or verify could not tell; 64
    wrong usage; 130 interrupted.

    Example: purser repair slot --apply
    """
    _repair(Part.SLOT, apply, everything, force, timeout, as_json)


@repair.command()
def publication(
    apply: Apply = False,
    everything: Everything = False,
    force: Force = False,
    timeout: Timeout = 600.0,
    as_json: AsJson = False,
) -> None:
    """Make the publication as the migration does, and send what was not published meanwhile.

    Events that were committed without it are not in the log's stream, not even afterwards. So with
    --apply the command also does what `purser repair slot` does. After an interruption, run it
    again.

    Exit status: 0 healed, or nothing is wrong; 1 something is wrong (without --apply), or the views
    still differ afterwards; 2 could not be done, or verify could not tell; 64
    wrong usage; 130 interrupted.

    Example: purser repair publication --apply
    """
    _repair(Part.PUBLICATION, apply, everything, force, timeout, as_json)


@repair.command()
def topic(
    apply: Apply = False,
    everything: Everything = False,
    force: Force = False,
    timeout: Timeout = 600.0,
    as_json: AsJson = False,
) -> None:
    """Make a missing topic, and fill one that was made anew with all of history again.

    With --apply the command creates the topics that are missing, sends every event of PostgreSQL
    again, and rebuilds what the views note about positions in the topic. It also heals slot and
    publication. After an interruption, run it again.

    Exit status: 0 healed, or nothing is wrong; 1 something is wrong (without --apply), or the views
    still differ afterwards; 2 could not be done, or verify could not tell; 64
    wrong usage; 130 interrupted.

    Example: purser repair topic --apply
    """
    _repair(Part.TOPIC, apply, everything, force, timeout, as_json)


def _repair(
    part: Part, apply: bool, everything: bool, force: bool, timeout: float, as_json: bool
) -> None:
    try:
        with progress() as on_progress:
            options = Options(
                apply=apply,
                everything=everything,
                force=force,
                verify_seconds=timeout,
                on_plan=(lambda _plan: None) if as_json else _show_plan,
                on_step=say,
                on_progress=on_progress,
            )
            outcome = run(part, options)
    except UsageError:
        raise  # nothing was looked at
    except PurserError as error:
        if as_json:
            print_json({"status": "failed", "reason": str(error)})
        say(f"purser: {error}")
        raise typer.Exit(COULD_NOT) from None
    except KeyboardInterrupt:
        say("interrupted; run the same command again to continue")
        raise
    if as_json:
        print_json(_document(outcome))
    else:
        _show_end(outcome)
    raise typer.Exit(_status(outcome))


def _status(outcome: Outcome) -> int:
    if outcome.report is not None:
        return outcome.report.exit_status
    return WRONG if outcome.plan.steps else 0


def _document(outcome: Outcome) -> dict[str, Any]:
    plan, extent, report = outcome.plan, outcome.extent, outcome.report
    done = "healed" if report is not None and not report.exit_status else "not healed"
    planned = "needed" if plan.steps else "nothing to do"
    return {
        "status": done if report is not None else planned,
        "problems": list(plan.problems),
        "steps": [step.value for step in plan.steps],
        "extent": _extent_document(extent) if extent is not None else None,
        "verify": report.to_json() if report is not None else None,
    }


def _extent_document(extent: Extent) -> dict[str, Any]:
    return {
        "events": extent.events,
        "missing": extent.missing,
        "to_send": extent.to_send,
        "since": extent.since.isoformat() if extent.since else None,
    }


def _show_plan(plan: Plan) -> None:
    if not plan.problems and not plan.steps:
        typer.echo(f"{plan.part}: nothing is wrong")
        return
    typer.echo("what is wrong" if plan.problems else "nothing is wrong, but --force was given")
    for problem in plan.problems:
        typer.echo(f"  {problem}")
    if not plan.refused:
        typer.echo("what heals it")
        for number, step in enumerate(plan.steps, start=1):
            typer.echo(f"  {number:>2}. {step}")


def _show_end(outcome: Outcome) -> None:
    if outcome.extent is not None and outcome.report is None:
        _show_extent(outcome.extent)
    if outcome.report is not None:
        show(outcome.report, wide_console())
    elif outcome.plan.steps:
        typer.echo(f"nothing was changed; `purser repair {outcome.plan.part} --apply` does it")


def _show_extent(extent: Extent) -> None:
    seconds = extent.to_send / EVENTS_PER_SECOND
    which = f"those recorded since {extent.since:%Y-%m-%d %H:%M} UTC" if extent.since else "all"
    typer.echo("what it costs")
    if extent.since is not None:
        typer.echo(f"  {extent.missing:,} events are not in the views")
    typer.echo(
        f"  Debezium sends {extent.to_send:,} of {extent.events:,} events again ({which}), which"
        f" takes {_duration(seconds)}"
    )
    typer.echo(
        "  new events reach the views only after these; the topic grows by as many records,"
        " the views do not grow"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return "a minute at most"
    if seconds < 3600:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
