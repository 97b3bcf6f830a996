"""The short round: every process dies once while import and live traffic run."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.survival import MID_INSERT, TARGETS
from cli.up import bring_up
from stack.native import Stack
from stack.ports import lend_port_base
from stack.settings import StackSettings
from tests.chaos.rounds import check, play

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that nobody else uses: its servers are about to die."""
    home = Path(tempfile.mkdtemp(prefix="purser-"))
    try:
        with lend_port_base() as port_base:
            stack = Stack(StackSettings(home=home, port_base=port_base), say=print)
            try:
                bring_up(stack, print)
                yield stack
            finally:
                stack.destroy()
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_nothing_is_lost_or_doubled_whatever_is_killed(own_stack: Stack) -> None:
    outcome = play(own_stack, [MID_INSERT, *TARGETS], seed=20)
    assert outcome.traffic.events > 500
    check(outcome)
