"""One stack for the tests of replay: they kill its servers and damage its views."""

from collections.abc import Iterator

import pytest

from tests.integration.replay.world import PROBE_SECONDS, World, disk_reserved
from tests.whole_stack import whole_stack


@pytest.fixture(scope="module")
def imported() -> Iterator[World]:
    """Servers, connector and worker, with a slice of real orders in the views."""
    with whole_stack(PURSER_PROBE_SECONDS=str(PROBE_SECONDS)) as stack:
        world = World.of(stack)
        world.import_history()
        world.assert_equal()
        yield world
        world.close()


@pytest.fixture
def world(imported: World) -> Iterator[World]:
    """The stack; what a test has left of replays is removed behind it."""
    yield imported
    imported.client.command(f"DROP DATABASE IF EXISTS {imported.client.database}_replay SYNC")


@pytest.fixture
def reserved_disk(imported: World) -> Iterator[None]:
    """ClickHouse's reserve is so large that the test can use it up."""
    with disk_reserved(imported.stack):
        yield
