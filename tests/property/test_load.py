"""The load appends what the writer would: the same statement, rows in the same order."""

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load import _prepare, _Statements, decide_all, joined
from marketplace.market import Marketplace, MarketplaceSettings
from schemas.events import NewEvent
from writer.group import lock_order

START = datetime(2024, 1, 1, tzinfo=UTC)


def decided(seed: int) -> list[Sequence[NewEvent]]:
    """Rows of the commands of some seconds, in the order in which they are due."""
    market = MarketplaceSettings(payments_per_second=20, sellers=3, mean_step_seconds=0.3)
    return [*decide_all([*Marketplace(seed, START, market).steps(3)]).values()]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 100))
def test_a_group_is_the_statement_that_the_store_would_send(seed: int, count: int) -> None:
    commands = Random(seed).sample(decided(seed), count)
    statements = _Statements()
    taken, text = joined([_prepare(statements, rows) for rows in commands])
    assert taken == count
    rows = sorted((row for rows in commands for row in rows), key=lock_order)
    assert text.decode() == statements.of(rows)[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), rows_max=st.integers(1, 30))
def test_what_does_not_fit_comes_in_the_next_group(seed: int, rows_max: int) -> None:
    statements = _Statements()
    waiting = [_prepare(statements, rows) for rows in decided(seed)[:60]]
    while waiting:
        taken, text = joined(waiting, rows_max)
        sizes = [len(prepared.events) for prepared in waiting]
        assert taken == 1 or sum(sizes[:taken]) <= rows_max
        assert taken == len(waiting) or sum(sizes[: taken + 1]) > rows_max
        assert text.count(b'"payment_id"') == sum(sizes[:taken])
        waiting = waiting[taken:]
