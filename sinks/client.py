"""Connects to ClickHouse and converts its errors to Purser's; no other module does."""

from collections.abc import Iterator
from contextlib import contextmanager

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import (
    ClickHouseError,
    DataError,
    NotSupportedError,
    ProgrammingError,
)

from schemas.errors import (
    ConfigurationError,
    PurserError,
    SchemaVersionError,
    ServiceUnavailable,
    WriteRefused,
)
from sinks.settings import Address, ClickHouseSettings

AUTHENTICATION = frozenset({192, 193, 194, 497, 516})
_NO_SUCH_TABLE = frozenset({16, 47, 60, 81})
PASSING = frozenset(
    {
        3,  # UNEXPECTED_END_OF_FILE: our connection broke
        159,  # TIMEOUT_EXCEEDED
        173,  # CANNOT_ALLOCATE_MEMORY
        198,  # DNS_ERROR
        202,  # TOO_MANY_SIMULTANEOUS_QUERIES
        203,  # NO_FREE_CONNECTION
        209,  # SOCKET_TIMEOUT
        210,  # NETWORK_ERROR
        236,  # ABORTED
        241,  # MEMORY_LIMIT_EXCEEDED
        242,  # TABLE_IS_READ_ONLY: a replica without its keeper
        243,  # NOT_ENOUGH_SPACE
        252,  # TOO_MANY_PARTS: merges have to catch up
        279,  # ALL_CONNECTION_TRIES_FAILED
        285,  # TOO_FEW_LIVE_REPLICAS
        286,  # UNSATISFIED_QUORUM_FOR_PREVIOUS_WRITE
        319,  # UNKNOWN_STATUS_OF_INSERT
        394,  # QUERY_WAS_CANCELLED
        425,  # SYSTEM_ERROR
        473,  # DEADLOCK_AVOIDED
        668,  # INVALID_STATE: shutting down
        735,  # QUERY_WAS_CANCELLED_BY_CLIENT
        999,  # KEEPER_EXCEPTION
    }
)
"""ClickHouse's error codes after which the same request may succeed."""

_ERROR_TEXT_MAX = 500


def connect(settings: ClickHouseSettings, *, database: str | None = None) -> Client:
    """Return a client that threads may share; `database` overrides the URL's.

    Raises:
        ServiceUnavailable: the server does not answer.
        ConfigurationError: the user or the password is refused.
        SchemaVersionError: the database does not exist.
    """
    address = settings.address()
    compression = settings.clickhouse_compression
    with translated(address):
        return clickhouse_connect.get_client(
            interface=address.interface,
            host=address.host,
            port=address.port,
            username=address.username,
            password=address.password,
            database=address.database if database is None else database,
            compress=False if compression == "none" else compression,
            connect_timeout=settings.clickhouse_connect_seconds,
            send_receive_timeout=settings.clickhouse_request_seconds,
            # Closed with the client; the library's shared pool would outlive it.
            dedicated_pool=True,
            # A session allows one query at a time; threads share this client.
            autogenerate_session_id=False,
            # The caller decides about retries; hidden ones would exceed its timeouts.
            query_retries=0,
        )


@contextmanager
def translated(address: Address) -> Iterator[None]:
    """Convert the client's errors to Purser's errors that name the server.

    Raises:
        PurserError: see `ViewSink`.
    """
    server = f"ClickHouse at {address.host}:{address.port}"
    try:
        yield
    except ClickHouseError as error:  # the client also wraps socket and HTTP errors
        raise _ours(server, address, error) from error


def _ours(server: str, address: Address, error: ClickHouseError) -> PurserError:
    """Return the error for ClickHouse's answer, by its code."""
    code = getattr(error, "code", None)
    text = one_line(error)
    if code in AUTHENTICATION:
        return ConfigurationError(
            f"PURSER_CLICKHOUSE_URL: {server} does not let {address.username} do this: {text}"
        )
    if code in _NO_SUCH_TABLE:
        return SchemaVersionError(
            f"{server}, database {address.database}, does not have this version's schema: {text};"
            " run `purser migrate`"
        )
    # Without a code the error is not from ClickHouse, unless the client itself objects.
    by_client = isinstance(error, (DataError, NotSupportedError, ProgrammingError))
    if code is None and not by_client:
        # The client's text repeats the whole request; the root cause says what went wrong.
        return ServiceUnavailable(
            f"{server} does not answer: {one_line(_root(error))}; check that it runs, then retry"
        )
    if code in PASSING:
        return ServiceUnavailable(f"{server} cannot do this now: {text}; try again")
    return WriteRefused(f"{server} refuses: {text}")


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error


def one_line(error: BaseException) -> str:
    """Return an error's text on one line, truncated."""
    return " ".join(str(error).split())[:_ERROR_TEXT_MAX]
