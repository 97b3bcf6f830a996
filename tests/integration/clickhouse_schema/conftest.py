"""A database for each test, and a client beside it."""

from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from sinks.client import connect
from sinks.settings import ClickHouseSettings
from tests.clickhouse_server import database


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
