"""What the long rounds have in common as commands: options, a stack of their own, what they say."""

import argparse
import json
import logging
import secrets
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

from operations.bring_up import bring_up
from operations.console import say, wide_console
from operations.own_stack import own_stack
from stack.native import Stack

FAILED = 1
INTERRUPTED = 130


class RoundOutcome(Protocol):
    """What a round saw."""

    interrupted: bool

    def failures(self) -> list[str]:
        """What must not be, as sentences."""

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""

    def show(self, console: Console) -> None:
        """Print the table and the totals."""


Outcome = TypeVar("Outcome", bound=RoundOutcome)


def round_parser(
    module: str, text: str | None, *, rate: float, each: str
) -> argparse.ArgumentParser:
    """The options of every round; `rate` counts `each` per second."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=positive, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=rate, help=f"{each} per second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    return parser


def positive(text: str) -> int:
    """A whole number above zero."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return value


def run_round(
    name: str,
    options: argparse.Namespace,
    play: Callable[[Stack], Outcome],
    look: tuple[str, ...] = (),
) -> Outcome:
    """Play a round on the stack `name`, and say what it saw.

    If something failed, its stack stays up; `look` are commands that examine it.
    """
    # It would log every server that was just killed.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    started_at = datetime.now(UTC)
    with own_stack(name, keep=True) as stack:
        bring_up(stack, say)
        outcome = play(stack)
        failures = outcome.failures()
        if failures:
            _how_to_look_further(stack, look)
        else:
            say("cleaning up")
            stack.destroy()
    outcome.show(wide_console())
    if options.json:
        _write(options.json, outcome, started_at)
    for failure in failures:
        say(f"FAILED: {failure}")
    return outcome


def status_of(outcome: RoundOutcome) -> int:
    """The exit status of a round."""
    if outcome.failures():
        return FAILED
    return INTERRUPTED if outcome.interrupted else 0


def _how_to_look_further(stack: Stack, look: tuple[str, ...]) -> None:
    settings = stack.settings
    lines = (
        "the stack is still running, to be examined; the next round removes it",
        f"  export PURSER_HOME={settings.home} PURSER_PORT_BASE={settings.port_base}",
        f"  {stack.home.logs}   the logs of every process",
        *(f"  {each}" for each in look),
        "  purser down --delete-data   stop it and delete its data",
    )
    say("\n".join(lines))


def _write(file: Path, outcome: RoundOutcome, started_at: datetime) -> None:
    document = {
        "command": shlex.join(["python", *sys.orig_argv[1:]]),
        "started_at": started_at.isoformat(timespec="seconds"),
        **outcome.to_json(),
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    say(f"written to {file}")
