"""One real stack for each worker of a test run. It starts only the servers that its tests need.

Tests share its servers and keep out of each other's way: each has its own ids, topics and
databases. A folder whose tests need fewer servers says so in its `conftest.py`.
"""

from collections.abc import Iterator

import pytest

from operations.bring_up import migrate_all, register_local_connector
from stack.endpoints import Endpoints
from stack.native import Stack
from tests.whole_stack import empty_stack, quiet


@pytest.fixture(scope="session")
def idle_stack() -> Iterator[Stack]:
    """The stack that this worker's tests share; a fixture starts what its tests need."""
    with empty_stack() as stack:
        yield stack


@pytest.fixture(scope="session")
def stack(idle_stack: Stack) -> Stack:
    """All servers running, all migrations applied; no connector and no workers."""
    idle_stack.up()
    endpoints = idle_stack.endpoints
    migrate_all(endpoints.postgres_admin_dsn, endpoints.clickhouse_url, say=print)
    return idle_stack


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> Endpoints:
    """Where the servers answer."""
    return stack.endpoints


@pytest.fixture(scope="session")
def pipeline(stack: Stack) -> Stack:
    """The same stack with the Debezium connector running: what is appended reaches Kafka."""
    with quiet():
        register_local_connector(stack.endpoints, say=print)
    return stack
