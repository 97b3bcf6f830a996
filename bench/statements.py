"""Counts what programs ask of PostgreSQL: statements by kind, and commits.

While the counting lasts, PostgreSQL logs every statement. Its log says which backend ran what, and
the client's port says whose backend it is. Logging costs PostgreSQL time, so no latency is measured
meanwhile.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import LiteralString

import psutil
import psycopg
from psycopg import sql

from stack.native import Stack
from stack.topology import PROGRAMS

LOOK_SECONDS = 0.3
OTHER = "other"

_LINE = re.compile(
    r"^\S+ \S+ \S+ \[(\d+)\] (?!postgres@)\S+@\S* LOG:  (?:execute [^:]*|statement): *(\w+)",
)
_TURNED_ON = "ALTER SYSTEM SET log_statement = 'all'"
_TURNED_OFF = "ALTER SYSTEM RESET log_statement"
_BACKENDS = """
SELECT pid, client_port FROM pg_stat_activity WHERE datname IS NOT NULL AND client_port > 0
"""
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = %s"


@dataclass(slots=True, kw_only=True)
class Counted:
    """Program -> kind of statement -> how often; kinds are as `SELECT`, `INSERT`, `COMMIT`."""

    statements: dict[str, Counter[str]] = field(default_factory=dict)

    def of(self, program: str) -> Counter[str]:
        """What a program asked; nothing for one that asked nothing."""
        return self.statements.get(program, Counter())


def kinds_of(lines: Iterable[str]) -> dict[int, Counter[str]]:
    """Backend -> kinds of the statements that PostgreSQL's log shows of it."""
    found: dict[int, Counter[str]] = {}
    for line in lines:
        if match := _LINE.match(line):
            found.setdefault(int(match[1]), Counter())[match[2].upper()] += 1
    return found


def programs_of_backends(stack: Stack) -> dict[int, str]:
    """Backend -> the program of the stack that it serves."""
    owners = dict(_ports_of_programs(stack))
    with psycopg.connect(stack.endpoints.postgres_superuser_dsn) as connection:
        backends = connection.execute(_BACKENDS).fetchall()
    return {pid: owners[port] for pid, port in backends if port in owners}


def _ports_of_programs(stack: Stack) -> Iterator[tuple[int, str]]:
    for program in PROGRAMS:
        pid = stack.pid(program.name)
        if pid is None or program.name == "postgres":
            continue
        for connection in psutil.Process(pid).net_connections("tcp"):
            yield connection.laddr.port, program.name


@contextmanager
def counting(stack: Stack) -> Iterator[Counted]:
    """Count while the body runs; what it yields is complete afterwards.

    Backends whose program could not be told count as `other`.
    """
    log = stack.log("postgres")
    counted = Counted()
    owners: dict[int, str] = {}
    over = Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):  # sessions come and go
            owners.update(programs_of_backends(stack))

    looking = Thread(target=look, name="backends")
    _set(stack, _TURNED_ON)
    begins_at = log.stat().st_size
    looking.start()
    try:
        yield counted
    finally:
        over.set()
        looking.join()
        _set(stack, _TURNED_OFF)
    with log.open(encoding="utf-8", errors="replace") as lines:
        lines.seek(begins_at)
        for pid, kinds in kinds_of(lines).items():
            known = counted.statements.setdefault(owners.get(pid, OTHER), Counter())
            known.update(kinds)


def commits(stack: Stack) -> int:
    """Transactions committed in Purser's database so far, those that only read included."""
    endpoints = stack.endpoints
    database = psycopg.conninfo.conninfo_to_dict(endpoints.postgres_dsn)["dbname"]
    with psycopg.connect(endpoints.postgres_superuser_dsn) as connection:
        row = connection.execute(_COMMITS, (database,)).fetchone()
    assert row is not None
    count: int = row[0]
    return count


def per_payment(counts: Mapping[str, int], payments: int) -> dict[str, float]:
    """Kind -> how often for one payment."""
    return {kind: times / payments for kind, times in sorted(counts.items())}


def _set(stack: Stack, statement: LiteralString) -> None:
    """Change a setting of the server, for all sessions from now on."""
    with psycopg.connect(stack.endpoints.postgres_superuser_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL(statement))
        connection.execute("SELECT pg_reload_conf()")
