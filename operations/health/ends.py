"""Compares the two ends: are PostgreSQL's newest events visible in ClickHouse?

Events that are younger than a limit are left out, because they may still be on their way. All
others must be there: they are looked up by their keys, so nothing between the ends can hide a loss.
Older history is the matter of `purser verify`.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple

import psycopg

from operations.health.states import LoudState, Problem
from operations.verify.views import event_keys
from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from schemas.sql_words import clickhouse_literal
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

EVENTS_COMPARED = 100
WINDOW_SECONDS = 10.0
SPANS = (1, 8, 64, 512)
"""How many windows to read, until they hold enough events."""
AGE_SECONDS_MOST = 100 * 365 * 86_400.0
CONNECT_SECONDS = 5
ANSWER_SECONDS = 10

_EXISTS = """
SELECT EXISTS (SELECT FROM payments
    WHERE recorded_at >= now() - %s AND recorded_at < now() - %s)
"""
# A transaction may stay open for long after it has recorded its rows. PostgreSQL forgets the commit
# times of old transactions.
_NEWEST = """
SELECT payment_id::text, seq, extract(epoch FROM now() - recorded_at)::float8
FROM payments
WHERE recorded_at >= now() - %s AND recorded_at < now() - %s
    AND coalesce(CASE current_setting('track_commit_timestamp')
        WHEN 'on' THEN pg_xact_commit_timestamp(xmin) END, '-infinity') < now() - %s
ORDER BY recorded_at DESC, payment_id, seq DESC
LIMIT %s
"""


class AgedEvent(NamedTuple):
    """An event's key and the seconds since it was recorded."""

    payment_id: str
    seq: int
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """How many of the newest events are visible; ages are those of the events, in seconds.

    `invisible` events are neither in payment_events nor among the open dead letters.
    """

    limit_seconds: float
    compared: int
    newest_age_seconds: float | None = None
    invisible: int = 0
    newest_invisible_age_seconds: float | None = None
    oldest_invisible_age_seconds: float | None = None

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong; empty if every event that was compared is visible."""
        newest, oldest = self.newest_invisible_age_seconds, self.oldest_invisible_age_seconds
        if newest is None or oldest is None:
            return ()
        which = "the newest event" if newest == self.newest_age_seconds else "an event"
        text = f"{which}, recorded {spoken(newest)} ago, is not visible in ClickHouse"
        if self.invisible > 1:
            text += (
                f"; nor are {self.invisible - 1} more of the newest {self.compared},"
                f" the oldest recorded {spoken(oldest)} ago"
            )
        return (Problem(state=LoudState.EVENTS_INVISIBLE, text=text),)


def judge(
    newest: Collection[AgedEvent], visible: Collection[tuple[str, int]], limit_seconds: float
) -> Ends:
    """Compare the newest events with the keys that are visible or parked."""
    ages = [event.age_seconds for event in newest]
    missing = [event.age_seconds for event in newest if event[:2] not in visible]
    return Ends(
        limit_seconds=limit_seconds,
        compared=len(ages),
        newest_age_seconds=min(ages, default=None),
        invisible=len(missing),
        newest_invisible_age_seconds=min(missing, default=None),
        oldest_invisible_age_seconds=max(missing, default=None),
    )


def compare_ends(reader_dsn: str, clickhouse: ClickHouseSettings, limit_seconds: float) -> Ends:
    """Look in ClickHouse for PostgreSQL's newest events that are older than the limit.

    Raises:
        ServiceUnavailable: a server does not answer in time.
        ConfigurationError, SchemaVersionError: see `sinks.client`.
    """
    newest = newest_events(reader_dsn, limit_seconds)
    return judge(newest, _visible(clickhouse, newest), limit_seconds)


# -- PostgreSQL


def newest_events(reader_dsn: str, limit_seconds: float) -> list[AgedEvent]:
    """The newest events that were recorded and committed longer ago, the newest first.

    Only the blocks of the table that can hold them are read: `payments_times` says which.
    """
    try:
        with psycopg.connect(reader_dsn, connect_timeout=CONNECT_SECONDS) as session:
            session.execute(f"SET LOCAL statement_timeout = '{ANSWER_SECONDS}s'")
            # Nothing is known about rows that are newer than the statistics.
            session.execute("SET LOCAL enable_seqscan = off")

            def is_empty(from_seconds: float, to_seconds: float) -> bool:
                bounds = [timedelta(seconds=to_seconds), timedelta(seconds=from_seconds)]
                found = session.execute(_EXISTS, bounds).fetchone()
                return found == (False,)

            age = newest_age(is_empty, limit_seconds)
            return [] if age is None else _read(session, age, limit_seconds)
    except psycopg.Error as error:
        raise ServiceUnavailable(
            f"PostgreSQL did not return its newest events: {what_postgres_says(error)}"
        ) from error


def newest_age(is_empty: Callable[[float, float], bool], least: float) -> float | None:
    """An age in seconds, at most `WINDOW_SECONDS` less than that of the newest older than `least`.

    `is_empty` says whether no event is between two ages. None: there is no such event. Windows
    widen until one holds an event. Then they narrow, because reading a wide one would be slow.
    """
    low, high = least, least + WINDOW_SECONDS
    while is_empty(low, high):
        if high > AGE_SECONDS_MOST:
            return None
        low, high = high, high + 4 * (high - low)
    while high - low > WINDOW_SECONDS:
        middle = (low + high) / 2
        if is_empty(low, middle):
            low = middle
        else:
            high = middle
    return low


def _read(
    session: psycopg.Connection[tuple[object, ...]], age: float, limit_seconds: float
) -> list[AgedEvent]:
    found: list[AgedEvent] = []
    limit = timedelta(seconds=limit_seconds)
    for windows in SPANS:
        bounds = (timedelta(seconds=age + windows * WINDOW_SECONDS), timedelta(seconds=age))
        rows = session.execute(_NEWEST, [*bounds, limit, EVENTS_COMPARED]).fetchall()
        found = [AgedEvent(*row) for row in rows]  # type: ignore[arg-type]
        if len(found) == EVENTS_COMPARED:
            break
    return found


# -- ClickHouse


def _visible(clickhouse: ClickHouseSettings, events: Collection[AgedEvent]) -> set[tuple[str, int]]:
    """The keys of these events that are in payment_events, or whose records are parked."""
    if not events:
        return set()
    keys = [event[:2] for event in events]
    quick = clickhouse.model_copy(update={"clickhouse_request_seconds": ANSWER_SECONDS})
    with translated(quick.address()), connect(quick) as client:
        found = client.query(
            "SELECT toString(payment_id), toInt64(seq) FROM payment_events_raw"
            f" WHERE {event_keys(keys)}"
        ).result_rows
        visible = {(str(payment_id), int(seq)) for payment_id, seq in found}
        if missing := {payment_id for payment_id, seq in keys if (payment_id, seq) not in visible}:
            ids = ", ".join(map(clickhouse_literal, sorted(missing)))
            found = client.query(
                "SELECT JSONExtractString(raw_key, 'payment_id') AS id,"
                " JSONExtractInt(raw_value, 'after', 'seq')"
                f" FROM dead_letters WHERE state = 'open' AND id IN ({ids})"
            ).result_rows
            parked = {(str(payment_id), int(seq)) for payment_id, seq in found}
            # A record without a seq, which is 0 then, may be any event of its payment.
            visible |= {key for key in keys if not parked.isdisjoint({key, (key[0], 0)})}
    return visible


def spoken(seconds: float) -> str:
    """A duration in words, such as `45 s` or `3 h 5 min`."""
    whole = max(0, round(seconds))
    if whole < 120:
        return f"{whole} s"
    minutes = whole // 60
    if minutes < 120:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} days"
