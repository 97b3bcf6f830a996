"""`as_of`: the time up to which the views provably hold everything that was committed.

Three facts prove it, and each is read before the view is asked:

1. Debezium delivers commits in their order, and a worker records its progress after its rows. So
   each partition holds every commit before that of its last record; the least of these times holds
   for all partitions. Under traffic that is a fraction of a second ago.
2. Without traffic those times stand still. Then PostgreSQL says what was recorded since, as long as
   it is little, and ClickHouse whether each of these events is in all views.
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

EVENTS_COMPARED_MOST = 500
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
    LIMIT %(limit)s
) AS found ON true
"""


class RecentEvent(NamedTuple):
    """An event that may not be in the views yet."""

    payment_id: UUID
    seq: int
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the servers say. `since` is None if PostgreSQL has more events than are compared."""

    partitions: int
    progress: Sequence[queries.Progress]
    oldest_dead_letter: datetime | None
    asked_at: datetime
    since: Sequence[RecentEvent] | None
    visible: frozenset[tuple[str, int]]


def low_of(partitions: int, progress: Sequence[queries.Progress]) -> datetime | None:
    """The time before which every partition is complete; None if one has no record yet."""
    if len(progress) < partitions:
        return None
    return min(each.committed_at for each in progress) - MARGIN


def proven(facts: Facts) -> datetime | None:
    """The time up to which the views hold everything; None if nothing can be proven. Pure."""
    low = low_of(facts.partitions, facts.progress)
    found = low
    if facts.since is not None:
        missing = [
            event.at
            for event in facts.since
            if (str(event.payment_id), event.seq) not in facts.visible
        ]
        found = min(missing) if missing else facts.asked_at
        if low is not None:
            found = max(found, low)
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
        low = low_of(self._partitions, progress)
        asked_at, since = await self._since(low)
        visible: frozenset[tuple[str, int]] = frozenset()
        if since:
            keys = [(event.payment_id, event.seq) for event in since]
            visible = frozenset(
                await self._views.ask(
                    lambda client: queries.visible_events(
                        client, keys, VIEWS_CONSUMER, PAYMENTS_TOPIC
                    )
                )
            )
        return Facts(
            partitions=self._partitions,
            progress=progress,
            oldest_dead_letter=oldest,
            asked_at=asked_at,
            since=since,
            visible=visible,
        )

    async def _since(self, low: datetime | None) -> tuple[datetime, list[RecentEvent] | None]:
        """PostgreSQL's time, and the events that it has committed since `low`, if they are few."""
        first = low or datetime(1970, 1, 1, tzinfo=UTC)
        parameters = {
            "recorded": first - TRANSACTION_MOST if low else first,
            "committed": first,
            "limit": EVENTS_COMPARED_MOST + 1,
        }
        rows = await self._database.rows(_SINCE, parameters)
        asked_at = rows[0][0]
        if len(rows) > EVENTS_COMPARED_MOST:
            return asked_at, None
        return asked_at, [RecentEvent(*row[1:]) for row in rows if row[1] is not None]
