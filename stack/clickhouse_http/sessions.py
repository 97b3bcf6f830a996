"""HTTP sessions: connections that keep SET, USE and temporary tables between requests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from stack.clickhouse_http.engine import Connection, Engine
from stack.clickhouse_http.errors import Code, refusal
from stack.clickhouse_http.request import SessionOptions


@dataclass(slots=True, kw_only=True)
class _Session:
    connection: Connection
    expires_at: float
    busy: bool


class Sessions:
    """All live sessions by user and name; used from the event loop alone, so it needs no lock."""

    def __init__(self, engine: Engine, max_sessions: int) -> None:
        self._engine = engine
        self._max_sessions = max_sessions
        self._sessions: dict[tuple[str, str], _Session] = {}

    @contextmanager
    def use(self, user: str, options: SessionOptions) -> Iterator[Connection]:
        """The session's connection, for one request.

        Raises 372 when it must exist and does not, 373 while another request is using it,
        202 when there are too many sessions and none is idle.
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
        """Close the sessions that have been idle for longer than they asked to live."""
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
