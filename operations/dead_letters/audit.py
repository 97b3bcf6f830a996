"""The note of a redrive: who folded a dead letter again, when, and what came of it.

Not a view: it follows from no event, so no rebuild may touch it.
"""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from schemas.views import Table


class RedriveOutcome(StrEnum):
    """What came of it."""

    REDRIVEN = "redriven"
    STILL_DEAD = "still_dead"


class RedriveRow(NamedTuple):
    """One record, one attempt; key `(topic, partition, kafka_offset, redriven_at, redriven_by)`.

    `parked_at` is that of the dead letter that was judged. `reason` and `error` say why it is still
    dead, else they are empty. `payment_id` and `seq` name the event that it is now, None and 0
    when it is none. `row_count` counts the rows that were written.
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
