"""One stack for the tests of replay: they kill its servers and damage its views."""

from collections.abc import Iterator

import pytest

from operations.bring_up import bring_up
from tests.integration.replay.world import World, reserve_disk
from tests.whole_stack import empty_stack


@pytest.fixture(scope="module")
def imported() -> Iterator[World]:
    """Servers, connector and worker, with a slice of real orders in the views."""
    with empty_stack() as stack:
        stack.up()
        reserve_disk(stack)
        bring_up(stack, print)
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
