"""A database for each test with a client beside it, and one that is filled, for those who read."""

import os
import secrets
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from clickhouse_connect.driver.client import Client

from sinks.analyst_user import ensure_reader
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from stack.clickhouse_http.testing import ClickHouseServer
from tests.clickhouse_server import URL_VARIABLE, database
from tests.integration.clickhouse_schema.filled import fill


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


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """URLs of a filled database: the writer's and the reader's.

    The local server has one reader, for one database, so this is a server of its own.
    """
    given = os.environ.get(URL_VARIABLE)
    if given is None:
        with ClickHouseServer(tmp_path_factory.mktemp("filled") / "data") as server:
            fill(server.url_with_credentials)
            yield server.url_with_credentials, server.reader_url
        return
    with database(given.rstrip("/")) as url:
        fill(url)
        parts = urlsplit(url)
        login = f"reader_{secrets.token_hex(4)}:{secrets.token_hex(12)}"
        reader_url = parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()
        ensure_reader(url, reader_url)
        yield url, reader_url


@pytest.fixture(scope="session")
def url(filled: tuple[str, str]) -> str:
    """The writer's URL of the filled database."""
    return filled[0]


@pytest.fixture(scope="session")
def reader_url(filled: tuple[str, str]) -> str:
    """The reader's URL of the filled database."""
    return filled[1]


@pytest.fixture(scope="session")
def client(url: str) -> Iterator[Client]:
    """The writer's client of the filled database."""
    client = connect(ClickHouseSettings.load(url))
    yield client
    client.close()


@pytest.fixture(scope="session")
def reader(reader_url: str) -> Iterator[Client]:
    """The reader's client of the filled database."""
    client = connect(ClickHouseSettings.load(reader_url))
    yield client
    client.close()
