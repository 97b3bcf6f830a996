"""The only place where PostgreSQL's errors become Purser's errors.

There are three kinds: another writer was faster (decide again), a rule was broken (a `Rejection`),
or the server cannot be used, either now (retry with the same idempotency key) or in this
configuration (do not retry).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from schemas.dsn import what_postgres_says
from schemas.errors import (
    ConfigurationError,
    PurserError,
    Rejection,
    SchemaVersionError,
    ServiceUnavailable,
)
from schemas.postgres.guard_codes import GuardCode
from schemas.postgres.row_rules import ROW_RULES
from schemas.rejections import RejectionCode
from writer.store import StreamMoved, TookTooLong

_GUARD_CLASS = "PU"
_WRONG_LOGIN = (errors.InvalidPassword, errors.InvalidAuthorizationSpecification)
_NO_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName)
# While connecting, libpq gives no SQLSTATE, only the server's message.
_WRONG_LOGIN_WORDS = ("password authentication failed", "no password supplied", "does not exist")
_LOST_A_RACE = (errors.SerializationFailure, errors.DeadlockDetected, errors.LockNotAvailable)


@contextmanager
def translated() -> Iterator[None]:
    """Raise every psycopg error as one of Purser's.

    Raises:
        StreamMoved: the position is taken, or is not the next one.
        Rejection: a guard or a constraint refused a row.
        SchemaVersionError, ConfigurationError: no retry can help.
        ServiceUnavailable: the server is down, busy or lost; the append may have succeeded.
    """
    try:
        yield
    except psycopg.Error as error:
        raise translate(error) from error


def translate(error: psycopg.Error) -> PurserError:
    """Return what a psycopg error means for the writer."""
    said = what_postgres_says(error)
    match error:
        case errors.UniqueViolation():
            return StreamMoved(f"another writer was faster ({said}); try again")
        case errors.CheckViolation() | errors.DataError() | errors.NotNullViolation():
            return _refused(error)
        case PoolTimeout() | TooManyRequests() | PoolClosed():
            return ServiceUnavailable(
                f"no connection to PostgreSQL ({said}); look at `purser status`"
            )
        case _ if isinstance(error, _WRONG_LOGIN) or _is_login_refused(error):
            return ConfigurationError(f"PostgreSQL refuses the login: {said}; check the DSN")
        case _ if isinstance(error, _NO_SCHEMA):
            return SchemaVersionError(f"PostgreSQL's schema does not fit: {said}; migrate it")
        case errors.InsufficientPrivilege():
            return ConfigurationError(f"PostgreSQL: {said}; connect as purser_writer")
        case errors.QueryCanceled():
            return TookTooLong(f"PostgreSQL took too long ({said}); try again")
        case _ if isinstance(error, _LOST_A_RACE):
            return StreamMoved(f"PostgreSQL aborted the transaction ({said}); try again")
        case _ if (error.sqlstate or "").startswith(_GUARD_CLASS):
            return _guarded(error)
        case _:
            return ServiceUnavailable(f"PostgreSQL: {said}; look at `purser status`")


def _is_login_refused(error: psycopg.Error) -> bool:
    connecting = isinstance(error, psycopg.OperationalError) and error.sqlstate is None
    return connecting and any(words in str(error) for words in _WRONG_LOGIN_WORDS)


def _guarded(error: psycopg.Error) -> PurserError:
    match error.sqlstate:
        case GuardCode.SEQ_GAP:
            return StreamMoved(
                f"another writer was faster ({what_postgres_says(error)}); try again"
            )
        case GuardCode.PAYOUT_ABOVE_BALANCE:
            return _refused(error, RejectionCode.PAYOUT_ABOVE_BALANCE)
        case _:
            return _refused(error)


def _refused(
    error: psycopg.Error, code: RejectionCode = RejectionCode.REFUSED_BY_DATABASE
) -> Rejection:
    """Convert a guard's refusal, `field: problem`; for a row rule, the table gives the text."""
    if rule := ROW_RULES.get(error.diag.constraint_name or ""):
        return Rejection(code=code, field=rule.column, problem=rule.expected)
    field = error.diag.column_name or error.diag.constraint_name or "row"
    problem = what_postgres_says(error).removeprefix(f"{field}: ")
    if error.diag.message_hint:
        problem += f"; {error.diag.message_hint}"
    return Rejection(code=code, field=field, problem=problem)
