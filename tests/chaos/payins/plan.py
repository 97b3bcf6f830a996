"""What a round kills, and when: decided in advance from the seed alone."""

from random import Random

from tests.chaos.plan import Kill

API, WORKER, SIMULATOR, POSTGRES = "api", "payins-worker", "simulator", "postgres"
TARGETS = (API, WORKER, SIMULATOR, POSTGRES)
MID_CALL = "api while the PSP is asked"
MID_COMMIT = "api while it commits"
MID_RESOLVE = "payins-worker while the PSP is asked"
HELD: dict[str, tuple[str, str]] = {
    MID_CALL: (API, SIMULATOR),
    MID_COMMIT: (API, POSTGRES),
    MID_RESOLVE: (WORKER, SIMULATOR),
}
"""Target -> the process that dies, and the one that it is waiting for, which is held meanwhile."""
CHOICES = (*TARGETS, *HELD)
PAUSE_SECONDS = (1.0, 4.0)


def plan(kills: int, seed: int) -> list[Kill]:
    """So many kills: each target once if there is room, the rest by chance."""
    random = Random(seed)
    once = random.sample(CHOICES, k=min(kills, len(CHOICES)))
    chosen = [*once, *random.choices(CHOICES, k=kills - len(once))]
    random.shuffle(chosen)
    return [Kill(target=each, pause_seconds=random.uniform(*PAUSE_SECONDS)) for each in chosen]
