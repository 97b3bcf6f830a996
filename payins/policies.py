"""When to ask a processor about what is pending: intervals that fit the method, as data. Pure.

A card answers within seconds and a bank within days, so each method has its own times. The wait
between two looks grows with the age of the question: half of it, between `first` and `longest`. No
age is too old: nothing is ever dropped from the schedule.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from schemas.lifecycle import Status

TAKE_OVER_AFTER = timedelta(seconds=2)
"""An intent without an outcome for so long may be carried out by the worker, too."""
LONGEST_REQUEST = timedelta(seconds=60)
"""The process that appended an intent does not begin a call for it after so long."""


class Question(StrEnum):
    """What is open about a payment."""

    UNCONFIRMED = "unconfirmed"  # created, to be confirmed later: nothing was asked of a processor
    ASKED = "asked"  # a processor is being asked to charge
    UNKNOWN = "unknown"  # it was asked, and its answer was lost
    ACTION = "action_required"  # the buyer must act
    PROCESSING = "processing"  # the buyer's bank must answer
    AUTHORIZED = "authorized"  # we must capture, or the bank lets go
    REQUEST = "request"  # a capture, a cancellation or a refund is being asked for
    LATE = "late"  # money came that the payment has no place for


QUESTIONS: Mapping[Status, Question] = {
    Status.CREATED: Question.ASKED,
    Status.UNKNOWN: Question.UNKNOWN,
    Status.ACTION_REQUIRED: Question.ACTION,
    Status.PROCESSING: Question.PROCESSING,
    Status.AUTHORIZED: Question.AUTHORIZED,
}
"""The status of an order -> what is open about its charge; no other status leaves a question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """Seconds until the first look, and between two looks at the most."""

    first_seconds: float
    longest_seconds: float

    def after(self, age: timedelta) -> timedelta:
        """Return how long to wait for the next look at a question of this age."""
        seconds = max(self.first_seconds, age.total_seconds() / 2)
        return timedelta(seconds=min(seconds, self.longest_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The times of one method.

    - `charge_within`: a charge that could not be made is not made later than so long after it was
      asked for: the buyer has gone.
    - `act_within`: a buyer who has not acted for so long will not; the charge is cancelled.
    - `confirm_within`: a payment that nobody confirmed for so long expires.
    """

    intervals: Mapping[Question, Interval]
    charge_within: timedelta
    act_within: timedelta
    confirm_within: timedelta


MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

# Requests and late money are between us and the processor, whatever the buyer pays with.
_OURS: Mapping[Question, Interval] = {
    Question.UNCONFIRMED: Interval(first_seconds=HOUR, longest_seconds=DAY),
    Question.ASKED: Interval(first_seconds=2, longest_seconds=5 * MINUTE),
    Question.UNKNOWN: Interval(first_seconds=2, longest_seconds=5 * MINUTE),
    Question.REQUEST: Interval(first_seconds=2, longest_seconds=6 * HOUR),
    Question.LATE: Interval(first_seconds=1, longest_seconds=HOUR),
}

CARD = Policy(
    intervals={
        **_OURS,
        Question.ACTION: Interval(first_seconds=15, longest_seconds=15 * MINUTE),
        Question.PROCESSING: Interval(first_seconds=5, longest_seconds=15 * MINUTE),
        Question.AUTHORIZED: Interval(first_seconds=HOUR, longest_seconds=6 * HOUR),
    },
    charge_within=timedelta(hours=1),
    act_within=timedelta(hours=24),
    confirm_within=timedelta(days=7),
)
BANK = Policy(
    intervals={
        **_OURS,
        Question.ACTION: Interval(first_seconds=MINUTE, longest_seconds=6 * HOUR),
        Question.PROCESSING: Interval(first_seconds=5 * MINUTE, longest_seconds=DAY),
        Question.AUTHORIZED: Interval(first_seconds=HOUR, longest_seconds=DAY),
    },
    charge_within=timedelta(hours=24),
    act_within=timedelta(days=14),
    confirm_within=timedelta(days=30),
)

POLICIES: Mapping[str, Policy] = {"card": CARD, "debit_card": CARD, "bank_transfer": BANK}
"""Method -> its policy; a method that is not here is treated as a card."""


def policy_of(method: str) -> Policy:
    """Return the policy of a method."""
    return POLICIES.get(method, CARD)


def next_look(method: str, question: Question, since: datetime, now: datetime) -> datetime:
    """Return when to look next at a question that is open since then."""
    return now + policy_of(method).intervals[question].after(now - since)
