"""A migrated database of the writer's own in the session's PostgreSQL, and stores on it."""

from collections.abc import Iterator

import pytest

from stack.endpoints import Endpoints
from stack.native import Stack
from tests.integration.postgres.database import Database, new_database
from writer.memory import MemoryStore
from writer.migrate import migrate
from writer.postgres import PostgresStore, open_store
from writer.store import EventStore


@pytest.fixture(scope="session")
def endpoints(idle_stack: Stack) -> Endpoints:
    """PostgreSQL is all that these tests need."""
    idle_stack.up(("postgres",))
    return idle_stack.endpoints


@pytest.fixture(scope="module")
def database(endpoints: Endpoints) -> Iterator[Database]:
    """A migrated database that the tests of a module share; each uses keys of its own."""
    with new_database(endpoints) as database:
        migrate(database.owner)
        yield database


@pytest.fixture(scope="module")
def postgres_store(database: Database) -> Iterator[PostgresStore]:
    """The store that the product uses."""
    with open_store(database.writer) as store:
        yield store


@pytest.fixture(params=["memory", "postgres"])
def store(request: pytest.FixtureRequest) -> EventStore:
    """Each of the stores there are."""
    if request.param == "memory":
        return MemoryStore()
    found: PostgresStore = request.getfixturevalue("postgres_store")
    return found
