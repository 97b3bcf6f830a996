"""Redrive: fold parked records again, write their rows, then record it in the audit table.

It works in chunks, each in this order. A process that dies at any point is repaired by running it
again:

1. the rows, exactly as the worker would have written them;
2. the minutes in which their entries were recorded, for the totals;
3. the audit row. After a crash before it the record is still open, and the next run writes the
   same rows again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from operations.dead_letters.audit import RedriveOutcome, RedriveRow
from operations.dead_letters.judge import Judgement, judge, minutes_of, together
from operations.dead_letters.letter import Chosen, chunks
from operations.dead_letters.plan import OnProgress
from operations.dead_letters.store import DeadLetters
from schemas.errors import WriteRefused
from sinks.protocol import ViewSink

WRITE_REFUSED = "write_refused"
"""Reason of a record that folds but whose rows ClickHouse refuses."""


@dataclass(slots=True)
class Outcome:
    """Result of a redrive; `dead` counts by reason, `refused` has ClickHouse's messages."""

    redriven: int = 0
    rows: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    @property
    def still_dead(self) -> int:
        """Number of records that stay open."""
        return self.dead.total()

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as plain values."""
        return {
            "redriven": self.redriven,
            "rows": self.rows,
            "still_dead": self.still_dead,
            "dead": dict(self.dead),
            "refused": self.refused,
        }


def redrive(
    letters: DeadLetters,
    sink: ViewSink,
    chosen: Sequence[Chosen],
    *,
    by: str,
    outcome: Outcome,
    on_progress: OnProgress,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> None:
    """Redrive these records; `outcome` holds what is done even if this ends early.

    Raises:
        ServiceUnavailable, ConfigurationError: what is recorded is done; run it again.
        WriteRefused: the audit row is refused.
    """
    for positions in chunks(chosen):
        on_progress("redriving", outcome.redriven + outcome.still_dead, len(chosen))
        judged = [judge(letter) for letter in letters.whole(positions)]
        judged = _written(sink, judged)
        if judged:
            redriven_at = now()
            letters.note([_note(one, by, redriven_at) for one in judged])
        for one in judged:
            if one.folds:
                outcome.redriven += 1
                outcome.rows += one.row_count
            else:
                outcome.dead[one.reason] += 1
                if one.reason == WRITE_REFUSED:
                    outcome.refused.append(f"{one.position}: {one.error}")


def _written(sink: ViewSink, judged: list[Judgement]) -> list[Judgement]:
    """Write the rows and return the judgements, with WRITE_REFUSED for records that are refused."""
    folding = [one for one in judged if one.folds]
    if not folding:
        return judged
    try:
        sink.write(together(folding))
        sink.note_minutes(minutes_of(folding))
    except WriteRefused as error:
        if len(judged) == 1:
            # Its entries may be stored although its event was refused.
            sink.note_minutes(minutes_of(folding))
            return [replace(judged[0], reason=WRITE_REFUSED, error=str(error))]
        # One record must not block the others; rows already written are written again.
        return [each for one in judged for each in _written(sink, [one])]
    return judged


def _note(one: Judgement, by: str, redriven_at: datetime) -> RedriveRow:
    return RedriveRow(
        topic=one.position.topic,
        partition=one.position.partition,
        kafka_offset=one.position.offset,
        redriven_at=redriven_at,
        redriven_by=by,
        parked_at=one.letter.parked_at,
        outcome=RedriveOutcome.REDRIVEN if one.folds else RedriveOutcome.STILL_DEAD,
        reason=one.reason,
        error=one.error,
        payment_id=one.payment_id if one.folds else None,
        seq=one.seq if one.folds else 0,
        row_count=one.row_count if one.folds else 0,
    )
