"""Rebuild views beside the live ones, prove them, swap them in: no pause, no loss, no effect.

    settings.py   where the servers are, limits
    choice.py     which views, what proves them
    state.py      how far a replay is: what a killed one needs to go on
    database.py   the database beside the live one, where the new tables grow
    topic.py      the topic from its first record on
    snapshot.py   the same history out of PostgreSQL, when the topic no longer has it
    build.py      records -> fold -> sink, one batch in flight
    reader.py     a process that reads a share of the history
    bulk.py       readers in parallel, watched
    follow.py     the end of the topic, until the swap
    swap.py       tables change places
    run.py        all of it in order, and on from anywhere
    undo.py       back to the old tables; drop them
    digest.py     what shows that two tables are the same
    lock.py       one at a time

It stands beside the way of the data. It may read PostgreSQL and the topic and write ClickHouse;
it must never cause an effect outside: nothing here, or reachable from here, imports a connector,
the writer, an HTTP client or a producer (`pyproject.toml` has the contract).
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
