"""Allows one replay per ClickHouse database at a time, with a lock in PostgreSQL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from operations.exclusive import exclusive_session
from operations.replay.settings import ReplaySettings
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
    busy = InputError(
        "replay", f"another one is running on database {database}; wait for it or stop it"
    )
    dsn = settings.postgres_reader_dsn.get_secret_value()
    with exclusive_session(
        dsn, f"replay {database}", program="purser replay", busy=busy
    ) as session:
        yield Lock(session)
