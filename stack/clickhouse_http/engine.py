"""chDB, the ClickHouse engine, in this process: start, connect, stop.

There is one engine per process and folder. A connection costs 0.1 ms, so every request can have a
separate one, and settings of one request cannot affect another.
"""

import contextlib
import fcntl
import os
import resource
import shutil
from pathlib import Path
from typing import IO, Any

import chdb

from schemas.errors import ConfigurationError
from schemas.sql_words import clickhouse_literal
from stack.clickhouse_http.configuration import write_configuration
from stack.clickhouse_http.connection import CHDB_ERRORS, Connection
from stack.clickhouse_http.errors import Code, from_engine, refusal
from stack.clickhouse_http.settings import MIB, ServerSettings


class Engine:
    """The engine under one folder: `data` belongs to chDB, `spool` and `files` to this server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._folder = settings.path
        self._lock: IO[str] | None = None
        self._anchor: Any = None
        self._url = ""
        self.version = ""

    @property
    def spool_folder(self) -> Path:
        """The folder of incoming and outgoing data."""
        return self._folder / "spool"

    @property
    def _files_folder(self) -> Path:
        return self._folder / "files"

    def open(self) -> None:
        """Start the engine; raises `ConfigurationError` if the folder is in use or unusable."""
        _refuse_file_size_limit()
        try:
            self._settings.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = self._folder = _anchored(self._settings.path)
            self._take_lock(folder)
            shutil.rmtree(self.spool_folder, ignore_errors=True)
            for part in (self.spool_folder, self._files_folder):
                part.mkdir(exist_ok=True)
            self._url = write_configuration(folder, self._settings)
        except OSError as error:
            raise ConfigurationError(
                f"--path {self._settings.path}: {error.strerror or error};"
                " choose a folder this user may write."
            ) from None
        # chDB treats unknown table names as files of the working folder: use an empty one.
        os.chdir(self._files_folder)
        try:
            self._anchor = chdb.connect(self._url)
            self._anchor.query(f"CREATE DATABASE IF NOT EXISTS {self._settings.database}")
            self.version = str(self._anchor.query("SELECT version()", "LineAsString")).strip()
        except CHDB_ERRORS as error:
            raise ConfigurationError(
                f"--path {folder}: chDB cannot start: {from_engine(error).text}"
            ) from None

    def _take_lock(self, folder: Path) -> None:
        lock = (folder / "lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigurationError(
                f"--path {folder}: another server is using it; stop that one or choose another."
            ) from None
        self._lock = lock

    def ensure_space(self, *, after_writing: bool = False) -> None:
        """Refuse to write (243) while the disk is nearly full.

        chDB 4.4 ignores a failed write and commits the damaged part anyway, so a write must never
        fail for lack of space. With `after_writing`, raise if less than a tenth of the reserve is
        left although it was free before: another program filled the disk meanwhile, and the written
        data cannot be trusted.
        """
        free = shutil.disk_usage(self._folder).free
        reserve = self._settings.min_free_disk_bytes
        if after_writing and free < reserve // 10:
            raise refusal(
                Code.NOT_ENOUGH_SPACE,
                f"The disk ran full while this was written ({free // MIB} MiB left), and what"
                " was written may be damaged. Free space, then check the table with CHECK TABLE.",
            )
        if not after_writing and free < reserve:
            raise refusal(
                Code.NOT_ENOUGH_SPACE,
                f"The disk has {free // MIB} MiB left of the {reserve // MIB} MiB that are kept"
                " free; nothing was written. Free some space and try again.",
            )

    def connect(self) -> Connection:
        """Open a new connection, with fresh settings, temporary tables and database."""
        try:
            return Connection(chdb.connect(self._url))
        except CHDB_ERRORS as error:
            raise from_engine(error) from None

    def kill(self, mark: str) -> None:
        """Stop the running statement that ends with the comment `mark`: see `marks`."""
        with contextlib.closing(self.connect()) as connection:
            connection.run(f"KILL QUERY WHERE endsWith(query, {clickhouse_literal(mark)}) ASYNC")

    def kill_all(self) -> None:
        """Stop every running statement."""
        with contextlib.closing(self.connect()) as connection:
            connection.run("KILL QUERY WHERE query_kind != 'KillQuery' ASYNC")

    def close(self) -> None:
        """Close the engine; afterwards parts and metadata are on disk."""
        if self._anchor is not None:
            self._anchor.close()
            self._anchor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _anchored(folder: Path) -> Path:
    """Return a name of an existing folder that stays valid when the working folder changes.

    It uses a descriptor that stays open for the life of the process. A name below /proc/self/cwd
    would mean another folder after `chdir`.
    """
    if not folder.is_relative_to("/proc/self/cwd"):
        return folder
    return Path(f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY)}")


def _refuse_file_size_limit() -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY:
        raise ConfigurationError(
            f"The size of files is limited to {limit} bytes, and chDB ignores writes that"
            " fail: start the server with `ulimit -f unlimited`."
        )
