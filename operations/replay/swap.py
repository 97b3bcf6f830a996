"""Tables change places under live traffic: no pause, no gap, no double.

The live worker is not told. A batch that it writes at that very moment may end up half in the old
tables, half in the new ones; all its records lie before the topic's end as it is *after* the last
exchange. So the new tables are whole once everything up to that end is written into them, and
writing what the worker wrote there already changes nothing.

What a crash costs, step by step (the replay is run again, and finds out by the tables' UUIDs):

1. note      both UUIDs of each table are stored        nothing has moved: noted again
2. catch up  the new table has all up to the topic's end  as 1
3. exchange  one table, atomically                      it is where it belongs, the next follow
4. settle    inserts that hold the old table have ended as 3
5. follow    up to the topic's end after all of them    moments are missing until it is run again
"""

import time
from collections.abc import Callable, Mapping

from operations.replay.choice import Choice
from operations.replay.database import ReplayDatabase
from operations.replay.follow import Follower
from operations.replay.state import Exchange
from schemas.errors import ConfigurationError
from schemas.views import LEDGER_ENTRIES

SETTLE_SECONDS = 30.0
SETTLE_POLL_SECONDS = 0.01


def swap(
    database: ReplayDatabase,
    follower: Follower,
    choice: Choice,
    exchanges: Mapping[str, Exchange],
    say: Callable[[str], None],
) -> None:
    """Let every table of the choice change places that has not, then read on past all others.

    Raises:
        ConfigurationError: somebody else moved a table meanwhile; nothing more is moved.
        PurserError: a server is away; run it again.
    """
    for table in choice.swapped:
        noted, now = exchanges[table.name], database.uuids([table])[table.name]
        if now == noted:
            follower.catch_up()
            running = database.running_inserts(LEDGER_ENTRIES)
            say(f"swap {table.name}")
            database.exchange(table)
            if table is LEDGER_ENTRIES:
                # A refresh that reads the old entries must not write into the new totals.
                _settle(database, running)
        elif (now.new, now.old) != (noted.old, noted.new):
            raise ConfigurationError(
                f"table {table.name} was replaced by somebody else while it was replayed; remove"
                " the replay with `purser replay --cleanup`, then start anew"
            )
        follower.moved(table)
    say("follow until past the live worker")
    follower.until(follower.ends())
    follower.refresh_moved_totals()


def _settle(database: ReplayDatabase, running: frozenset[str]) -> None:
    """Wait, bounded, until queries that began before the exchange have ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while running & database.running_inserts(LEDGER_ENTRIES) and time.monotonic() < deadline:
        time.sleep(SETTLE_POLL_SECONDS)
