"""Every check there is, and what it proves: the table of contents of a verification."""

from collections.abc import Sequence

from operations.verify.compare import Question
from operations.verify.postings import BALANCE, POSTINGS
from operations.verify.revenue import REVENUE
from operations.verify.states import ORDERS, PAYOUT_STATES, REFUNDS, SEQUENCES

EVENTS = (
    "payment_events",
    "ClickHouse has exactly the events of PostgreSQL's snapshot, equal in every column",
)
SOURCE_SEQUENCES = (
    "sequences_postgres",
    "in PostgreSQL every payment's seq is 1, 2, 3, … without a gap",
)
"""Name and meaning of the two checks that read PostgreSQL."""

QUESTIONS: Sequence[Question] = (
    SEQUENCES,
    POSTINGS,
    BALANCE,
    REVENUE,
    ORDERS,
    PAYOUT_STATES,
    REFUNDS,
)
"""What is asked of ClickHouse alone, given that its events are the source's."""

NAMES = (SOURCE_SEQUENCES[0], EVENTS[0], *(question.name for question in QUESTIONS))
