"""History out of PostgreSQL, when the topic no longer has it: one snapshot, read in shares.

Rows come as the envelopes that Debezium's initial snapshot would have made of them (op `r`), so
that they go through the same decoding and the same fold; PostgreSQL itself writes the JSON. They
have no place in the topic: partition and offset are 0, and a record of the topic that brings the
same event replaces them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from schemas.errors import ServiceUnavailable
from schemas.events import COLUMNS
from streams.decode import Record, SourceRecord
from streams.replay.settings import ReplaySettings
from streams.verify.source import CONNECT_SECONDS, postgres_errors

BatchSize = Callable[[], int]
"""How many records the next batch may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShare:
    """Partitions of `payments` that one reader reads, in a snapshot that another session holds."""

    snapshot: str
    tables: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A snapshot that readers may join while it is held, and the partitions with their rows."""

    snapshot: str
    rows: dict[str, int]
    """Partition -> about how many rows."""


@contextmanager
def held_snapshot(settings: ReplaySettings) -> Iterator[Held]:
    """Hold a snapshot of PostgreSQL for as long as the context lasts.

    Raises:
        ServiceUnavailable, ConfigurationError, SchemaVersionError: see `postgres_errors`.
    """
    with postgres_errors(), _session(settings) as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        rows = session.execute(
            "SELECT inhrelid::regclass::text, greatest(0, reltuples)::bigint FROM pg_inherits"
            " JOIN pg_class ON pg_class.oid = inhrelid"
            " WHERE inhparent = 'public.payments'::regclass ORDER BY 1"
        ).fetchall()
        exported = session.execute("SELECT pg_export_snapshot()").fetchone()
        assert exported is not None
        yield Held(snapshot=exported[0], rows={name: int(count) for name, count in rows})


def read_shares(
    settings: ReplaySettings, share: TableShare, size: BatchSize
) -> Iterator[tuple[list[SourceRecord], tuple[str, ...]]]:
    """Batches of records, and the names of the partitions that are complete with them.

    Raises:
        ServiceUnavailable: PostgreSQL is away, or the snapshot is no longer held.
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
                "the snapshot of PostgreSQL is gone; run the same command again: it goes on from"
                " here with a new one"
            ) from error
        for table in share.tables:
            batch: list[SourceRecord] = []
            with session.cursor().copy(_copy(table)) as rows:
                wanted = size()
                for payment_id, committed_at_ms, envelope in rows.rows():
                    batch.append(
                        Record(
                            table,
                            0,
                            0,
                            int(committed_at_ms),
                            b'{"payment_id":"%s"}' % payment_id.encode(),
                            envelope.encode(),
                        )
                    )
                    if len(batch) >= wanted:
                        yield batch, ()
                        batch, wanted = [], size()
            yield batch, (table,)


def _session(settings: ReplaySettings) -> "psycopg.Connection[tuple[Any, ...]]":
    return psycopg.connect(
        settings.postgres_reader_dsn.get_secret_value(),
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        fallback_application_name="purser replay",
    )


def _copy(table: str) -> sql.Composed:
    """COPY of a partition: payment id, time of recording in ms since 1970, envelope as JSON."""
    columns = ", ".join(
        # jsonb reaches Kafka as a JSON string, see the envelope.
        "details::text AS details" if column == "details" else column
        for column in COLUMNS
    )
    # txid 0 is "unknown": a row that is read here was visible, as one of the initial snapshot was.
    query = (
        "SELECT payment_id::text, recorded_ms::text,"
        ' \'{"op":"r","source":{"ts_ms":\' || recorded_ms || \'},"after":\''
        " || row_to_json(event)::text || '}'"
        f" FROM (SELECT {columns} FROM {table}) AS event"
        " CROSS JOIN LATERAL (SELECT floor(extract(epoch FROM recorded_at) * 1000)::bigint"
        " AS recorded_ms) AS clock"
    )
    return sql.SQL("COPY ({}) TO STDOUT").format(sql.SQL(query))
