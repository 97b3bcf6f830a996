"""One connection to chDB: its settings and database, and the statements that run on it.

The engine writes results into a pipe (`INTO OUTFILE '/dev/fd/N'`) and reads rows from an unnamed
file (`FROM INFILE '/dev/fd/N'`): any format, any size, no copy in Python. All calls block and run
in worker threads. Foreign exceptions are converted only here and in `engine`.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import IO, Any, Final

import chdb

from schemas.sql_words import clickhouse_literal, clickhouse_name
from stack.clickhouse_http.errors import ClickHouseError, Code, from_engine
from stack.clickhouse_http.statement import InsertData, Select

DEFAULT_DATABASE: Final = "default"
PARAMETER_ESCAPES: Final = str.maketrans(
    {"\\": r"\\", "\t": r"\t", "\n": r"\n", "\r": r"\r", "\0": r"\0", "\b": r"\b", "\f": r"\f"}
)
"""How the value of a query parameter is written."""
CHDB_ERRORS: Final = (RuntimeError, ValueError, chdb.ChdbError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What one statement did: rows, bytes and nanoseconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0


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
        """Select the database and apply `settings`; with `keep`, remember the previous values.

        On a kept connection (a session's) this first restores what an earlier request changed. It
        costs nothing if the next request wants the same.
        """
        wanted_database = database or self._home_database
        if wanted_database != self._database:
            self.run(f"USE {clickhouse_name(wanted_database)}")
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
        """Return whether `prepare` would have nothing to do."""
        return self._database == (database or self._home_database) and self._applied == settings

    def lock(self, level: str) -> None:
        """Make the connection read-only for good: no later statement can undo it."""
        self._set({"readonly": level})

    def roles(self) -> tuple[str, ...]:
        """Return the current roles."""
        answer, _ = self.run("SELECT currentRoles() AS roles", "JSONEachRow")
        return tuple(json.loads(answer)["roles"])

    def set_roles(self, roles: Iterable[str]) -> None:
        """Take on exactly these; the engine answers for one that does not exist."""
        names = ", ".join(clickhouse_name(role) for role in roles)
        self.run(f"SET ROLE {names or 'NONE'}")

    def forget_applied(self) -> None:
        """Restore the settings, so that a following SET or USE changes the session's own state."""
        if self._before:
            self._set(self._before)
        self._applied, self._before = {}, {}

    def adopt_database(self) -> None:
        """After a USE statement, make the current database the session's own."""
        name = bytes(self._inner.query("SELECT currentDatabase()", "RawBLOB").bytes()).decode()
        self._database = self._home_database = name

    def run(
        self,
        text: str | bytes,
        format_name: str = "TabSeparated",
        parameters: Mapping[str, str] = MappingProxyType({}),
        mark: str = "",
    ) -> tuple[bytes, Counts]:
        """Run any statement; returns its whole (small) answer and its counts.

        `mark` is a comment for its end: see `marks`.
        """
        started = time.perf_counter_ns()
        if mark:
            text = b"%b\n%b" % (text.encode() if isinstance(text, str) else text, mark.encode())
        try:
            result = self._inner.query(text, format_name, dict(parameters))
        except CHDB_ERRORS as error:
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
        """Run `statement` and write its answer to `write_fd`, which the caller closes."""
        more = f"{',' if statement.tail else 'SETTINGS'} {extra_settings}" if extra_settings else ""
        text = b"%b\nINTO OUTFILE '/dev/fd/%d' APPEND FORMAT %b %b%b" % (
            statement.head,
            write_fd,
            format_name.encode(),
            statement.tail,
            more.encode(),
        )
        try:
            return self.run(text, format_name, parameters, mark)[1]
        except ClickHouseError as error:
            # Code 62 may also come from the middle of the answer: `formatQuery(column)`.
            if error.code != Code.SYNTAX_ERROR or self._is_statement(text):
                raise
        # Either the SQL is wrong, and its own text gives the error a user understands, or it is
        # of the kind that takes no INTO OUTFILE.
        answer, counts = self.run(statement.text, format_name, parameters, mark)
        with os.fdopen(os.dup(write_fd), "wb") as pipe:
            pipe.write(answer)
        return counts

    def insert(
        self,
        insert: InsertData,
        format_name: str,
        parameters: Mapping[str, str],
        rows: Iterable[bytes],
        mark: str = "",
    ) -> Counts:
        """Insert `rows`, encoded in `format_name`; returns when the engine has committed them.

        It uses a file in memory, because chDB's streaming insert (`send_insert`, 4.4) reports
        success for rows that violate a constraint of the table, and stores none of them.
        """
        with _memory_file() as file:
            file.writelines(rows)
            file.flush()
            return self.insert_file(insert, format_name, parameters, file.fileno(), mark)

    def insert_file(
        self,
        insert: InsertData,
        format_name: str,
        parameters: Mapping[str, str],
        read_fd: int,
        mark: str = "",
    ) -> Counts:
        """Like `insert`, from an open regular file, which the engine reads in parallel."""
        text = b"%b FROM INFILE '/dev/fd/%d' COMPRESSION 'none' %b FORMAT %b" % (
            insert.before_settings,
            read_fd,
            insert.settings,
            format_name.encode(),
        )
        return self.run(text, parameters=parameters, mark=mark)[1]

    def _is_statement(self, text: bytes) -> bool:
        """Whether the engine can parse `text`, so that it has begun to run it."""
        escaped = text.decode("utf-8", "surrogateescape").translate(PARAMETER_ESCAPES)
        try:
            self.run("SELECT formatQuery({text:String})", parameters={"text": escaped})
        except ClickHouseError as error:
            return error.code != Code.SYNTAX_ERROR
        return True

    def _set(self, values: Mapping[str, str]) -> None:
        self.run(
            "SET "
            + ", ".join(f"{name} = {clickhouse_literal(value)}" for name, value in values.items())
        )

    def _current(self, names: Iterable[str]) -> dict[str, str]:
        listed = ", ".join(clickhouse_literal(name) for name in names)
        answer, _ = self.run(
            f"SELECT name, value FROM system.settings WHERE name IN ({listed})", "TabSeparatedRaw"
        )
        return dict(line.split("\t", 1) for line in answer.decode().splitlines())


def _memory_file() -> IO[bytes]:
    """Open an unnamed file, in memory if the system supports it, else in the temporary folder."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("insert"), "w+b")
    return tempfile.TemporaryFile()


def _counts(result: Any, started: int) -> Counts:
    return Counts(
        read_rows=result.storage_rows_read(),
        read_bytes=result.storage_bytes_read(),
        written_rows=result.rows_written(),
        written_bytes=result.bytes_written(),
        result_rows=result.rows_read(),
        elapsed_ns=time.perf_counter_ns() - started,
    )
