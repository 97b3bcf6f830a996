"""One stack for the tests of replay: they kill its servers and damage its views."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.up import bring_up
from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings
from tests.integration.replay.world import World


@pytest.fixture(scope="module")
def whole_stack() -> Iterator[World]:
    """Servers, connector and worker, with a slice of real orders in the views."""
    home = Path(tempfile.mkdtemp(prefix="purser-"))
    home.chmod(0o711)
    try:
        with lend_port_base() as port_base:
            stack = Stack(StackSettings(home=home, port_base=port_base), say=print)
            try:
                bring_up(stack, print)
                world = World.of(stack)
                world.import_history()
                world.assert_equal()
                yield world
                world.close()
            finally:
                stack.destroy()
    finally:
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def world(whole_stack: World) -> Iterator[World]:
    """The stack; what a test has left of replays is removed behind it."""
    yield whole_stack
    whole_stack.client.command(f"DROP DATABASE IF EXISTS {whole_stack.client.database}_replay SYNC")
