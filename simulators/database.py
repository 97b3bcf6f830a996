"""The simulators' books on disk: one SQLite file, one connection that writes, transactions.

Every call of an API is one transaction. The file is in WAL mode with synchronous=OFF: what is
committed has been handed to the operating system, so it survives a kill -9 of the process at any
moment. A crash of the machine can damage the file. A simulator need not survive that, and whoever
measures a client must not see the PSP wait for the disk.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError

CACHE_KIB = 65_536
STATEMENTS_CACHED = 512
LOCK_SECONDS = 10.0
META = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID
"""


class Database:
    """The file and the only connection that writes to it; not for use by several threads."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; raises ConfigurationError if that is impossible."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _exclusive(path.with_suffix(".lock"))
            self.connection = self._connect()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"PURSER_HOME: cannot keep books in {path.parent} ({error}); set it to a folder"
                " that this user can write in"
            ) from error
        self.connection.execute(META)
        self.execute = self.connection.execute

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=LOCK_SECONDS,
            isolation_level=None,
            cached_statements=STATEMENTS_CACHED,
            check_same_thread=False,
        )
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute(f"PRAGMA cache_size=-{CACHE_KIB}")
        connection.execute("PRAGMA temp_store=MEMORY")
        return connection

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all of it or nothing."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:  # on a full disk SQLite has ended it itself
                self.execute("ROLLBACK")
            raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Another connection that only reads: one consistent state, beside the writer."""
        connection = sqlite3.connect(
            f"file:{self.path}?mode=ro", uri=True, timeout=LOCK_SECONDS, isolation_level=None
        )
        try:
            connection.execute("BEGIN")
            yield connection
        finally:
            connection.close()

    def row(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first row of the answer, or None."""
        return self.execute(statement, values).fetchone()

    def rows(self, statement: str, values: Sequence[Any] = ()) -> list[Any]:
        """All rows of the answer."""
        return self.execute(statement, values).fetchall()

    def meta(self, name: str) -> str | None:
        """A value that is kept beside the books."""
        found = self.row("SELECT value FROM meta WHERE name = ?", (name,))
        return None if found is None else str(found[0])

    def keep_meta(self, name: str, value: str | None) -> None:
        """Keep a value beside the books; None forgets it."""
        if value is None:
            self.execute("DELETE FROM meta WHERE name = ?", (name,))
        else:
            self.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Close the file; SQLite copies the log into it."""
        self.connection.close()
        os.close(self._lock)


def _exclusive(path: Path) -> int:
    """Hold a file's lock until this process ends, however it ends."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigurationError(
            f"PURSER_HOME: another simulator keeps its books in {path.parent}; stop it, or set"
            " PURSER_HOME to another folder"
        ) from None
    return descriptor
