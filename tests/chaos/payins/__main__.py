"""The long round of payments in: many kills, seeded and random, on a stack of its own.

    python -m tests.chaos.payins --kills 100 --seed 7 --json round.json

It prints a line per kill and a table at the end. If something is charged twice, lost, in doubt or
does not agree, it ends with status 1, and its stack stays up to be examined.
"""

import os
import sys

from operations.console import say
from schemas.runtime import entry_point
from tests.chaos.command import round_parser, run_round, status_of
from tests.chaos.payins.plan import plan
from tests.chaos.payins.rounds import play
from tests.payments_stack import SOON


@entry_point
def main() -> None:
    """Play it, say what it saw, and exit with 1 if something is not as it must be."""
    options = round_parser("tests.chaos.payins", __doc__, rate=8.0, each="purchases").parse_args()
    os.environ.update(SOON)
    say(f"seed {options.seed}: {options.kills} kills, {options.rate:g} purchases/s")
    kills = plan(options.kills, options.seed)
    outcome = run_round(
        "chaos-payins",
        options,
        lambda stack: play(stack, kills, seed=options.seed, rate=options.rate, say=say),
        look=("purser books; purser verify   compare again",),
    )
    sys.exit(status_of(outcome))


if __name__ == "__main__":
    main()
