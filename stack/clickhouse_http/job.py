"""One query that is read, judged and ready to run, and the connection prepared for it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

from schemas.clickhouse.rights import ANALYST_ROLE
from schemas.sql_words import clickhouse_literal
from stack.clickhouse_http.auth import User
from stack.clickhouse_http.connection import Connection
from stack.clickhouse_http.external import ExternalTable, external_tables
from stack.clickhouse_http.formats import DEFAULT_OUTPUT_FORMAT, check_format
from stack.clickhouse_http.request import QueryRequest
from stack.clickhouse_http.slots import Slots
from stack.clickhouse_http.statement import Command, InsertData, Select, Statement

STATE_VERBS: Final = frozenset({"SET", "USE"})
_NEED_NO_ROOM: Final = frozenset(
    {"DROP", "TRUNCATE", "DETACH", "SET", "USE", "KILL", "SYSTEM", "EXCHANGE", "RENAME"}
)
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A parsed query whose body is complete."""

    asked: QueryRequest
    user: User
    slots: Slots
    statement: Statement
    external: tuple[ExternalTable, ...]
    session: Connection | None
    database: str | None
    caps: Mapping[str, str]
    mark: str

    @property
    def settings(self) -> Mapping[str, str]:
        """Settings of this query; the reader's begin with its caps, which the gate watches."""
        return {**self.caps, **self.asked.settings}

    @property
    def keeps_state(self) -> bool:
        """Whether to use the session's connection: a read-only one has no state to keep."""
        read_only = self.asked.settings.get("readonly", "0") != "0"
        return not self.user.read_only and (not read_only or isinstance(self.statement, Select))

    @property
    def writes(self) -> bool:
        """Whether the disk must have space; not for statements that may be needed to free some."""
        match self.statement:
            case InsertData():
                return True
            case Select():
                return False
            case Command(verb=verb):
                return verb not in _NEED_NO_ROOM

    @property
    def leaves_nothing(self) -> bool:
        """Whether a connection is unchanged by this job."""
        return not (
            self.user.read_only
            or "readonly" in self.asked.settings
            or isinstance(self.statement, Command)
            or self.asked.roles
            or self.external
        )

    @property
    def output_format(self) -> str:
        named = None if isinstance(self.statement, InsertData) else self.statement.format_name
        return check_format(named or self.asked.default_format or DEFAULT_OUTPUT_FORMAT)


def prepared(
    connection: Connection, job: Job, *, keep: bool, work: Callable[[Connection], _Result]
) -> _Result:
    settings = dict(job.settings)
    read_only = settings.pop("readonly", "0")
    if keep and isinstance(job.statement, Command) and job.statement.verb in STATE_VERBS:
        connection.forget_applied()
        settings = {}
    connection.prepare(job.database, settings, keep=keep)
    if job.user.read_only:
        # Irreversible, and in this order: the connection is closed after this one statement.
        connection.set_roles([ANALYST_ROLE])
        connection.lock("2")
        return work(connection)
    with _roles(connection, job.asked.roles, keep), external_tables(connection, job.external):
        if not keep and read_only != "0":
            connection.lock(read_only)
        return work(connection)


@contextmanager
def _roles(connection: Connection, roles: tuple[str, ...], keep: bool) -> Iterator[None]:
    """Take on a request's roles; a kept connection gets its own back, but for a SET ROLE."""
    if not roles:
        yield
        return
    before = connection.roles() if keep else ()
    connection.set_roles(roles)
    if not keep:
        yield
        return
    taken = connection.roles()
    try:
        yield
    finally:
        if connection.roles() == taken:
            connection.set_roles(before)


def read_only_clause(job: Job) -> str:
    """A session's connection cannot be made read-only and back, so its statement is."""
    level = job.asked.settings.get("readonly", "0")
    if job.session is None or not job.keeps_state or level == "0":
        return ""
    return f"readonly = {clickhouse_literal(level)}"
