"""Exchange tables under live traffic: no pause, no gap, no duplicate.

The live worker does not know of the swap. A batch that it is writing at that moment may end up
partly in the old tables and partly in the new ones. All records of such a batch are before the
topic's end as read *after* the last exchange. So the new tables are complete once everything up to
that end is written to them. Writing rows again that the worker has already written changes nothing.

The cost of a crash at each step (the replay is run again and finds the step by the tables' UUIDs):

1. record    both UUIDs of each table are stored          nothing has moved: recorded again
2. catch up  the new table has all up to the topic's end  as 1
3. exchange  one table, atomically                        it is done, the others follow
4. settle    inserts that use the old table have ended    as 3
5. follow    up to the topic's end after all exchanges    last moments are missing until resumed
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
    """Exchange every chosen table that is not exchanged yet, then read past all other writers.

    Raises:
        ConfigurationError: another process moved a table meanwhile; no further table is moved.
        PurserError: a server is down; run it again.
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
                f"table {table.name} was replaced by another process during the replay; remove"
                " the replay with `purser replay --cleanup --force`, then start again"
            )
        follower.moved(table)
    say("follow the topic past the live worker")
    follower.until(follower.ends())
    follower.refresh_moved_totals()


def _settle(database: ReplayDatabase, running: frozenset[str]) -> None:
    """Wait, for a limited time, until queries that started before the exchange have ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while running & database.running_inserts(LEDGER_ENTRIES) and time.monotonic() < deadline:
        time.sleep(SETTLE_POLL_SECONDS)
