"""The long round: many kills, seeded and random, on a stack of its own.

    python -m tests.chaos --kills 300 --seed 7 --json round.json

It prints a line per kill and a table at the end, also after Ctrl-C. If something is lost or does
not come back, it ends at once with status 1, and its stack stays up to be examined.
"""

import argparse
import json
import logging
import secrets
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path

from operations.bring_up import bring_up
from operations.console import say, wide_console
from operations.own_stack import own_stack
from schemas.runtime import entry_point
from stack.native import Stack
from tests.chaos.outcome import Outcome
from tests.chaos.plan import plan, targets
from tests.chaos.rounds import play

FAILED = 1
INTERRUPTED = 130


@entry_point
def main() -> None:
    """Play it, say what it saw, and exit with 1 if something was lost or did not come back."""
    options = _options()
    # It would log every server that was just killed.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    started_at = datetime.now(UTC)
    say(f"seed {options.seed}: {options.kills} kills, {options.rate:g} payments/s")
    with own_stack("chaos", keep=True) as stack:
        bring_up(stack, say)
        outcome = play(
            stack,
            plan(targets(options.kills, options.seed), options.seed),
            seed=options.seed,
            rate=options.rate,
            verify_every=options.verify_every,
            say=say,
        )
        if outcome.failures():
            _how_to_look_further(stack)
        else:
            say("cleaning up")
            stack.destroy()
    outcome.show(wide_console())
    if options.json:
        _write(options.json, outcome, started_at)
    for failure in outcome.failures():
        say(f"FAILED: {failure}")
    if outcome.failures() and outcome.report:
        say(json.dumps(outcome.report.to_json()))
    status = INTERRUPTED if outcome.interrupted else 0
    sys.exit(FAILED if outcome.failures() else status)


def _how_to_look_further(stack: Stack) -> None:
    settings = stack.settings
    say(
        "the stack is still running, to be examined; the next round removes it\n"
        f"  export PURSER_HOME={settings.home} PURSER_PORT_BASE={settings.port_base}\n"
        f"  {stack.home.logs}   the logs of every process\n"
        "  purser down --delete-data   stop it and delete its data"
    )


def _write(file: Path, outcome: Outcome, started_at: datetime) -> None:
    document = {
        "command": shlex.join(["python", "-m", "tests.chaos", *sys.argv[1:]]),
        "started_at": started_at.isoformat(timespec="seconds"),
        **outcome.to_json(),
    }
    file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    say(f"written to {file}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=_positive, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=30.0, help="live payments per second")
    parser.add_argument(
        "--verify-every", type=_positive, default=50, metavar="KILLS", help="check meanwhile"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return value


if __name__ == "__main__":
    main()
