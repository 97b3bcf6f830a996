"""`purser dead-letters`: list and show records that could not be folded, and redrive them."""

import getpass
import os
import socket
import sys
from contextlib import closing
from enum import StrEnum
from typing import Annotated

import typer

from cli import dead_letters_text as text
from operations.console import print_json, progress, say, wide_console
from operations.dead_letters import (
    Chosen,
    DeadLetters,
    Outcome,
    Plan,
    Position,
    State,
    judge,
    make_plan,
)
from operations.dead_letters import redrive as write
from schemas.errors import PurserError, UsageError
from sinks.clickhouse import ClickHouseSink
from sinks.settings import ClickHouseSettings

STILL_DEAD = 1
NAME_MAX = 200

dead_letters = typer.Typer(
    help="Records that could not be folded: list, show, redrive.", no_args_is_help=True
)


class Which(StrEnum):
    """Which records to list."""

    OPEN = "open"
    REDRIVEN = "redriven"
    ALL = "all"


Reason = Annotated[
    str | None, typer.Option(help="Only records with this reason, such as newer_schema_version.")
]


@dead_letters.command("list")
def list_(
    reason: Reason = None,
    state: Annotated[
        Which, typer.Option(help="Open (still missing from the views), redriven, or all.")
    ] = Which.OPEN,
    limit: Annotated[
        int, typer.Option(help="Records to show, most recently parked first.", min=1, max=10_000)
    ] = 50,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")
    ] = False,
) -> None:
    """List the records that could not be folded, with a count per reason.

    Exit status: 0 listed, 2 could not list (a server is down, the reason does not exist), 64 wrong
    usage.

    Example: purser dead-letters list --reason newer_schema_version --json
    """
    wanted = None if state is Which.ALL else State(state.value)
    with _open() as letters:
        listed = letters.listed(reason=reason, state=wanted, limit=limit)
        summary = letters.summary(reason)
    if as_json:
        print_json(text.list_json(listed, summary))
    else:
        text.show_list(listed, summary, state, wide_console())


@dead_letters.command()
def show(
    position: Annotated[str, typer.Argument(help="TOPIC/PARTITION/OFFSET, as `list` prints it.")],
    raw: Annotated[
        bool, typer.Option("--raw", help="Write only the value's bytes to standard output.")
    ] = False,
    raw_key: Annotated[bool, typer.Option("--raw-key", help="Write only the key's bytes.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, with all bytes.")
    ] = False,
) -> None:
    """Show everything about one record: bytes, error, how this code reads it, past redrives.

    Exit status: 0 shown, 2 could not show (no record at this position, a server is down), 64 wrong
    usage.

    Example: purser dead-letters show purser.public.payments/3/1042 --raw | jq .
    """
    if raw + raw_key + as_json > 1:
        raise UsageError("--raw, --raw-key, --json", "give one of them")
    at = Position.parse(position)
    with _open() as letters:
        letter = letters.one(at)
        history = letters.history(at)
    if raw or raw_key:
        if raw and letter.value is None:
            say(f"{at} has no value: a tombstone")
        sys.stdout.buffer.write(letter.key if raw_key else letter.value or b"")
        sys.stdout.buffer.flush()
    elif as_json:
        print_json(text.letter_json(letter, judge(letter), history))
    else:
        text.show_letter(letter, judge(letter), history, wide_console())


@dead_letters.command()
def redrive(
    positions: Annotated[
        list[str] | None, typer.Argument(help="TOPIC/PARTITION/OFFSET, one or more.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="All open records with this reason.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All open records.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change and write nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    by: Annotated[
        str | None, typer.Option(help="Your name for the audit; user@host by default.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, for scripts.")
    ] = False,
) -> None:
    """Fold records again at their original positions, after a fix or an upgrade.

    The command first shows what would change: events, rows, sellers' totals, and the records that
    still cannot be folded. It then writes the rows as if the records had never failed, and records
    who ran it. Running it twice changes nothing more. After an interruption, run it again.

    Exit status: 0 all are redriven, 1 some are still dead (or you answered no), 2 could not run,
    64 wrong usage, 130 interrupted. With --dry-run: the status that a run would have.

    Example: purser dead-letters redrive --reason newer_schema_version --dry-run
    """
    who = _who(by)
    if bool(positions) + (reason is not None) + everything != 1:
        raise UsageError("what to redrive", "give positions, or --reason, or --all")
    wanted = sorted({Position.parse(each) for each in positions or ()})
    with _open() as letters:
        chosen = letters.at(wanted) if wanted else letters.open_ones(reason)
        with progress() as report:
            plan = make_plan(letters, chosen, report)
        if not as_json:
            text.show_plan(plan, wide_console())
        if dry_run or not chosen:
            outcome = None
        elif not _agreed(plan, yes=yes):
            say("nothing was changed")
            raise typer.Exit(STILL_DEAD)
        else:
            outcome = _write(letters, chosen, who)
    if as_json:
        print_json({"plan": plan.to_json(), "outcome": outcome.to_json() if outcome else None})
    elif outcome is not None:
        text.show_outcome(outcome, wide_console())
    if outcome.still_dead if outcome else plan.dead:
        raise typer.Exit(STILL_DEAD)


def _write(letters: DeadLetters, chosen: list[Chosen], who: str) -> Outcome:
    outcome = Outcome()
    try:
        with closing(ClickHouseSink(ClickHouseSettings.load())) as sink, progress() as report:
            write(letters, sink, chosen, by=who, outcome=outcome, on_progress=report)
    except (PurserError, KeyboardInterrupt):
        say(f"{outcome.redriven:,} of {len(chosen):,} were redriven; run it again to continue")
        raise
    return outcome


def _agreed(plan: Plan, *, yes: bool) -> bool:
    """Whether to continue; asks on a terminal if anything would be written to the views."""
    if yes or not plan.events or not sys.stdin.isatty():
        return True
    count = plan.events.total()
    return typer.confirm(f"Redrive {count:,} record{'' if count == 1 else 's'}?", err=True)


def _who(by: str | None) -> str:
    """The operator's name for the audit; raises UsageError if it cannot be displayed."""
    if by is None:
        try:
            user = getpass.getuser()
        except (KeyError, OSError):  # a container's user without a name
            user = str(os.getuid())
        return f"{user}@{socket.gethostname()}"
    if not by.strip() or len(by) > NAME_MAX or not by.isprintable():
        raise UsageError("--by", f"give a name of 1 to {NAME_MAX} visible characters")
    return by.strip()


def _open() -> DeadLetters:
    return DeadLetters(ClickHouseSettings.load())
