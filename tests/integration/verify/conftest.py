"""Databases of their own for the tests of verify, in the session's servers."""

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from sinks.migrate import migrate as migrate_clickhouse
from stack.endpoints import Endpoints
from stack.native import Stack
from stack.postgres import OWNER
from tests.integration.postgres.database import Database
from tests.integration.verify.world import (
    LARGEST_ORDERS,
    World,
    append,
    append_largest,
    marketplace,
    recorded_long_ago,
)
from writer.migrate import migrate


@pytest.fixture(scope="session")
def endpoints(idle_stack: Stack) -> Endpoints:
    """Both databases are all that these tests need."""
    idle_stack.up(("postgres", "clickhouse"))
    return idle_stack.endpoints


@pytest.fixture
def new_world(endpoints: Endpoints) -> Iterator[World]:
    """Empty databases with schemas, for one test."""
    yield from _world(endpoints)


@pytest.fixture(scope="module")
def filled_world(endpoints: Endpoints) -> Iterator[World]:
    """A marketplace in PostgreSQL that the tests of a module share."""
    for world in _world(endpoints):
        append(world.database.writer, marketplace(payments=40, seed=7))
        yield world


@pytest.fixture
def world(filled_world: World) -> World:
    """The marketplace with its views as they must be, filled anew for each test."""
    filled_world.clear()
    filled_world.pump.pump()
    return filled_world


@pytest.fixture(scope="module")
def filled_old_world(endpoints: Endpoints) -> Iterator[World]:
    """The same marketplace, recorded long ago."""
    for world in _world(endpoints):
        append(world.database.writer, marketplace(payments=40, seed=7))
        recorded_long_ago(world.database)
        yield world


@pytest.fixture
def old_world(filled_old_world: World) -> World:
    """Views that contain what is noted; nothing is rolled up. Filled anew for each test."""
    filled_old_world.clear()
    filled_old_world.pump.pump()
    return filled_old_world


@pytest.fixture
def rolled_world(old_world: World) -> World:
    """Totals that are rolled up, and read from the rows of a day and of a month."""
    old_world.roll_up()
    return old_world


@pytest.fixture(scope="module")
def largest_world(endpoints: Endpoints) -> Iterator[World]:
    """A seller whose orders of the largest amount add up to more than 64 bits hold."""
    for world in _world(endpoints):
        append_largest(world.database.writer)
        recorded_long_ago(world.database)
        world.pump.batch_rows = LARGEST_ORDERS
        world.pump.pump()
        yield world


def _world(endpoints: Endpoints) -> Iterator[World]:
    name = f"verify_{uuid.uuid4().hex[:12]}"
    url = urlsplit(endpoints.clickhouse_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(endpoints.postgres_superuser_dsn, autocommit=True) as session:
        database = sql.Identifier(name)
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(database, sql.Identifier(OWNER))
        )
        try:
            of = Database.of(endpoints, name)
            migrate(of.owner)
            migrate_clickhouse(url)
            world = World.of(of, url)
            try:
                yield world
            finally:
                world.run(f"DROP DATABASE {name}")
                world.close()
        finally:
            session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(database))
