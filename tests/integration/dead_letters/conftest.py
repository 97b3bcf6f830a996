"""A database with dead letters in it, and the command as an operator calls it."""

from collections.abc import Iterator

import pytest

from sinks.migrate import migrate
from tests.clickhouse_server import database
from tests.integration.dead_letters.support import Parked


@pytest.fixture
def parked(clickhouse_server_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parked]:
    """Empty views that a test fills; `purser` finds them by its environment."""
    with database(clickhouse_server_url) as url:
        migrate(url)
        monkeypatch.setenv("PURSER_CLICKHOUSE_URL", url)
        world = Parked.at(url)
        yield world
        world.close()
