"""The simulators' books on disk: one SQLite file, one connection that writes, transactions.

Every call of an API is one transaction. The file is in WAL mode with synchronous=NORMAL: what is
committed has been handed to the operating system, so it survives a kill -9 of the process at any
moment. Only a crash of the machine can lose the last transactions (never damage the file), and a
simulator need not survive that; each commit would otherwise wait for the disk.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError

CACHE_KIB = 65_536
STATEMENTS_CACHED = 512
LOCK_SECONDS = 10.0
CHECKPOINT_SECONDS = 1.0
WAL_BYTES_LARGE = 16 * 1024**2
"""From this size on the log is copied into the file, beside the writer."""
WAL_BYTES_MOST = 64 * 1024**2
"""From this size on it is also emptied, for which the writer waits a few milliseconds."""

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
        self.connection.execute("PRAGMA wal_autocheckpoint=0")  # `Checkpoints` does it
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
        connection.execute("PRAGMA synchronous=NORMAL")
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

    def empty_log(self) -> None:
        """Empty the log if it is large and nobody reads it; waits for the disk."""
        with suppress(FileNotFoundError):
            if _log_of(self.path).stat().st_size >= WAL_BYTES_MOST:
                self.connection.execute("PRAGMA busy_timeout=0")
                self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                self.connection.execute(f"PRAGMA busy_timeout={int(LOCK_SECONDS * 1000)}")

    def close(self) -> None:
        """Close the file; SQLite copies the log into it."""
        self.connection.close()
        os.close(self._lock)


class Checkpoints:
    """A thread that copies the log into the file, so that the writer need not wait for the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="checkpoints", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for it."""
        self._stop.set()
        self._thread.join(LOCK_SECONDS)

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, timeout=LOCK_SECONDS, isolation_level=None)
        connection.execute("PRAGMA synchronous=NORMAL")
        while not self._stop.wait(CHECKPOINT_SECONDS):
            with suppress(FileNotFoundError, sqlite3.OperationalError):  # the next round does it
                if _log_of(self._path).stat().st_size >= WAL_BYTES_LARGE:
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        connection.close()


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


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
