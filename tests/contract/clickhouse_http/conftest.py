"""The server under test: ours on a free port, or any ClickHouse by URL.

    PURSER_TEST_CLICKHOUSE_URL=http://user:password@host:8123 pytest tests/contract/clickhouse_http

Every test works in a database that is made for the session and dropped after it.
"""

import os
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import clickhouse_connect
import httpx
import pytest

from stack.clickhouse_http.testing import ClickHouseServer
from tests.contract.clickhouse_http.reader_world import World, reader_world


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the server under test answers, and as whom and where the tests work."""

    host: str
    port: int
    user: str
    password: str
    database: str

    @property
    def url(self) -> str:
        """The address without credentials."""
        return f"http://{self.host}:{self.port}"

    def client(self, **options: Any) -> Any:
        """A new clickhouse-connect client."""
        arguments = {
            "host": self.host,
            "port": self.port,
            "username": self.user,
            "password": self.password,
            "database": self.database,
        }
        return clickhouse_connect.get_client(**{**arguments, **options})

    def http(self, **options: Any) -> httpx.Client:
        """A new plain HTTP client with basic auth, in the tests' database."""
        arguments = {
            "base_url": self.url,
            "auth": (self.user, self.password),
            "params": {"database": self.database},
            "timeout": 60.0,
            "verify": False,
        }
        return httpx.Client(**{**arguments, **options})


@pytest.fixture(scope="session")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server under test, with a database of the session's own."""
    given = os.environ.get("PURSER_TEST_CLICKHOUSE_URL")
    if given is None:
        with ClickHouseServer(tmp_path_factory.mktemp("clickhouse") / "data") as server:
            yield from _with_database("127.0.0.1", server.port, server.user, server.password)
        return
    parts = urlsplit(given)
    yield from _with_database(
        parts.hostname or "localhost",
        parts.port or 8123,
        unquote(parts.username or "default"),
        unquote(parts.password or ""),
    )


def _with_database(host: str, port: int, user: str, password: str) -> Iterator[Target]:
    database = f"contract_{uuid.uuid4().hex[:12]}"
    admin = clickhouse_connect.get_client(
        host=host, port=port, username=user, password=password, database="default"
    )
    admin.command(f"CREATE DATABASE {database}")
    try:
        yield Target(host=host, port=port, user=user, password=password, database=database)
    finally:
        admin.command(f"DROP DATABASE {database}")
        admin.close()


@pytest.fixture
def client(target: Target) -> Iterator[Any]:
    """A clickhouse-connect client."""
    made = target.client()
    yield made
    made.close()


@pytest.fixture
def http(target: Target) -> Iterator[httpx.Client]:
    """A plain HTTP client."""
    with target.http() as made:
        yield made


@pytest.fixture
def table(http: httpx.Client) -> Iterator[str]:
    """A fresh table `(a UInt64, b String)`; its name."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    create = f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
    http.post("/", content=create).raise_for_status()
    yield name
    http.post("/", content=f"DROP TABLE {name}").raise_for_status()


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server of ours, and what its reader must not reach."""
    with reader_world(tmp_path_factory.mktemp("reader")) as made:
        yield made


@pytest.fixture
def reader(world: World) -> Iterator[httpx.Client]:
    """An HTTP client of the reader."""
    with world.reader() as made:
        yield made
