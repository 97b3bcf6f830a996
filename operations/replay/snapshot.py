"""Reads history from PostgreSQL, if the topic no longer has it: one snapshot, in shares.

Rows come as the envelopes that Debezium's initial snapshot would have written (op `r`), so that
they pass through the same decoding and the same fold. PostgreSQL itself writes the JSON. The rows
have no position in the topic: partition and offset are 0, and a record of the topic with the same
event replaces them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql

from operations.replay.settings import ReplaySettings
from operations.verify.source import CONNECT_SECONDS, postgres_errors
from schemas.errors import ServiceUnavailable
from schemas.events import COLUMNS
from streams.decode import Record, SourceRecord

BatchSize = Callable[[], int]
"""Returns the largest size of the next batch."""


RANGES = 64
"""Payment ids are hashes, so ranges of equal width hold about the same number of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyShare:
    """Ranges of payment ids, numbered from 0, in a snapshot that another session holds."""

    snapshot: str
    ranges: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A snapshot that readers can join while it is held, and its approximate number of rows."""

    snapshot: str
    rows: int


@contextmanager
def held_snapshot(settings: ReplaySettings) -> Iterator[Held]:
    """Hold a PostgreSQL snapshot for the length of the context.

    Raises:
        ServiceUnavailable, ConfigurationError, SchemaVersionError: see `postgres_errors`.
    """
    with postgres_errors(), _session(settings) as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = session.execute(
            "SELECT coalesce(sum(greatest(0, reltuples)), 0)::bigint, pg_export_snapshot()"
            " FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'public.payments'::regclass"
        ).fetchone()
        assert rows is not None
        yield Held(snapshot=rows[1], rows=int(rows[0]))


def read_ranges(
    settings: ReplaySettings, share: KeyShare, size: BatchSize
) -> Iterator[tuple[list[SourceRecord], tuple[int, ...]]]:
    """Yield batches of records, and the numbers of the ranges that are complete with them.

    Raises:
        ServiceUnavailable: PostgreSQL is down, or the snapshot is no longer held.
    """
    with postgres_errors(), _session(settings) as session:
        session.execute("SET TimeZone = 'UTC'")
        session.execute("SET DateStyle = 'ISO'")
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            session.execute(
                sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(share.snapshot))
            )
        except (psycopg.errors.InvalidParameterValue, psycopg.errors.UndefinedObject) as error:
            raise ServiceUnavailable(
                "the snapshot of PostgreSQL is gone; run the same command again to resume with a"
                " new one"
            ) from error
        batch: list[SourceRecord] = []
        complete: list[int] = []
        wanted = size()
        for number in share.ranges:
            with session.cursor().copy(_copy(number)) as rows:
                for payment_id, recorded_ms, envelope in rows.rows():
                    batch.append(_record(payment_id, recorded_ms, envelope))
                    if len(batch) >= wanted:
                        yield batch, tuple(complete)
                        batch, complete, wanted = [], [], size()
            complete.append(number)
        yield batch, tuple(complete)


def _record(payment_id: str, recorded_ms: str, envelope: str) -> Record:
    key = b'{"payment_id":"%s"}' % payment_id.encode()
    return Record("postgres", 0, 0, int(recorded_ms), key, envelope.encode())


def bounds(number: int) -> tuple[UUID, UUID]:
    """Return the first and the last payment id of a range."""
    width = 2**128 // RANGES
    return UUID(int=number * width), UUID(int=(number + 1) * width - 1)


def _session(settings: ReplaySettings) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(
        settings.postgres_reader_dsn.get_secret_value(),
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        fallback_application_name="purser replay",
    )


def _copy(number: int) -> sql.Composed:
    """Return a COPY of a range: payment id, recording time in ms since 1970, envelope as JSON."""
    columns = ", ".join(
        # jsonb reaches Kafka as a JSON string; see schemas/envelope.py.
        "details::text AS details" if column == "details" else column
        for column in COLUMNS
    )
    first, last = bounds(number)
    # Without a txid ("unknown"), a row counts as one of the initial snapshot.
    query = (
        "SELECT payment_id::text, recorded_ms::text,"
        ' \'{"op":"r","source":{"ts_ms":\' || recorded_ms || \'},"after":\''
        " || row_to_json(event)::text || '}'"
        f" FROM (SELECT {columns} FROM payments"
        f" WHERE payment_id BETWEEN '{first}' AND '{last}') AS event"
        " CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM recorded_at) * 1000)::bigint"
        " AS recorded_ms) AS clock"
    )
    return sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query))
