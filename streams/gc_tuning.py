"""How often a process that folds looks for garbage: seldom, or that takes a third of its time."""

import gc

THRESHOLDS = (100_000, 50, 100)


def tune_gc() -> None:
    """Let it look less often, and not at what the modules made: a third of the CPU time per event.

    Records and rows are freed by their reference counts; cycles are few, so they may wait.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
