"""One operator's command at a time: a lock in PostgreSQL that ends with the session that holds it.

It is a session-level advisory lock, so a killed command releases it, whatever it was doing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from operations.verify.source import CONNECT_SECONDS, postgres_errors
from schemas.errors import InputError


@contextmanager
def exclusive_session(
    dsn: str, lock: str, *, program: str, busy: InputError
) -> Iterator["psycopg.Connection[tuple[Any, ...]]"]:
    """Yield the session that holds the lock of this name.

    Raises:
        InputError: `busy`, if another session holds it.
        ServiceUnavailable, ConfigurationError: see `postgres_errors`.
    """
    with postgres_errors():
        session = psycopg.connect(
            dsn,
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            fallback_application_name=program,
        )
    with session:
        with postgres_errors():
            row = session.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [lock]
            ).fetchone()
        if row is None or not row[0]:
            raise busy
        yield session
