"""The long round of payments in: many kills, seeded and random, on a stack of its own.

    python -m tests.chaos.payins --kills 100 --seed 7 --json round.json

It prints a line per kill and a table at the end. If something is charged twice, lost, in doubt or
does not agree, it ends with status 1, and its stack stays up to be examined.
"""

import argparse
import json
import logging
import os
import secrets
import sys
from pathlib import Path

from operations.bring_up import bring_up
from operations.console import say, wide_console
from operations.own_stack import own_stack
from schemas.runtime import entry_point
from stack.native import Stack
from tests.chaos.payins.plan import plan
from tests.chaos.payins.rounds import play
from tests.payments_stack import SOON

FAILED = 1


@entry_point
def main() -> None:
    """Play it, say what it saw, and exit with 1 if something is not as it must be."""
    options = _options()
    # It would log every server that was just killed.
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)
    os.environ.update(SOON)
    say(f"seed {options.seed}: {options.kills} kills, {options.rate:g} purchases/s")
    with own_stack("chaos-payins", keep=True) as stack:
        bring_up(stack, say)
        outcome = play(
            stack, plan(options.kills, options.seed), seed=options.seed, rate=options.rate, say=say
        )
        failures = outcome.failures()
        if failures:
            _how_to_look_further(stack)
        else:
            say("cleaning up")
            stack.destroy()
    outcome.show(wide_console())
    if options.json:
        options.json.write_text(json.dumps(outcome.to_json(), indent=1) + "\n", encoding="utf-8")
        say(f"written to {options.json}")
    for failure in failures:
        say(f"FAILED: {failure}")
    sys.exit(FAILED if failures else 0)


def _how_to_look_further(stack: Stack) -> None:
    settings = stack.settings
    say(
        "the stack is still running, to be examined; the next round removes it\n"
        f"  export PURSER_HOME={settings.home} PURSER_PORT_BASE={settings.port_base}\n"
        f"  {stack.home.logs}   the logs of every process\n"
        "  purser books; purser verify   compare again\n"
        "  purser down --delete-data   stop it and delete its data"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.payins",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=_positive, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=8.0, help="purchases per second")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    return parser.parse_args()


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return value


if __name__ == "__main__":
    main()
