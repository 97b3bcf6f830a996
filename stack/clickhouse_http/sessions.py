"""Connections that outlive a request: sessions keep state, idle ones have none."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from stack.clickhouse_http.connection import Connection
from stack.clickhouse_http.engine import Engine
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.request import SessionOptions


@dataclass(slots=True, kw_only=True)
class _Session:
    connection: Connection
    expires_at: float
    busy: bool


class Sessions:
    """All live sessions by user and name; used only from the event loop, so it needs no lock."""

    def __init__(self, engine: Engine, max_sessions: int) -> None:
        self._engine = engine
        self._max_sessions = max_sessions
        self._sessions: dict[tuple[str, str], _Session] = {}

    @contextmanager
    def use(self, user: str, options: SessionOptions) -> Iterator[Connection]:
        """Lend the session's connection for one request.

        Raises 372 if it must exist and does not, 373 while another request uses it, 202 if there
        are too many sessions and none is idle.
        """
        self.end_expired()
        key = (user, options.session_id)
        session = self._sessions.pop(key, None)
        if session is None:
            session = self._open(options)
        elif session.busy:
            self._sessions[key] = session
            raise refusal(
                Code.SESSION_IS_LOCKED,
                f"Session {options.session_id} is locked by a concurrent client.",
            )
        self._sessions[key] = session  # moved to the end: most recently used
        session.busy = True
        try:
            yield session.connection
        finally:
            session.busy = False
            session.expires_at = time.monotonic() + options.timeout_seconds
            if options.close:
                del self._sessions[key]
                session.connection.close()

    def _open(self, options: SessionOptions) -> _Session:
        if options.must_exist:
            raise refusal(
                Code.SESSION_NOT_FOUND, f"Session {options.session_id} not found or it is expired."
            )
        if len(self._sessions) >= self._max_sessions:
            self._end_least_recent()
        return _Session(connection=self._engine.connect(), expires_at=0.0, busy=False)

    def _end_least_recent(self) -> None:
        for key, session in self._sessions.items():
            if not session.busy:
                del self._sessions[key]
                session.connection.close()
                return
        raise refusal(
            Code.TOO_MANY_SIMULTANEOUS_QUERIES,
            f"Too many sessions. Maximum: {self._max_sessions}.",
        )

    def end_expired(self) -> None:
        """Close the sessions that have been idle for longer than their timeout."""
        now = time.monotonic()
        for key, session in list(self._sessions.items()):
            if not session.busy and session.expires_at <= now:
                del self._sessions[key]
                session.connection.close()

    def close(self) -> None:
        """Close every session."""
        for session in self._sessions.values():
            session.connection.close()
        self._sessions.clear()


class IdleConnections:
    """Idle connections after a SELECT or an INSERT, for the next request with the same needs.

    Such statements leave no state, so a connection with the same database and settings is as good
    as a new one, and saves a third of a millisecond of CPU time. Thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._idle: list[Connection] = []
        self._lock = threading.Lock()

    def take(self, database: str | None, settings: Mapping[str, str]) -> Connection | None:
        """Return a connection prepared for exactly this, or None."""
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index].is_prepared_for(database, settings):
                    return self._idle.pop(index)
        return None

    def give_back(self, connection: Connection) -> None:
        """Keep `connection`; drop the one idle longest if there are too many."""
        with self._lock:
            self._idle.append(connection)
            surplus = self._idle.pop(0) if len(self._idle) > self._limit else None
        if surplus is not None:
            surplus.close()

    def close(self) -> None:
        """Close them all."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()
