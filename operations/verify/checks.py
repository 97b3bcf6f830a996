"""All checks and what each one proves: the table of contents of a verification."""

from collections.abc import Sequence

from operations.verify.accounts import ACCOUNT_BALANCES, ACCOUNT_DAYS
from operations.verify.balances import BALANCES
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
"""Names and meanings of the two checks that read PostgreSQL."""

QUESTIONS: Sequence[Question] = (
    SEQUENCES,
    POSTINGS,
    BALANCE,
    REVENUE,
    ORDERS,
    PAYOUT_STATES,
    REFUNDS,
    BALANCES,
    ACCOUNT_DAYS,
    ACCOUNT_BALANCES,
)
"""Questions to ClickHouse alone. They assume that its events equal the source's."""

NAMES = (SOURCE_SEQUENCES[0], EVENTS[0], *(question.name for question in QUESTIONS))
