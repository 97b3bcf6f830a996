"""`as_of`: what the facts prove, row by row."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from service.as_of import MARGIN, AsOf, Facts, RecentEvent, low_of, proven
from service.database import Database
from service.views import Views
from sinks.queries_figures import Progress

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(number: int, seconds: float) -> RecentEvent:
    return RecentEvent(UUID(int=number), 1, at(seconds))


def facts(
    low: float | None,
    since: list[RecentEvent] | None,
    visible: tuple[int, ...] = (),
    dead_letter: float | None = None,
    until: float = 0,
) -> Facts:
    return Facts(
        low=None if low is None else at(low),
        oldest_dead_letter=at(dead_letter) if dead_letter is not None else None,
        since=since,
        until=None if since is None else at(until),
        visible=frozenset((str(UUID(int=number)), 1) for number in visible),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Nothing happened since: everything is there, whatever the time of the last record.
        (facts(-3600, []), 0),
        (facts(None, []), 0),
        # All that happened since is visible.
        (facts(-3600, [event(1, -60), event(2, -30)], (1, 2)), 0),
        # One event is not: everything before it is.
        (facts(-3600, [event(1, -60), event(2, -30)], (1,)), -30),
        (facts(-3600, [event(1, -50), event(2, -30)], ()), -50),
        # More happened than was compared: the first that was not says how far it is proven.
        (facts(-3600, [event(1, -60), event(2, -30)], (1, 2), until=-20), -20),
        # Nobody asked: the slowest partition says how far the views are.
        (facts(-0.5, None), -0.5),
        (facts(None, None), None),
        (facts(None, [event(1, -5)], ()), -5),
        # An event that is missing cannot be older than what every partition has passed.
        (facts(-2, [event(1, -100)], ()), -2),
        # A dead letter is missing, however far the partitions are.
        (facts(-0.5, [], dead_letter=-500), -500),
        (facts(-0.5, None, dead_letter=-500), -500),
        (facts(-900, None, dead_letter=-500), -900),
    ],
)
def test_what_is_proven(given: Facts, expected: float | None) -> None:
    assert proven(given) == (None if expected is None else at(expected))


@pytest.mark.parametrize(
    ("progress", "expected"),
    [({0: -0.2, 1: -0.5}, -0.5), ({0: -900, 1: -0.5}, -900), ({0: -0.2}, None), ({}, None)],
)
def test_the_slowest_partition_says_how_far_all_are(
    progress: dict[int, float], expected: float | None
) -> None:
    low = low_of(2, [Progress(number, 0, at(seconds)) for number, seconds in progress.items()])
    assert low == (None if expected is None else at(expected) - MARGIN)


class Burst(AsOf):
    """Events in the views, and partitions that stand still at `low`; a look compares a few."""

    def __init__(self, events: list[RecentEvent], low: float) -> None:
        super().__init__(cast(Database, None), cast(Views, None), partitions=1)
        self._views = self._database = self  # type: ignore[assignment]
        self._events, self._low, self.looks = events, at(low), 0

    async def ask(self, _question: object) -> object:
        return [Progress(0, 0, self._low)], None

    async def rows(self, _statement: str, parameters: Mapping[str, Any]) -> list[Any]:
        self.looks += 1
        found = sorted(
            (event for event in self._events if event.at >= parameters["committed"]),
            key=lambda event: event.at,
        )
        always = (at(0), None, None, None)
        return [(at(0), *event) for event in found[: parameters["limit"]]] or [always]

    async def _visible(self, keys: Sequence[tuple[UUID, int]]) -> frozenset[tuple[str, int]]:
        return frozenset((str(payment_id), seq) for payment_id, seq in keys)


@pytest.mark.parametrize("transactions", [1, 3, 7_000])
def test_after_a_burst_a_few_looks_come_to_its_end(transactions: int) -> None:
    """Each partition's last record is of its midst, as after an import that nothing follows."""
    number = 7_000
    size = number // transactions
    events = [event(each, -3600 + (each // size) / 10) for each in range(number)]
    burst = Burst(events, -3600)
    for _ in range(5):
        burst._known_at = float("-inf")
        found = asyncio.run(burst.now())
    assert found == at(0)
    assert burst.looks < 12
