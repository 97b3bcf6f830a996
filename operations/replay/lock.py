"""Allows one replay per ClickHouse database at a time, with a lock in PostgreSQL.

It is a session-level advisory lock, so a killed replay releases it, whatever it was doing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from operations.replay.settings import ReplaySettings
from operations.verify.source import CONNECT_SECONDS, postgres_errors
from schemas.errors import InputError, ServiceUnavailable


class Lock:
    """The session that holds the lock."""

    def __init__(self, session: "psycopg.Connection[tuple[Any, ...]]") -> None:
        self._session = session

    def check(self) -> None:
        """Raise ServiceUnavailable if the session, and the lock with it, is gone."""
        try:
            self._session.execute("SELECT 1")
        except psycopg.Error as error:
            raise ServiceUnavailable(
                "PostgreSQL closed the session that held the replay's lock; run the same command"
                " again to resume"
            ) from error


@contextmanager
def exclusive(settings: ReplaySettings, database: str) -> Iterator[Lock]:
    """Prevent other replays of this database.

    Raises:
        InputError: one is running.
        ServiceUnavailable, ConfigurationError: see `postgres_errors`.
    """
    with postgres_errors():
        session = psycopg.connect(
            settings.postgres_reader_dsn.get_secret_value(),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            fallback_application_name="purser replay",
        )
    with session:
        with postgres_errors():
            row = session.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [f"replay {database}"]
            ).fetchone()
        if row is None or not row[0]:
            raise InputError(
                "replay", f"another one is running on database {database}; wait for it or stop it"
            )
        yield Lock(session)
