"""The audit row of a redrive: who folded a dead letter again, when, and with what result.

It is not a view: it follows from no event, so no rebuild may touch it.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.views import Table


class RedriveOutcome(StrEnum):
    """The result of a redrive."""

    REDRIVEN = "redriven"
    STILL_DEAD = "still_dead"


class RedriveRow(NamedTuple):
    """One attempt for one record; key `(topic, partition, kafka_offset, redriven_at, redriven_by)`.

    `parked_at` is that of the judged dead letter. `reason` and `error` say why the record is still
    dead, else they are empty. `payment_id` and `seq` identify the event that it became, or are None
    and 0. `row_count` counts the rows written.
    """

    topic: str
    partition: int
    kafka_offset: int
    redriven_at: datetime
    redriven_by: str
    parked_at: datetime
    outcome: str
    reason: str
    error: str
    payment_id: UUID | None
    seq: int
    row_count: int


DEAD_LETTER_REDRIVES = Table(
    name="dead_letter_redrives",
    row_type=RedriveRow,
    key=("topic", "partition", "kafka_offset", "redriven_at", "redriven_by"),
)
