"""Rebuild views beside the live ones, prove them equal and swap them in, without a pause or a loss.

    settings.py        addresses of the servers, and limits
    choice.py          which views are rebuilt, and what proves them
    state.py           the progress of a replay: what it needs to resume after it was killed
    database.py        the separate database in which the new tables grow
    topic.py           reads the topic from its first record
    snapshot.py        reads the same history from PostgreSQL, if the topic no longer has it
    build.py           records -> fold -> sink, with one batch in flight
    reader_process.py  a process that reads a share of the history
    bulk.py            supervises parallel readers
    follow.py          follows the end of the topic until the swap
    swap.py            exchanges the tables
    run.py             all steps in order, resumable at any step
    undo.py            restores the old tables, or drops them
    digest.py          hashes that show whether two tables are equal
    lock.py            allows one replay at a time

It stands beside the live path. It reads PostgreSQL and the topic and writes to ClickHouse. It must
never cause any other effect: nothing here, or reachable from here, imports a connector, the writer,
a general HTTP client or a producer (`pyproject.toml` has the contract).
"""

from operations.replay.choice import VIEWS, Choice
from operations.replay.digest import Digest, digests
from operations.replay.run import Options, Outcome, Replay, ReplayDiverged, opened
from operations.replay.settings import ReplaySettings
from operations.replay.state import Source, Step
from operations.replay.undo import RolledBack, clean_up, roll_back

__all__ = [
    "VIEWS",
    "Choice",
    "Digest",
    "Options",
    "Outcome",
    "Replay",
    "ReplayDiverged",
    "ReplaySettings",
    "RolledBack",
    "Source",
    "Step",
    "clean_up",
    "digests",
    "opened",
    "roll_back",
]
