"""The long round: many kills, seeded and random, on a stack of its own.

    python -m tests.chaos --kills 300 --seed 7 --json round.json

It prints a line per kill and a table at the end, also after Ctrl-C. If something is lost or does
not come back, it ends at once with status 1, and its stack stays up to be examined.
"""

import argparse
import json
import sys

from operations.console import say
from schemas.runtime import entry_point
from tests.chaos.command import positive, round_parser, run_round, status_of
from tests.chaos.plan import plan, targets
from tests.chaos.rounds import play


@entry_point
def main() -> None:
    """Play it, say what it saw, and exit with 1 if something was lost or did not come back."""
    options = _options()
    say(f"seed {options.seed}: {options.kills} kills, {options.rate:g} payments/s")
    outcome = run_round(
        "chaos",
        options,
        lambda stack: play(
            stack,
            plan(targets(options.kills, options.seed), options.seed),
            seed=options.seed,
            rate=options.rate,
            verify_every=options.verify_every,
            say=say,
        ),
    )
    if outcome.failures() and outcome.report:
        say(json.dumps(outcome.report.to_json()))
    sys.exit(status_of(outcome))


def _options() -> argparse.Namespace:
    parser = round_parser("tests.chaos", __doc__, rate=30.0, each="live payments")
    parser.add_argument(
        "--verify-every", type=positive, default=50, metavar="KILLS", help="check meanwhile"
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
