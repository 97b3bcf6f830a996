"""A ClickHouse server for the session, a database for each test."""

import os
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from sinks.client import connect
from sinks.settings import ClickHouseSettings
from tests.clickhouse_server import URL_VARIABLE, database, own_server


@pytest.fixture(scope="session")
def clickhouse_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server's URL without a database."""
    if url := os.environ.get(URL_VARIABLE):
        yield url.rstrip("/")
        return
    with own_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url


@pytest.fixture
def empty_url(clickhouse_server_url: str) -> Iterator[str]:
    """The URL of a database that does not exist yet."""
    with database(clickhouse_server_url) as url:
        yield url


@pytest.fixture
def server(clickhouse_server_url: str) -> Iterator[Client]:
    """A client of no database of ours."""
    client = connect(ClickHouseSettings.load(clickhouse_server_url), database="default")
    yield client
    client.close()
