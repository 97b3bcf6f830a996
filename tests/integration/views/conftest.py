"""The session's Kafka, a ClickHouse server that tests may kill, and a pipeline for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.clickhouse_http.testing import ClickHouseServer
from stack.endpoints import Endpoints
from stack.native import Stack
from tests.integration.views.support import Pipeline


@pytest.fixture(scope="session")
def endpoints(idle_stack: Stack) -> Endpoints:
    """Of the shared servers Kafka is all that these tests need."""
    idle_stack.up(("kafka",))
    return idle_stack.endpoints


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """A ClickHouse server of the module's own; a test that stops it starts it again."""
    with ClickHouseServer(tmp_path_factory.mktemp("clickhouse") / "data") as running:
        yield running


@pytest.fixture
def pipeline(endpoints: Endpoints, server: ClickHouseServer, tmp_path: Path) -> Iterator[Pipeline]:
    """A topic with a transactional producer, an empty database; workers are the test's to start."""
    made = Pipeline(endpoints.kafka_bootstrap, server, tmp_path)
    yield made
    made.end()
