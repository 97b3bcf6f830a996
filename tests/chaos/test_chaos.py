"""The short round: every process dies once while imports and live traffic run."""

from collections.abc import Iterator

import pytest

from bench.survival import MID_INSERT, TARGETS
from stack.native import Stack
from tests.chaos.plan import plan
from tests.chaos.rounds import play
from tests.whole_stack import whole_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that nobody else uses: its servers are about to die."""
    with whole_stack() as stack:
        yield stack


def test_nothing_is_lost_or_doubled_whatever_is_killed(own_stack: Stack) -> None:
    kills = plan([MID_INSERT, *TARGETS], seed=20, early_share=1.0)
    outcome = play(own_stack, kills, seed=20, rate=15.0)
    assert not outcome.failures(), outcome.to_json()
    assert outcome.report
    assert outcome.traffic.events > 500
    assert outcome.imports > 1
    assert outcome.report.postgres_events == outcome.acknowledged
