"""How tests reach a database, append rows to it, and see why it refused one."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from stack.endpoints import Endpoints
from stack.postgres import OWNER
from tests.integration.postgres.rows import Row

PAYMENTS = "payments"


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """DSNs of one database, one per role."""

    superuser: str
    owner: str
    writer: str
    reader: str
    cdc: str

    @classmethod
    def of(cls, endpoints: Endpoints, name: str) -> Self:
        """The same roles in another database of the same server."""
        return cls(
            superuser=make_conninfo(endpoints.postgres_superuser_dsn, dbname=name),
            owner=make_conninfo(endpoints.postgres_admin_dsn, dbname=name),
            writer=make_conninfo(endpoints.postgres_dsn, dbname=name),
            reader=make_conninfo(endpoints.postgres_reader_dsn, dbname=name),
            cdc=make_conninfo(endpoints.postgres_cdc_dsn, dbname=name),
        )

    def dsn(self, role: str) -> str:
        """The DSN of `superuser`, `owner`, `writer`, `reader` or `cdc`."""
        return {field.name: str(getattr(self, field.name)) for field in fields(self)}[role]


@contextmanager
def new_database(endpoints: Endpoints) -> Iterator[Database]:
    """An empty database for the length of a `with`, in the session's PostgreSQL."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(endpoints.postgres_superuser_dsn, autocommit=True) as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(OWNER)
            )
        )
        try:
            yield Database.of(endpoints, name)
        finally:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Why PostgreSQL refused: the SQLSTATE, or the constraint's name for a CHECK, and the field."""

    why: str
    field: str | None

    @classmethod
    def of(cls, error: psycopg.Error) -> Self:
        """From what psycopg raised."""
        is_check = isinstance(error, psycopg.errors.CheckViolation)
        why = error.diag.constraint_name if is_check else error.sqlstate
        return cls(why=str(why), field=error.diag.column_name)


def insert(connection: psycopg.Connection, *rows: Row, table: str = PAYMENTS) -> None:
    """Append rows in one statement."""
    names = list(rows[0])
    values = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(names)))
    connection.execute(
        sql.SQL("INSERT INTO public.{} ({}) VALUES {}").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, names)),
            sql.SQL(", ").join([values] * len(rows)),
        ),
        [row[name] for row in rows for name in names],
    )


def copy(connection: psycopg.Connection, rows: Iterable[Row], table: str = PAYMENTS) -> None:
    """Append rows by COPY, as bulk imports do."""
    rows = list(rows)
    command = sql.SQL("COPY public.{} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, rows[0]))
    )
    with connection.cursor() as cursor, cursor.copy(command) as stream:
        for row in rows:
            stream.write_row([None if value is None else str(value) for value in row.values()])


def refusal(connection: psycopg.Connection, *rows: Row, table: str = PAYMENTS) -> Refused | None:
    """Try to append rows in one statement; None when they were accepted, and then they stay."""
    try:
        with connection.transaction():
            insert(connection, *rows, table=table)
    except psycopg.Error as error:
        return Refused.of(error)
    return None
