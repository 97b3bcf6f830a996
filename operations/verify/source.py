"""PostgreSQL, the source: the cut, and the contents of `payments` at it.

Everything is read in one repeatable-read, read-only transaction, so all answers describe the same
moment, however long they take. A long-running reader costs an append-only table nothing.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple, Self

import psycopg

from operations.verify.columns import (
    NULLABLE,
    POSTGRES_DAY,
    POSTGRES_HASH,
    POSTGRES_HASH_SUM,
    postgres_text,
)
from operations.verify.cut import Cut
from schemas.dsn import what_postgres_says
from schemas.errors import ConfigurationError, SchemaVersionError, ServiceUnavailable
from schemas.events import COLUMNS

CONNECT_SECONDS = 10
FETCH_ROWS = 10_000
BUCKETS_NAMED_MAX = 500
"""If more buckets differ, the query does not list them and reads all rows of the window."""

EventKey = tuple[str, int]
"""payment_id as text, seq."""
BucketKey = tuple[date, str, str]
"""UTC day of occurred_at, event type, currency."""


class Bucket(NamedTuple):
    """The values that are compared per (day, event type, currency)."""

    events: int
    amount_minor: int
    hash_sum: int


class Fingerprint(NamedTuple):
    """One event: its key, the hash of all its columns, and when it was recorded."""

    payment_id: str
    seq: int
    hash: int
    recorded_at: datetime


class SequenceGaps(NamedTuple):
    """Number of payments, number with a gap, and some of these as (id, events, highest seq)."""

    compared: int
    total: int
    examples: tuple[tuple[str, int, int], ...]


FIRST_DAY, LAST_DAY = date(1970, 1, 1), date(2149, 6, 5)
"""Of ClickHouse's dates, but the last; no event is near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Days of occurred_at in UTC, both inclusive; None is open."""

    since: date | None = None
    until: date | None = None

    @property
    def is_open(self) -> bool:
        """Whether the window includes everything."""
        return self.since is None and self.until is None

    def bounds(self) -> tuple[str, str]:
        """Return the first instant in the window and the first after it; open ends are far away.

        Days that ClickHouse's dates do not have become the nearest ones that no event has.
        """
        before, after = FIRST_DAY - timedelta(days=1), LAST_DAY + timedelta(days=1)
        since = min(max(self.since or FIRST_DAY, FIRST_DAY), after)
        until = min(max(self.until or LAST_DAY, before), LAST_DAY) + timedelta(days=1)
        return f"{since} 00:00:00", f"{until} 00:00:00"

    def __str__(self) -> str:
        """Return `from 2026-01-01 to 2026-01-31`, `from 2026-01-01 on` or `up to 2026-01-31`."""
        if self.since is None:
            return f"up to {self.until}"
        return f"from {self.since} " + (f"to {self.until}" if self.until else "on")

    def postgres(self) -> str:
        """Return a condition on occurred_at."""
        if self.is_open:
            return "true"
        since, until = self.bounds()
        return f"(occurred_at >= '{since}+00' AND occurred_at < '{until}+00')"


@contextmanager
def postgres_errors() -> Iterator[None]:
    """Translate psycopg's errors into Purser's."""
    try:
        yield
    except psycopg.errors.UndefinedTable as error:
        raise SchemaVersionError(
            "PostgreSQL has no table payments; create the schema with `purser migrate`"
        ) from error
    except psycopg.errors.UndefinedColumn as error:
        raise SchemaVersionError(
            f"PostgreSQL's schema is not the one this code knows ({what_postgres_says(error)});"
            " run `purser migrate`, or the version of Purser that migrated it"
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise ConfigurationError(
            f"PURSER_POSTGRES_READER_DSN: {what_postgres_says(error)}; connect as purser_reader"
        ) from error
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            f"PURSER_POSTGRES_READER_DSN: {what_postgres_says(error)}"
        ) from error
    except psycopg.Error as error:
        raise ServiceUnavailable(f"cannot read PostgreSQL: {what_postgres_says(error)}") from error


class Source:
    """A session that reads one snapshot after another; a context manager."""

    def __init__(self, dsn: str) -> None:
        with postgres_errors():
            self._session = psycopg.connect(
                dsn,
                autocommit=True,
                connect_timeout=CONNECT_SECONDS,
                fallback_application_name="purser verify",
            )
            self._session.execute("SET TimeZone = 'UTC'")
            self._session.execute("SET DateStyle = 'ISO'")
            self._session.execute("SET enable_partitionwise_aggregate = on")
            if self._value("SELECT pg_is_in_recovery()"):
                # A standby's snapshots do not list running transactions, so they define no cut.
                raise ConfigurationError(
                    "PURSER_POSTGRES_READER_DSN: is a standby; verify must read the primary"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with postgres_errors():
            # Without parameters, psycopg leaves a % unchanged.
            return self._session.execute(sql.encode(), parameters or None).fetchall()

    def _value(self, sql: str) -> Any:
        return self._rows(sql)[0][0]

    # -- the cut

    def take_cut(self) -> Cut:
        """Start a new snapshot, end the previous one, and return it."""
        self.leave_cut()
        with postgres_errors():
            self._session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot, taken_at = self._rows("SELECT pg_current_snapshot()::text, now()")[0]
        return Cut.parse(snapshot, taken_at)

    def leave_cut(self) -> None:
        """End the snapshot's transaction; later queries see the moment of their execution."""
        with postgres_errors():
            self._session.rollback()

    # -- what is in it

    def buckets(self, window: Window) -> dict[BucketKey, Bucket]:
        """Return counts, sums and hashes per (day, event type, currency), in one pass."""
        rows = self._rows(
            f"SELECT {POSTGRES_DAY}, event_type, currency, count(*), sum(amount_minor),"
            f" {POSTGRES_HASH_SUM} FROM payments WHERE {window.postgres()} GROUP BY 1, 2, 3"
        )
        return {
            (day, event_type, currency): Bucket(count, int(amount), int(hash_sum))
            for day, event_type, currency, count, amount, hash_sum in rows
        }

    def sequence_gaps(self, window: Window, limit: int) -> "SequenceGaps":
        """Find payments whose seq is not 1, 2, 3, …, among the payments that the window touches."""
        scope = (
            "true"
            if window.is_open
            else f"payment_id IN (SELECT payment_id FROM payments WHERE {window.postgres()})"
        )
        payments = (
            "SELECT payment_id, count(*) AS events, max(seq) AS highest,"
            " count(*) <> max(seq) OR min(seq) <> 1 AS gap"
            f" FROM payments WHERE {scope} GROUP BY payment_id"
        )
        compared, total = self._rows(
            f"SELECT count(*), count(*) FILTER (WHERE gap) FROM ({payments}) AS payment"
        )[0]
        if not total:
            return SequenceGaps(compared, 0, ())
        examples = self._rows(
            f"SELECT payment_id::text, events, highest FROM ({payments}) AS payment"
            " WHERE gap ORDER BY 1 LIMIT %s",
            [limit],
        )
        return SequenceGaps(compared, total, tuple(examples))

    def fingerprints(self, window: Window, buckets: Collection[BucketKey]) -> Iterator[Fingerprint]:
        """Stream every event of these buckets, ordered by key."""
        condition, parameters = "true", []
        if len(buckets) <= BUCKETS_NAMED_MAX:
            condition = (
                f"({POSTGRES_DAY}, event_type, currency) IN"
                " (SELECT * FROM unnest(%s::date[], %s::text[], %s::text[]))"
            )
            parameters = [[bucket[column] for bucket in buckets] for column in range(3)]
        sql = (
            f"SELECT payment_id::text, seq, {POSTGRES_HASH}, recorded_at FROM payments"
            f" WHERE {window.postgres()} AND {condition} ORDER BY payment_id, seq"
        )
        with postgres_errors(), self._session.cursor(name="fingerprints") as cursor:
            cursor.itersize = FETCH_ROWS
            cursor.execute(sql.encode(), parameters or None)
            for row in cursor:
                yield Fingerprint(*row)

    def events(self, keys: Collection[EventKey]) -> dict[EventKey, Mapping[str, str | None]]:
        """Return whole rows with every column as text, null as None."""
        texts = ", ".join(
            f"{column}::text" if column in NULLABLE else postgres_text(column) for column in COLUMNS
        )
        rows = self._rows(f"SELECT {texts} FROM payments WHERE {_KEYS}", _key_arrays(keys))
        columns = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        return {(row["payment_id"], int(row["seq"])): row for row in columns}

    def existing(self, keys: Collection[EventKey]) -> set[EventKey]:
        """Return those of these events that `payments` has."""
        rows = self._rows(
            f"SELECT payment_id::text, seq FROM payments WHERE {_KEYS}", _key_arrays(keys)
        )
        return {(payment_id, seq) for payment_id, seq in rows}

    # -- how far the slot is

    def log_position(self) -> int:
        """Return the end of the write-ahead log as a byte position."""
        return int(self._value("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))

    def confirmed_position(self, slot: str) -> int | None:
        """Return the log position up to which a slot's reader has confirmed; None without it."""
        rows = self._rows(
            "SELECT confirmed_flush_lsn - '0/0'::pg_lsn FROM pg_replication_slots"
            " WHERE slot_name = %s AND database = current_database()",
            [slot],
        )
        return int(rows[0][0]) if rows and rows[0][0] is not None else None

    def commit_times(self, keys: Collection[EventKey]) -> dict[EventKey, datetime]:
        """Return when these events were committed, as far as PostgreSQL remembers.

        Empty without `track_commit_timestamp`. PostgreSQL forgets the times of frozen transactions.
        """
        if self._value("SELECT current_setting('track_commit_timestamp')") != "on":
            return {}
        # A row of a savepoint has a subtransaction's id; PostgreSQL records its time as well.
        rows = self._rows(
            "SELECT payment_id::text, seq, pg_xact_commit_timestamp(xmin) FROM payments"
            f" WHERE {_KEYS}",
            _key_arrays(keys),
        )
        return {(payment, seq): moment for payment, seq, moment in rows if moment is not None}


_KEYS = "(payment_id, seq) IN (SELECT * FROM unnest(%s::uuid[], %s::int[]))"


def _key_arrays(keys: Collection[EventKey]) -> list[list[Any]]:
    return [[payment_id for payment_id, _ in keys], [seq for _, seq in keys]]
