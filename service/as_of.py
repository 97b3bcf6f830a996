"""`as_of`: the time up to which the views provably hold everything that was committed.

Three facts prove it, and each is read before the view is asked:

1. Debezium delivers commits in their order, and a worker records its progress after its rows. So
   each partition holds every commit before that of its last record; the least of these times holds
   for all partitions. Under traffic that is a fraction of a second ago.
2. Without traffic those times stand still. Then PostgreSQL says what was recorded since, the oldest
   first, and ClickHouse whether each of these events is in all views. After a burst, such as an
   import, that takes a few looks: each begins where the one before came to.
3. An open dead letter is missing from the views, so `as_of` is not later than the oldest.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from clickhouse_connect.driver.client import Client

from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from service.database import Database
from service.views import Views
from sinks import queries_figures as queries

EVENTS_COMPARED_MOST = 2_000
FRESH = timedelta(seconds=2)
"""While the partitions are no further behind than this, nobody compares events."""
MARGIN = timedelta(seconds=1)
"""By how much the times of two commits may be out of their order."""
TRANSACTION_MOST = timedelta(seconds=130)
"""How long before its commit an event may have been recorded: an import's chunk takes the longest,
and the writer's `BULK_STATEMENT_SECONDS` end it."""
REFRESH_SECONDS = 0.2

# now() is before the snapshot, so whatever was committed before now() is found. Old commit times
# are forgotten; a row without one counts as new. There is always a row, for the sake of now().
_SINCE = """
SELECT now(), found.payment_id, found.seq, found.at
FROM (SELECT) AS always LEFT JOIN LATERAL (
    SELECT payment_id, seq, coalesce(
        CASE current_setting('track_commit_timestamp')
            WHEN 'on' THEN pg_xact_commit_timestamp(xmin) END, recorded_at) AS at
    FROM payments
    WHERE recorded_at >= %(recorded)s
        AND coalesce(CASE current_setting('track_commit_timestamp')
            WHEN 'on' THEN pg_xact_commit_timestamp(xmin) END, 'infinity') >= %(committed)s
    ORDER BY at LIMIT %(limit)s
) AS found ON true
"""


class RecentEvent(NamedTuple):
    """An event that may not be in the views yet."""

    payment_id: UUID
    seq: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the servers say.

    - `low`: the time before which the views are known to hold everything; None if none is known.
    - `since`: all events committed from `low` until `until`; None if nobody asked for them.
    - `visible`: those of them that are in all views.
    """

    low: datetime | None
    oldest_dead_letter: datetime | None
    since: Sequence[RecentEvent] | None = None
    until: datetime | None = None
    visible: frozenset[tuple[str, int]] = frozenset()


def low_of(partitions: int, progress: Sequence[queries.Progress]) -> datetime | None:
    """The time before which every partition is complete; None if one has no record yet."""
    if len(progress) < partitions:
        return None
    return min(each.committed_at for each in progress) - MARGIN


def proven(facts: Facts) -> datetime | None:
    """The time up to which the views hold everything; None if nothing can be proven. Pure."""
    found = facts.low
    if facts.since is not None:
        missing = [
            event.at
            for event in facts.since
            if (str(event.payment_id), event.seq) not in facts.visible
        ]
        upper = min(missing) if missing else facts.until
        found = max((each for each in (upper, found) if each is not None), default=None)
    if found is not None and facts.oldest_dead_letter is not None:
        found = min(found, facts.oldest_dead_letter)
    return found


class AsOf:
    """Proves `as_of`, at most a few times a second: what is proven stays true."""

    def __init__(self, database: Database, views: Views, *, partitions: int) -> None:
        self._database = database
        self._views = views
        self._partitions = partitions
        self._known: datetime | None = None
        self._known_at = float("-inf")
        self._lock = asyncio.Lock()

    async def now(self) -> datetime | None:
        """The latest time that can be proven; ask before the view.

        Raises:
            ServiceUnavailable: PostgreSQL or ClickHouse does not answer.
        """
        wanted = time.monotonic() - REFRESH_SECONDS
        if self._known_at >= wanted:
            return self._known
        async with self._lock:
            if self._known_at < wanted:
                began = time.monotonic()
                self._known = proven(await self._facts())
                self._known_at = began
        return self._known

    async def _facts(self) -> Facts:
        def position(client: Client) -> tuple[list[queries.Progress], datetime | None]:
            return (
                queries.progress_of(client, VIEWS_CONSUMER, PAYMENTS_TOPIC),
                queries.oldest_dead_letter(client, PAYMENTS_TOPIC),
            )

        progress, oldest = await self._views.ask(position)
        reached = low_of(self._partitions, progress)
        if reached is not None and datetime.now(UTC) - reached < FRESH:
            return Facts(low=reached, oldest_dead_letter=oldest)
        low = max((each for each in (reached, self._known) if each is not None), default=None)
        until, since = await self._since(low)
        keys = [(event.payment_id, event.seq) for event in since]
        visible = await self._visible(keys) if keys else frozenset()
        return Facts(low=low, oldest_dead_letter=oldest, since=since, until=until, visible=visible)

    async def _visible(self, keys: Sequence[tuple[UUID, int]]) -> frozenset[tuple[str, int]]:
        def ask(client: Client) -> set[tuple[str, int]]:
            return queries.visible_events(client, keys, VIEWS_CONSUMER, PAYMENTS_TOPIC)

        return frozenset(await self._views.ask(ask))

    async def _since(self, low: datetime | None) -> tuple[datetime, list[RecentEvent]]:
        """The oldest events that PostgreSQL has committed since `low`, and until when."""
        first = low or datetime(1970, 1, 1, tzinfo=UTC)
        limit = EVENTS_COMPARED_MOST
        while True:
            parameters = {
                "recorded": first - TRANSACTION_MOST if low else first,
                "committed": first,
                "limit": limit + 1,
            }
            rows = await self._database.rows(_SINCE, parameters)
            found = [RecentEvent(*row[1:]) for row in rows if row[1] is not None]
            if len(found) <= limit:
                return rows[0][0], found
            if found[0].at < found[-1].at:
                return found[-1].at, found[:-1]
            limit *= (
                4  # all of one transaction, which has one time: without its end nothing follows
            )
