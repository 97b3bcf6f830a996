"""Databases of a test's own in the session's PostgreSQL, with the roles that are everywhere."""

from collections.abc import Iterator

import psycopg
import pytest

from stack.endpoints import Endpoints
from stack.native import Stack
from tests.integration.postgres.database import Database, new_database
from writer.migrate import migrate


@pytest.fixture(scope="session")
def endpoints(idle_stack: Stack) -> Endpoints:
    """PostgreSQL is all that these tests need."""
    idle_stack.up(("postgres",))
    return idle_stack.endpoints


@pytest.fixture
def empty_database(endpoints: Endpoints) -> Iterator[Database]:
    """A database without any schema, one per test."""
    with new_database(endpoints) as database:
        yield database


@pytest.fixture(scope="module")
def database(endpoints: Endpoints) -> Iterator[Database]:
    """A migrated database that the tests of a module share; each uses payments of its own."""
    with new_database(endpoints) as database:
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
