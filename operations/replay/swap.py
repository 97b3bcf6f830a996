"""Exchange tables under live traffic: no pause, no gap, no duplicate.

The live worker does not know of the swap. A batch that it is writing at that moment may end up
partly in the old tables and partly in the new ones. All records of such a batch are before the
topic's end as read *after* the last exchange. So the new tables are complete once everything up to
that end is written to them. Writing rows again that the worker has already written changes nothing.

The cost of a crash at each step (the replay is run again and finds the step by the tables' UUIDs):

1. record    both UUIDs of each table are stored          nothing has moved: recorded again
2. catch up  the new table has all up to the topic's end  as 1
3. exchange  one table, atomically                        it is done, the others follow
4. follow    up to the topic's end after all exchanges    last moments are missing until resumed

The tables of one view are exchanged right after each other, and the totals right after the entries
that they are computed from. So a roll-up that writes into the new totals has read new entries: it
looks up its target first. What it read before is void (`sinks.roll_up`).
"""

from collections.abc import Callable, Mapping

from operations.replay.choice import Choice
from operations.replay.database import ReplayDatabase
from operations.replay.follow import Follower
from operations.replay.state import Exchange
from schemas.errors import ConfigurationError
from schemas.views import LEDGER_ENTRIES, SELLER_REVENUE, Table


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
    left = [table for table in choice.swapped if not _is_exchanged(database, table, exchanges)]
    for table in choice.swapped:
        if table not in left:
            follower.moved(table)
    for table in left:
        now = database.uuids([table])
        untouched = all(now[name] == exchanges[name] for name in table.stored_in)
        # What is caught up between the entries and their totals would be missing in the latter.
        if untouched and not (table is SELLER_REVENUE and LEDGER_ENTRIES in choice.swapped):
            follower.catch_up()
        say(f"swap {table.name}")
        for name in table.stored_in:
            if now[name] == exchanges[name]:
                database.exchange(name)
        follower.moved(table)
    say("follow the topic past the live worker")
    follower.until(follower.ends())
    follower.note_moved()


def _is_exchanged(
    database: ReplayDatabase, table: Table, exchanges: Mapping[str, Exchange]
) -> bool:
    """Return whether all tables behind a view are exchanged; raises as `swap`."""
    now = database.uuids([table])
    for name in table.stored_in:
        noted = exchanges[name]
        if now[name] != noted and (now[name].new, now[name].old) != (noted.old, noted.new):
            raise ConfigurationError(
                f"table {name} was replaced by another process during the replay; remove the replay"
                " with `purser replay --cleanup --force`, then start again"
            )
    return all(now[name] != exchanges[name] for name in table.stored_in)
