"""One real stack for a whole session of integration tests, on ports and in a home of its own.

Tests share its servers and keep out of each other's way by ids, topics and databases of their own.
"""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from operations.bring_up import migrate_all, register_local_connector
from stack.endpoints import Endpoints
from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """All servers running, all migrations applied; no connector and no workers."""
    home = Path(tempfile.mkdtemp(prefix="purser-"))
    home.chmod(0o711)  # PostgreSQL, which does not run as root, has to pass
    try:
        with lend_port_base() as port_base:
            running = Stack(StackSettings(home=home, port_base=port_base), say=print)
            try:
                running.up()
                endpoints = running.endpoints
                migrate_all(endpoints.postgres_admin_dsn, endpoints.clickhouse_url, say=print)
                yield running
            finally:
                running.destroy()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def endpoints(stack: Stack) -> Endpoints:
    """Where the session's servers answer."""
    return stack.endpoints


@pytest.fixture(scope="session")
def pipeline(stack: Stack) -> Stack:
    """The same stack with the Debezium connector running: what is appended reaches Kafka."""
    register_local_connector(stack.endpoints, say=print)
    return stack
