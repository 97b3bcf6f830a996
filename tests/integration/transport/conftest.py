"""A topic and worker processes, on the session's Kafka."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stack.endpoints import Endpoints
from stack.native import Stack
from tests.integration.transport.support import Topic, Workers


@pytest.fixture(scope="session")
def stack(idle_stack: Stack) -> Stack:
    """Kafka is all that these tests need."""
    idle_stack.up(("kafka",))
    return idle_stack


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> Endpoints:
    """Where it answers."""
    return stack.endpoints


@pytest.fixture
def topic(endpoints: Endpoints) -> Topic:
    """A new topic."""
    return Topic(endpoints.kafka_bootstrap)


@pytest.fixture
def workers(endpoints: Endpoints, tmp_path: Path) -> Iterator[Workers]:
    """Worker processes of one new consumer group."""
    running = Workers(endpoints.kafka_bootstrap, tmp_path)
    yield running
    running.end()
