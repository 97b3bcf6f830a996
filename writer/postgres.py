"""The event store in PostgreSQL: its statements and its connection pool.

Every append is one statement and therefore one transaction. Only `writer.postgres_errors`
translates psycopg's errors.
"""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from itertools import groupby
from typing import Any, TypeVar

import msgspec
import psycopg
from psycopg.sql import SQL, Identifier
from psycopg_pool import ConnectionPool

from schemas.details import NO_DETAILS, canonical_details
from schemas.dsn import EXPECTED, is_readable
from schemas.errors import ConfigurationError, MalformedRecord, SchemaVersionError
from schemas.events import COLUMNS, SCHEMA_VERSION, Event, NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status
from schemas.upcast import upcast
from writer.migrate import check_schema
from writer.postgres_errors import translated
from writer.store import Account

# Our errors report an unreachable server too, so the pool's log stays quiet unless configured.
logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())

APPLICATION = "purser-writer"
CONNECT_SECONDS = 5
POOL_CONNECTIONS_MAX = 8
POOL_WAIT_SECONDS = 5.0
STATEMENT_SECONDS = 5
BULK_STATEMENT_SECONDS = 120
LOCK_SECONDS = 1
"""Shorter than a statement may take: a group finds out in time which command must wait for others.
"""

_NEW_COLUMNS = NewEvent.__struct_fields__

# -- Statements ---------------------------------------------------------------------------------

_COLUMN_LIST = SQL(", ").join(map(Identifier, _NEW_COLUMNS))

# Read jsonb as text: details are compared as they were written.
_READ_COLUMNS = SQL(", ").join(
    SQL("details::text") if name == "details" else Identifier(name) for name in COLUMNS
)

# The stream of one payment. Its partition is chosen at execution; the others are not opened.
_LOAD = (
    SQL("SELECT {} FROM public.payments WHERE payment_id = %s ORDER BY seq")
    .format(_READ_COLUMNS)
    .as_bytes()
)

# The streams of many. A join, because it looks into one partition for each; `= ANY` looks into all.
_LOAD_MANY = (
    SQL(
        "SELECT {} FROM unnest(%s::uuid[]) AS asked (id)"
        " JOIN public.payments ON payment_id = asked.id ORDER BY payment_id, seq"
    )
    .format(_READ_COLUMNS)
    .as_bytes()
)

# A seller's available balance; the predicate is that of the partial index.
_AVAILABLE = """
SELECT coalesce(sum(available_delta_minor), 0) FROM public.payments
WHERE seller_id = %s AND currency = %s AND available_delta_minor <> 0
"""

# Those of many.
_AVAILABLE_MANY = """
SELECT seller, money, (
    SELECT coalesce(sum(available_delta_minor), 0) FROM public.payments
    WHERE seller_id = seller AND currency = money AND available_delta_minor <> 0
) FROM unnest(%s::text[], %s::text[]) AS asked (seller, money)
"""

# All rows of a group in one statement: one transaction without BEGIN and COMMIT. As one JSON text,
# so that one plan serves every number of rows; they are inserted and returned in its order.
_APPEND = (
    SQL(
        "INSERT INTO public.payments ({}) SELECT {}"
        " FROM json_populate_recordset(NULL::public.payments, %s::json) RETURNING recorded_at"
    )
    .format(
        _COLUMN_LIST,
        # The event holds its details as text, so in its JSON they are a string with JSON in it.
        SQL(", ").join(
            SQL("(details #>> '{{}}')::jsonb") if name == "details" else Identifier(name)
            for name in _NEW_COLUMNS
        ),
    )
    .as_bytes()
)

# Thousands of rows at once.
_COPY = SQL("COPY public.payments ({}) FROM STDIN").format(_COLUMN_LIST)


class PostgresStore:
    """`EventStore` in PostgreSQL; thread-safe. `open_store` creates one."""

    def __init__(self, pool: ConnectionPool[psycopg.Connection[tuple[Any, ...]]]) -> None:
        self._pool = pool

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        with self._connection() as connection:
            rows = connection.execute(_LOAD, [payment_id]).fetchall()
        return tuple(map(_event, rows))

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        with self._connection() as connection:
            rows = connection.execute(_LOAD_MANY, [list(payment_ids)]).fetchall()
        events = map(_event, rows)
        return {
            PaymentId(payment_id): tuple(stream)
            for payment_id, stream in groupby(events, key=lambda event: event.payment_id)
        }

    def available_minor(self, seller_id: str, currency: str) -> int:
        with self._connection() as connection:
            row = connection.execute(_AVAILABLE, [seller_id, currency]).fetchone()
        assert row is not None
        return int(row[0])

    def available_many_minor(self, accounts: Collection[Account]) -> Mapping[Account, int]:
        sellers, currencies = zip(*accounts, strict=True)
        with self._connection() as connection:
            rows = connection.execute(_AVAILABLE_MANY, [[*sellers], [*currencies]]).fetchall()
        return {(seller_id, currency): int(balance) for seller_id, currency, balance in rows}

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        text = msgspec.json.encode(events).decode()
        with self._connection() as connection:
            rows = connection.execute(_APPEND, [text]).fetchall()
        return tuple(
            Event(**msgspec.structs.asdict(event), recorded_at=recorded_at)
            for event, (recorded_at,) in zip(events, rows, strict=True)
        )

    def append_many(self, events: Sequence[NewEvent]) -> None:
        with (
            self._connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true),"
                " set_config('lock_timeout', '0', true)",
                [f"{BULK_STATEMENT_SECONDS}s"],
            )
            with cursor.copy(_COPY) as copy:
                for event in events:
                    copy.write_row(msgspec.structs.astuple(event))

    def recover(self) -> None:
        """Drop dead connections, so that the next attempt gets a working one."""
        self._pool.check()

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with translated(), self._pool.connection() as connection:
            yield connection


@contextmanager
def open_store(dsn: str) -> Iterator[PostgresStore]:
    """Open a store on a checked schema for the length of a `with`.

    Raises:
        ConfigurationError: `dsn` is not a connection string.
        SchemaVersionError: the schema is missing, behind or newer than this code.
        ServiceUnavailable: the server does not answer, or refuses the login.
    """
    check_dsn(dsn)
    check_schema(dsn)
    with open_pool(dsn) as pool:
        yield PostgresStore(pool)


def open_pool(
    dsn: str, connections_max: int = POOL_CONNECTIONS_MAX
) -> ConnectionPool[psycopg.Connection[tuple[Any, ...]]]:
    """Return a store's connection pool, to be closed by a `with`; does not check the schema."""
    return ConnectionPool(
        dsn,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_SECONDS,
            "application_name": APPLICATION,
        },
        configure=configure_session,
        min_size=1,
        max_size=connections_max,
        timeout=POOL_WAIT_SECONDS,
        name=APPLICATION,
        open=True,
    )


def check_dsn(dsn: str) -> None:
    """Reject a text that is not a connection string.

    Raises:
        ConfigurationError: without the text, which may contain a password.
    """
    if not is_readable(dsn):
        raise ConfigurationError(f"PURSER_POSTGRES_DSN: {EXPECTED}")


def configure_session(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Configure a session; the payout guard needs READ COMMITTED.

    The few statements are planned once per session, because planning one for each payment costs
    more than running it. All of them use an index, even if the plan was made on an empty table.
    """
    connection.execute(
        "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
        " set_config('timezone', 'UTC', false),"
        " set_config('default_transaction_isolation', 'read committed', false),"
        " set_config('plan_cache_mode', 'force_generic_plan', false),"
        " set_config('enable_seqscan', 'off', false)",
        [f"{STATEMENT_SECONDS}s", f"{LOCK_SECONDS}s"],
    )


_Word = TypeVar("_Word", bound=StrEnum)


def _by_value(words: type[_Word]) -> Mapping[str, _Word]:
    return {word.value: word for word in words}


_EVENT_TYPES = _by_value(EventType)
_STATUSES = _by_value(Status)
_FULFILMENTS = _by_value(Fulfilment)
_DISPUTES = _by_value(Dispute)
_DIRECTIONS = _by_value(Direction)


def _event(row: tuple[Any, ...]) -> Event:
    """Convert a row to an event of today's schema version.

    Raises:
        SchemaVersionError: newer code wrote the row, so no decision may be based on it.
    """
    values = dict(zip(COLUMNS, row, strict=True))
    if values["schema_version"] < SCHEMA_VERSION:
        return _older_event(values)
    if values["schema_version"] > SCHEMA_VERSION or values["event_type"] not in _EVENT_TYPES:
        raise SchemaVersionError(
            f"payment {values['payment_id']} has an event of schema version "
            f"{values['schema_version']}, this code knows {SCHEMA_VERSION}; upgrade the writer"
        )
    details = values["details"]
    return Event(
        **values
        | {
            "event_type": _EVENT_TYPES[values["event_type"]],
            "status": _STATUSES[values["status"]],
            "fulfilment": _FULFILMENTS[values["fulfilment"]],
            "dispute": _DISPUTES[values["dispute"]],
            "direction": _DIRECTIONS[values["direction"]],
            "details": details if details == NO_DETAILS else canonical_details(details),
        }
    )


def _older_event(values: Mapping[str, Any]) -> Event:
    """Upcast a row of an older schema version: decisions use its meaning today.

    Raises:
        SchemaVersionError: its upcaster fails on it, so no decision may be based on it.
    """
    try:
        row = upcast(msgspec.to_builtins(values), values["schema_version"])
        event = msgspec.convert(row, Event)
        return msgspec.structs.replace(event, details=canonical_details(event.details))
    except (MalformedRecord, msgspec.MsgspecError) as error:
        raise SchemaVersionError(
            f"payment {values['payment_id']} seq {values['seq']} is of schema version"
            f" {values['schema_version']} and cannot be upcast to {SCHEMA_VERSION}: {error};"
            " correct its upcaster in schemas/upcast.py"
        ) from error
