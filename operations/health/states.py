"""The loud states: everything that `purser status` can call a problem.

docs/reference/status.md has a section for each of them: what it means, and what heals it.
"""

from dataclasses import dataclass
from enum import StrEnum

RUN_BOOK = "docs/reference/status.md"


class LoudState(StrEnum):
    """What is wrong, as the name of a section of the run-book."""

    STACK_DOWN = "stack-down"
    DISK = "disk"
    PROCESS = "process"
    NOT_EXAMINED = "not-examined"
    SLOT_MISSING = "slot-missing"
    SLOT_LOST = "slot-lost"
    SLOT_UNREAD = "slot-unread"
    PUBLICATION = "publication"
    CONNECTOR_UNREGISTERED = "connector-unregistered"
    CONNECTOR_HALTED = "connector-halted"
    CONNECTOR_FAILED = "connector-failed"
    TOPIC_MISSING = "topic-missing"
    TOPIC_MADE_ANEW = "topic-made-anew"
    TOPIC_CUT_OFF = "topic-cut-off"
    PARTITIONS_UNREAD = "partitions-unread"
    EVENTS_INVISIBLE = "events-invisible"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One problem: its state, and a line for people."""

    state: LoudState
    text: str
