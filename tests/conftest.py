"""What holds for every test."""

import os
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.clickhouse_server import URL_VARIABLE, own_server
from tests.scheduling import LongestFirst, longest_first, workers_for

# A busy machine is no finding: examples may take their time.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many workers `-n auto` starts; `-n logical` is for tests that never wait for a server."""
    cores = os.cpu_count() or 1
    if config.option.numprocesses == "logical":
        return cores
    return workers_for(cores=cores, memory_bytes=psutil.virtual_memory().total)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    """Whole files go to workers, those that take longest first."""
    return LongestFirst(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """After pytest-randomly has shuffled them."""
    items.sort(key=lambda item: longest_first(item.nodeid))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how to repeat the order; `-q` leaves it out at the beginning."""
    if seed := terminalreporter.config.getoption("randomly_seed", None):
        terminalreporter.write_line(f"order of the tests: --randomly-seed={seed}")


@pytest.fixture(scope="session")
def clickhouse_server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ClickHouse server's URL without a database; tests make databases of their own there."""
    if url := os.environ.get(URL_VARIABLE):
        yield url.rstrip("/")
        return
    with own_server(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server.url
