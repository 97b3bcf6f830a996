"""`as_of`: what the facts prove, row by row."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from service.as_of import MARGIN, Facts, RecentEvent, proven
from sinks.queries_figures import Progress

NOON = datetime(2026, 5, 31, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def event(number: int, seconds: float) -> RecentEvent:
    return RecentEvent(UUID(int=number), 1, at(seconds))


def facts(
    progress: dict[int, float],
    since: list[RecentEvent] | None,
    visible: tuple[int, ...] = (),
    dead_letter: float | None = None,
) -> Facts:
    return Facts(
        partitions=2,
        progress=[Progress(number, 0, at(seconds)) for number, seconds in progress.items()],
        oldest_dead_letter=at(dead_letter) if dead_letter is not None else None,
        asked_at=at(0),
        since=since,
        visible=frozenset((str(UUID(int=number)), 1) for number in visible),
    )


LOW = -MARGIN.total_seconds()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # Nothing happened since: everything is there, whatever the time of the last record.
        (facts({0: -3600, 1: -60}, []), 0),
        (facts({}, []), 0),
        # All that happened since is visible.
        (facts({0: -3600, 1: -60}, [event(1, -60), event(2, -30)], (1, 2)), 0),
        # One event is not: everything before it is.
        (facts({0: -3600, 1: -60}, [event(1, -60), event(2, -30)], (1,)), -30),
        (facts({0: -3600, 1: -60}, [event(1, -50), event(2, -30)], ()), -50),
        # Too much to compare: the slowest partition says how far the views are.
        (facts({0: -0.2, 1: -0.5}, None), -0.5 + LOW),
        (facts({0: -900, 1: -0.5}, None), -900 + LOW),
        # A partition without a record proves nothing by itself.
        (facts({0: -0.2}, None), None),
        (facts({0: -0.2}, [event(1, -5)], ()), -5),
        # An event that is missing cannot be older than what every partition has passed.
        (facts({0: -2, 1: -2}, [event(1, -100)], ()), -2 + LOW),
        # A dead letter is missing, however far the partitions are.
        (facts({0: -0.2, 1: -0.5}, [], dead_letter=-500), -500),
        (facts({0: -0.2, 1: -0.5}, None, dead_letter=-500), -500),
        (facts({0: -900, 1: -900}, None, dead_letter=-500), -900 + LOW),
    ],
)
def test_what_is_proven(given: Facts, expected: float | None) -> None:
    assert proven(given) == (None if expected is None else at(expected))
