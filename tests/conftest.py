"""What holds for every test."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.clickhouse_server import URL_VARIABLE, own_server

# A busy machine is no finding: examples may take their time.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(scope="session")
def clickhouse_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ClickHouse server's URL without a database; tests make databases of their own there."""
    if url := os.environ.get(URL_VARIABLE):
        yield url.rstrip("/")
        return
    with own_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url
