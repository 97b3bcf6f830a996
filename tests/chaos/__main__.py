"""The long round: many kills, seeded and random, on a stack of its own."""

import argparse
import secrets
from random import Random

from bench.survival import MID_INSERT, TARGETS
from operations.bring_up import bring_up
from operations.console import say
from operations.own_stack import own_stack
from schemas.runtime import entry_point
from tests.chaos.rounds import check, play


@entry_point
def main() -> None:
    """Play it; ends with a trace when something was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--rate", type=float, default=30.0, help="live payments per second")
    options = parser.parse_args()
    random = Random(options.seed)
    choices = [*TARGETS, MID_INSERT]
    # Everything at least once, the rest by chance.
    targets = [*choices, *random.choices(choices, k=max(0, options.kills - len(choices)))]
    random.shuffle(targets)
    say(f"seed {options.seed}: {len(targets)} kills")
    with own_stack("chaos") as stack:
        bring_up(stack, say)
        outcome = play(stack, targets, seed=options.seed, rate=options.rate, say=say)
    check(outcome)
    say(
        f"{len(outcome.killed)} kills, {outcome.traffic.events:,} live events acknowledged,"
        f" {outcome.lost} lost, {outcome.traffic.resent} commands sent again, import ran"
        f" {outcome.import_runs} times; verify: {outcome.report.verdict}"
        f" ({outcome.report.postgres_events:,} events)"
    )


if __name__ == "__main__":
    main()
