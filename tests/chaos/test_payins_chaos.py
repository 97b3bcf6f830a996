"""The short round of payments in: API, worker, PSP and PostgreSQL die while a shop buys."""

from collections.abc import Iterator

import pytest

from stack.native import Stack
from tests.chaos.payins.plan import CHOICES, plan
from tests.chaos.payins.rounds import play
from tests.payments_stack import whole_payments_stack

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(900)]


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that nobody else uses: its processes are about to die."""
    with whole_payments_stack() as payments:
        yield payments.stack


def test_nobody_is_charged_twice_whatever_is_killed(own_stack: Stack) -> None:
    outcome = play(own_stack, plan(len(CHOICES), seed=23), seed=23, rate=5.0)
    assert not outcome.failures(), (outcome.failures(), outcome.to_json())
    assert {killed.kill.target for killed in outcome.killed} == set(CHOICES)
    assert outcome.shopping.purchases > 100
    assert outcome.charged.charges > 50
    assert outcome.shopping.api.resent
    assert outcome.shopping.api.compared > 20
