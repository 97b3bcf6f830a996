"""Databases of a test's own in the session's PostgreSQL, with the roles that are everywhere."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import sql

from stack.endpoints import Endpoints
from stack.postgres import OWNER
from tests.integration.postgres.database import Database
from writer.migrate import migrate


@contextmanager
def _new_database(endpoints: Endpoints) -> Iterator[Database]:
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


@pytest.fixture
def empty_database(endpoints: Endpoints) -> Iterator[Database]:
    """A database without any schema, one per test."""
    with _new_database(endpoints) as database:
        yield database


@pytest.fixture(scope="module")
def database(endpoints: Endpoints) -> Iterator[Database]:
    """A migrated database that the tests of a module share; each uses payments of its own."""
    with _new_database(endpoints) as database:
        migrate(database.owner)
        yield database


@pytest.fixture(scope="module")
def writer_session(database: Database) -> Iterator[psycopg.Connection]:
    """One session as purser_writer; use `writer`."""
    with psycopg.connect(database.writer) as connection:
        yield connection


@pytest.fixture(scope="module")
def owner_session(database: Database) -> Iterator[psycopg.Connection]:
    """One session as purser_owner; use `owner`."""
    with psycopg.connect(database.owner) as connection:
        yield connection


@pytest.fixture
def writer(writer_session: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A transaction as purser_writer that is rolled back after the test."""
    yield writer_session
    writer_session.rollback()


@pytest.fixture
def owner(owner_session: psycopg.Connection) -> Iterator[psycopg.Connection]:
    """A transaction as purser_owner that is rolled back after the test."""
    yield owner_session
    owner_session.rollback()
