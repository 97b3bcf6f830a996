"""The short round: every process dies once while import and live traffic run."""

from collections.abc import Iterator

import pytest

from bench.survival import MID_INSERT, TARGETS
from stack.native import Stack
from tests.chaos.rounds import check, play
from tests.whole_stack import whole_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that nobody else uses: its servers are about to die."""
    with whole_stack() as stack:
        yield stack


def test_nothing_is_lost_or_doubled_whatever_is_killed(own_stack: Stack) -> None:
    outcome = play(own_stack, [MID_INSERT, *TARGETS], seed=20)
    assert outcome.traffic.events > 500
    check(outcome)
