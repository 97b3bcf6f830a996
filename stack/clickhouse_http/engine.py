"""chDB, the ClickHouse engine in this process: its configuration, its connections, its statements.

One engine per process and folder; one connection per request (they cost 0.1 ms), so that nothing a
request sets can reach another. Results leave through a pipe that the engine writes itself
(`INTO OUTFILE '/dev/fd/N'`): any format, any size, no copy in Python. Everything here blocks and
runs in worker threads. Foreign exceptions are translated here and nowhere else.
"""

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Final
from xml.sax.saxutils import escape

import chdb

from schemas.errors import ConfigurationError
from stack.clickhouse_http.errors import ClickHouseError, Code, from_engine, refusal
from stack.clickhouse_http.settings import MIB, ServerSettings
from stack.clickhouse_http.statement import InsertData, Select

DEFAULT_DATABASE: Final = "default"
CACHE_BYTES: Final = 32 * MIB  # each of the engine's caches; production defaults are GiB
_CHDB_ERRORS: Final = (RuntimeError, ValueError, chdb.ChdbError)

_SERVER_CONFIG = """<clickhouse>
  <users_config>{users}</users_config>
  <timezone>UTC</timezone>
  <max_server_memory_usage>{memory}</max_server_memory_usage>
  <mark_cache_size>{cache}</mark_cache_size>
  <primary_index_cache_size>{cache}</primary_index_cache_size>
  <index_mark_cache_size>{cache}</index_mark_cache_size>
  <query_condition_cache_size>{cache}</query_condition_cache_size>
  <compiled_expression_cache_size>{cache}</compiled_expression_cache_size>
  <parquet_metadata_cache_size>{cache}</parquet_metadata_cache_size>
  <background_pool_size>{threads}</background_pool_size>
  <background_schedule_pool_size>{threads}</background_schedule_pool_size>
</clickhouse>
"""
_USERS_CONFIG = """<clickhouse>
  <profiles><default>
    <async_insert>0</async_insert>
    <insert_deduplicate>0</insert_deduplicate>
    <deduplicate_insert>disable</deduplicate_insert>
    <deduplicate_insert_select>disable</deduplicate_insert_select>
    <implicit_select>0</implicit_select>
    <allow_introspection_functions>0</allow_introspection_functions>
    <session_timezone>UTC</session_timezone>
  </default></profiles>
  <users><default>
    <password></password>
    <networks><ip>::/0</ip></networks>
    <profile>default</profile>
    <quota>default</quota>
    <access_management>1</access_management>
  </default></users>
  <quotas><default></default></quotas>
</clickhouse>
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one statement did; rows and bytes, and nanoseconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


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
        """Where data on the way are kept."""
        return self._folder / "spool"

    @property
    def _files_folder(self) -> Path:
        return self._folder / "files"

    def open(self) -> None:
        """Start the engine; raises `ConfigurationError` when the folder is in use or unusable."""
        try:
            self._settings.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = self._folder = _anchored(self._settings.path)
            self._take_lock(folder)
            shutil.rmtree(self.spool_folder, ignore_errors=True)
            for part in (self.spool_folder, self._files_folder):
                part.mkdir(exist_ok=True)
            self._url = self._write_config(folder)
        except OSError as error:
            raise ConfigurationError(
                f"--path {self._settings.path}: {error.strerror or error};"
                " choose a folder this user may write."
            ) from None
        # chDB takes unknown table names for files of the working folder: give it an empty one.
        os.chdir(self._files_folder)
        try:
            self._anchor = chdb.connect(self._url)
            self._anchor.query(f"CREATE DATABASE IF NOT EXISTS {self._settings.database}")
            self.version = str(self._anchor.query("SELECT version()", "LineAsString")).strip()
        except _CHDB_ERRORS as error:
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

    def _write_config(self, folder: Path) -> str:
        users, server = folder / "users.xml", folder / "config.xml"
        users.write_text(_USERS_CONFIG)
        server.write_text(
            _SERVER_CONFIG.format(
                users=escape(str(users)),
                memory=self._settings.max_server_memory_bytes,
                cache=CACHE_BYTES,
                threads=self._settings.background_threads,
            )
        )
        return f"{folder / 'data'}?config-file={server}"

    def connect(self) -> "Connection":
        """A connection of its own: settings, temporary tables and database start afresh."""
        try:
            return Connection(chdb.connect(self._url))
        except _CHDB_ERRORS as error:
            raise from_engine(error) from None

    def kill(self, mark: str) -> None:
        """Stop the running statement that carries the comment `mark`."""
        with contextlib.closing(self.connect()) as connection:
            connection.run(
                f"KILL QUERY WHERE position(query, {quote(mark)}) > 0"
                " AND query_kind != 'KillQuery' ASYNC"
            )

    def kill_all(self) -> None:
        """Stop every running statement."""
        with contextlib.closing(self.connect()) as connection:
            connection.run("KILL QUERY WHERE query_kind != 'KillQuery' ASYNC")

    def close(self) -> None:
        """Close the engine; parts and metadata are on disk afterwards."""
        if self._anchor is not None:
            self._anchor.close()
            self._anchor = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None


class Connection:
    """One connection to the engine, used by one request at a time."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._database = DEFAULT_DATABASE
        self._home_database = DEFAULT_DATABASE
        self._applied: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def close(self) -> None:
        self._inner.close()

    def prepare(
        self, database: str | None, settings: Mapping[str, str], *, keep: bool = False
    ) -> None:
        """Select the database and apply `settings`; with `keep`, remember how it was before.

        A kept connection (a session's) gets back what an earlier request changed, and costs
        nothing when the next request wants the same.
        """
        wanted_database = database or self._home_database
        if wanted_database != self._database:
            self.run(f"USE {quote_identifier(wanted_database)}")
            self._database = wanted_database
        wanted = dict(settings)
        if wanted == self._applied:
            return
        if self._before:
            self._set(self._before)
        self._applied, self._before = {}, {}
        if keep and wanted:
            self._before = self._current(wanted)
        if wanted:
            self._set(wanted)
            self._applied = wanted

    def is_prepared_for(self, database: str | None, settings: Mapping[str, str]) -> bool:
        """Whether `prepare` would have nothing to do."""
        return self._database == (database or self._home_database) and self._applied == settings

    def lock(self, level: str) -> None:
        """Make the connection read-only, for good: no later statement can undo it."""
        self._set({"readonly": level})

    def set_role(self, role: str) -> None:
        """Take on `role`; the engine answers for one that does not exist."""
        self.run(f"SET ROLE {quote_identifier(role)}")

    def forget_applied(self) -> None:
        """After a SET or USE statement: what it left is the session's own state from now on."""
        if self._before:
            self._set(self._before)
        self._applied, self._before = {}, {}

    def adopt_database(self) -> None:
        """Take the current database, after a USE statement, as the session's own."""
        name = bytes(self._inner.query("SELECT currentDatabase()", "RawBLOB").bytes()).decode()
        self._database = self._home_database = name

    def run(
        self,
        text: str | bytes,
        format_name: str = "TabSeparated",
        parameters: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[bytes, Counts]:
        """Run any statement; its whole (small) answer and its counts."""
        started = time.perf_counter_ns()
        try:
            result = self._inner.query(text, format_name, dict(parameters))
        except _CHDB_ERRORS as error:
            raise from_engine(error) from None
        return result.bytes() or b"", _counts(result, started)

    def select(
        self,
        statement: Select,
        format_name: str,
        parameters: Mapping[str, str],
        write_fd: int,
        mark: str,
        extra_settings: str = "",
    ) -> Counts:
        """Run `statement` and write its answer to `write_fd`; the caller closes that."""
        more = f"{',' if statement.tail else 'SETTINGS'} {extra_settings}" if extra_settings else ""
        text = b"%b\nINTO OUTFILE '/dev/fd/%d' APPEND FORMAT %b %b%b /* %b */" % (
            statement.head,
            write_fd,
            format_name.encode(),
            statement.tail,
            more.encode(),
            mark.encode(),
        )
        try:
            return self.run(text, format_name, parameters)[1]
        except ClickHouseError as error:
            if error.code != Code.SYNTAX_ERROR:
                raise
        # Either the SQL is wrong, and its own text gives the error a user understands, or it is
        # of the kind that takes no INTO OUTFILE. A text that does not parse has not begun to run.
        answer, counts = self.run(statement.text, format_name, parameters)
        with os.fdopen(os.dup(write_fd), "wb") as pipe:
            pipe.write(answer)
        return counts

    def insert(
        self,
        insert: InsertData,
        format_name: str,
        parameters: Mapping[str, str],
        rows: Iterable[bytes],
    ) -> Counts:
        """Insert `rows`, encoded in `format_name`; returns when the engine has committed them.

        Through a file in memory: chDB's own streaming insert (`send_insert`, 4.4) reports success
        for rows that the table refuses by a constraint, and stores none of them.
        """
        with open(os.memfd_create("insert"), "w+b", buffering=0) as file:  # noqa: PTH123
            for chunk in rows:
                file.write(chunk)
            return self.insert_file(insert, format_name, parameters, file.fileno())

    def insert_file(
        self, insert: InsertData, format_name: str, parameters: Mapping[str, str], read_fd: int
    ) -> Counts:
        """Like `insert`, from an open regular file, which the engine reads in parallel."""
        text = b"%b FROM INFILE '/dev/fd/%d' COMPRESSION 'none' %b FORMAT %b" % (
            insert.before_settings,
            read_fd,
            insert.settings,
            format_name.encode(),
        )
        return self.run(text, parameters=parameters)[1]

    def _set(self, values: Mapping[str, str]) -> None:
        self.run("SET " + ", ".join(f"{name} = {quote(value)}" for name, value in values.items()))

    def _current(self, names: Iterable[str]) -> dict[str, str]:
        listed = ", ".join(quote(name) for name in names)
        answer, _ = self.run(
            f"SELECT name, value FROM system.settings WHERE name IN ({listed})", "TabSeparatedRaw"
        )
        return dict(line.split("\t", 1) for line in answer.decode().splitlines())


def _anchored(folder: Path) -> Path:
    """A name for an existing folder that stays right when the working folder changes.

    Through a descriptor that stays open as long as this process; a name below /proc/self/cwd would
    mean another folder after `chdir`.
    """
    if not folder.is_relative_to("/proc/self/cwd"):
        return folder
    return Path(f"/proc/self/fd/{os.open(folder, os.O_PATH | os.O_DIRECTORY)}")


def quote(value: str) -> str:
    """`value` as a string literal of SQL."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quote_identifier(name: str) -> str:
    """`name` as a quoted identifier of SQL."""
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def check_format(name: str) -> str:
    """`name` if it can be the name of a format; raises 73 otherwise."""
    if not name.isascii() or not name.isidentifier():
        raise refusal(Code.UNKNOWN_FORMAT, f"Unknown format {name!r}.")
    return name


def _counts(result: Any, started: int) -> Counts:
    return Counts(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=time.perf_counter_ns() - started,
    )
