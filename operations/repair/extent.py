"""How much a snapshot has to send: only what Kafka may lack, found by counting hour by hour.

Rows of `payment_events` with a position in the topic came out of the topic. ClickHouse has no event
that PostgreSQL does not have. So if an hour has as many events in ClickHouse as in PostgreSQL, the
topic has them all. ClickHouse is counted first: what is appended in between then counts as missing,
never as present.

Only a PostgreSQL that was restored can have fewer: it has lost events that the views have. What was
appended in such an hour since then may be missing, so the hour is sent again.

A transaction that is open during the count may commit events that were recorded before it. So the
snapshot also takes everything recorded in the last hours before the count, for as long as `verify`
assumes that a transaction can stay open.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import psycopg

from operations.repair.facts import Extent
from operations.repair.settings import RepairSettings
from operations.verify.cut import ALWAYS_VISIBLE_AFTER
from operations.verify.source import postgres_errors
from operations.verify.views import PLACED, Views

HOUR_SECONDS = 3600
CONNECT_SECONDS = 5

Hours = Mapping[int, int]
"""Hours since 1970 -> events recorded in them."""

_VIEWS = f"""
SELECT intDiv(toUnixTimestamp64Micro(recorded_at), {HOUR_SECONDS * 1_000_000}) AS hour,
    toInt64(count())
FROM payment_events_raw FINAL
WHERE {PLACED}
GROUP BY hour
"""
_SOURCE = f"""
SELECT floor(extract(epoch FROM recorded_at) / {HOUR_SECONDS})::bigint, count(*)
FROM payments GROUP BY 1
"""


def measure(
    settings: RepairSettings, *, everything: bool, on_progress: Callable[[str, int, int], None]
) -> Extent:
    """Count both sides; it reads the whole table once, which takes minutes for years of history.

    Raises ServiceUnavailable if a server does not answer.
    """
    arrived: Hours = {}
    now = datetime.now(UTC)
    if not everything:
        on_progress("counting the events of the views", 0, 0)
        with Views(settings.clickhouse_url.get_secret_value()) as views:
            arrived = dict(views.rows(_VIEWS))
    on_progress("counting the events of PostgreSQL", 0, 0)
    with (
        postgres_errors(),
        psycopg.connect(
            settings.postgres_reader_dsn.get_secret_value(), connect_timeout=CONNECT_SECONDS
        ) as session,
    ):
        recorded: Hours = dict(session.execute(_SOURCE).fetchall())
    if everything:
        total = sum(recorded.values())
        return Extent(events=total, missing=0, to_send=total, since=None)
    return extent_of(recorded, arrived, now)


def extent_of(recorded: Hours, arrived: Hours, now: datetime) -> Extent:
    """Decide from the counts of PostgreSQL (`recorded`) and of the views (`arrived`). Pure.

    `now` is a time before the first count.
    """
    lacking = {
        hour: recorded.get(hour, 0) - arrived.get(hour, 0)
        for hour in recorded.keys() | arrived.keys()
        if recorded.get(hour, 0) != arrived.get(hour, 0)
    }
    open_since = int((now - ALWAYS_VISIBLE_AFTER).timestamp()) // HOUR_SECONDS
    first = min([open_since, *lacking])
    return Extent(
        events=sum(recorded.values()),
        missing=sum(count for count in lacking.values() if count > 0),
        to_send=sum(count for hour, count in recorded.items() if hour >= first),
        since=datetime.fromtimestamp(first * HOUR_SECONDS, UTC),
    )
