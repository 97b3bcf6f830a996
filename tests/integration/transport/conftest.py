"""A topic and worker processes, on the session's Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.endpoints import Endpoints
from tests.integration.transport.support import Topic, Workers


@pytest.fixture
def topic(endpoints: Endpoints) -> Topic:
    """A new topic."""
    return Topic(endpoints.kafka_bootstrap)


@pytest.fixture
def workers(endpoints: Endpoints, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes of one new consumer group."""
    running = Workers(endpoints.kafka_bootstrap, tmp_path)
    yield running
    running.kill_all()
