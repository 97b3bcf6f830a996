"""What a round kills, and when: decided in advance from the seed alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from bench.survival import MID_INSERT, TARGETS

CHOICES = (*TARGETS, MID_INSERT)
PAUSE_SECONDS = (1.0, 3.0)
EARLY_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """One kill -9, after `pause_seconds` of load.

    An `early` one comes when every process answers again after the kill before, but perhaps before
    new events are visible again.
    """

    target: str
    pause_seconds: float
    early: bool = False


def targets(kills: int, seed: int) -> list[str]:
    """So many targets: each at least once if there is room, the rest by chance."""
    random = Random(seed)
    once = random.sample(CHOICES, k=min(kills, len(CHOICES)))
    chosen = [*once, *random.choices(CHOICES, k=kills - len(once))]
    random.shuffle(chosen)
    return chosen


def plan(chosen: Sequence[str], seed: int, early_share: float = EARLY_SHARE) -> list[Kill]:
    """Kill these targets in this order, a share of them early."""
    random = Random(seed)
    return [
        Kill(
            target=target,
            pause_seconds=random.uniform(*PAUSE_SECONDS),
            early=random.random() < early_share and number > 0,
        )
        for number, target in enumerate(chosen)
    ]
