"""Lost or late: what each piece of evidence says about an event that ClickHouse does not have."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from operations.verify.cut import Cut
from operations.verify.missing import Fate, _Evidence, _judge, _Payment
from operations.verify.source import Fingerprint
from operations.verify.way import UNKNOWN, NoWay, Unread

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUT = Cut(xmin=100, xmax=100, in_progress=(), taken_at=NOON)
PAYMENT = "8a0c7f0e-0000-5000-8000-000000000001"
EVENT = Fingerprint(PAYMENT, 2, 1, NOON - timedelta(minutes=5))
KEY = (PAYMENT, 2)
ALL = frozenset({0, 1})


def topic(drained: frozenset[int] = ALL, **changed: Any) -> Unread:
    """A topic of two partitions without unread records."""
    facts: dict[str, Any] = {"events": {}, "drained": drained, "partitions": ALL}
    return Unread(**(facts | changed))


def evidence(**changed: Any) -> _Evidence:
    """The event was committed five minutes ago, and nothing else is known."""
    facts: dict[str, Any] = {
        "payments": {PAYMENT: _Payment(1, 1)},
        "present": {},
        "parked": {},
        "committed": {KEY: EVENT.recorded_at},
        "partitions": ALL,
        "arrived_until": {},
        "vanished": frozenset(),
        "passed": False,
        "unread": topic(),
    }
    return _Evidence(**(facts | changed))


LATER = EVENT.recorded_at + timedelta(seconds=2)
SAME_TIME = EVENT.recorded_at + timedelta(milliseconds=900)

CASES: dict[str, tuple[dict[str, Any], Fate]] = {
    "nothing is known": ({"unread": UNKNOWN}, Fate.LATE),
    "the slot has not passed it": ({}, Fate.LATE),
    "the slot has passed it and no partition holds it": ({"passed": True}, Fate.LOST),
    "the slot has passed it and its own partition does not hold it": (
        {"passed": True, "unread": topic(frozenset({1}))},
        Fate.LOST,
    ),
    "its own partition has more records than were read": (
        {"passed": True, "unread": topic(frozenset({0}))},
        Fate.LATE,
    ),
    "its partition is not known, and one has more records than were read": (
        {"passed": True, "unread": topic(frozenset({0})), "payments": {}},
        Fate.LATE,
    ),
    "its partition is not known, and all were read": (
        {"passed": True, "payments": {}},
        Fate.LOST,
    ),
    "it is unread in the topic": (
        {"passed": True, "unread": topic(events={KEY: "partition 1"})},
        Fate.LATE,
    ),
    "Kafka does not answer": ({"passed": True, "unread": UNKNOWN}, Fate.LATE),
    "the topic is gone": (
        {"passed": True, "unread": topic(frozenset(), partitions=frozenset(), missing=True)},
        Fate.LOST,
    ),
    "the topic is gone, and the slot waits": (
        {"unread": topic(frozenset(), partitions=frozenset(), missing=True)},
        Fate.LATE,
    ),
    "a later commit has arrived in another partition": ({"arrived_until": {0: LATER}}, Fate.LOST),
    "a later commit has arrived, and it is unread": (
        {"arrived_until": {0: LATER}, "unread": topic(events={KEY: "partition 1"})},
        Fate.LATE,
    ),
    "a later commit has arrived in another partition, and Kafka does not answer": (
        {"arrived_until": {0: LATER}, "unread": UNKNOWN},
        Fate.LATE,
    ),
    "a later event of its payment has arrived, and it is unread in another partition": (
        {"payments": {PAYMENT: _Payment(3, 0)}, "unread": topic(events={KEY: "partition 1"})},
        Fate.LATE,
    ),
    "it is unread, and rows that were marked as written are gone": (
        {"vanished": ALL, "unread": topic(events={KEY: "partition 1"})},
        Fate.LATE,
    ),
    "PostgreSQL does not know when it was committed": (
        {"committed": {}, "arrived_until": {0: LATER + timedelta(hours=1)}},
        Fate.LATE,
    ),
    "PostgreSQL does not know when it was committed, and the slot has passed it": (
        {"committed": {}, "passed": True},
        Fate.LOST,
    ),
    "a commit of almost the same time has arrived": (
        {"arrived_until": {0: SAME_TIME}},
        Fate.LATE,
    ),
    "its partition has a later commit, and Kafka does not answer": (
        {"arrived_until": {1: LATER}, "unread": UNKNOWN},
        Fate.LOST,
    ),
}


@pytest.mark.parametrize(("facts", "expected"), CASES.values(), ids=CASES)
def test_a_missing_event_is_lost_only_by_evidence(facts: dict[str, Any], expected: Fate) -> None:
    fate, words = _judge(EVENT, evidence(**facts), CUT)
    assert fate is expected
    assert words or fate is Fate.LATE


def test_without_kafkas_address_the_way_proves_nothing() -> None:
    way = NoWay()
    way.begin()
    assert not way.passed()
    assert not way.unread({}).lacks(KEY, 1)
