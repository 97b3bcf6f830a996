"""Redrive: fold parked records again and write what comes out, then say so in the audit.

In chunks, each in this order, so that a process that dies anywhere is healed by running it again:

1. the rows, as the worker would have written them: the same as if the record had never failed;
2. the totals of the sellers' days that they touch;
3. the note. A crash before it leaves the record open, and the next run writes the same rows again.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from operations.dead_letters.audit import RedriveOutcome, RedriveRow
from operations.dead_letters.judge import Judgement, judge, keys_of, together
from operations.dead_letters.letter import Chosen, chunks
from operations.dead_letters.plan import OnProgress
from operations.dead_letters.store import DeadLetters
from schemas.errors import WriteRefused
from sinks.protocol import ViewSink

WRITE_REFUSED = "write_refused"
"""Reason of a record that folds, but whose rows ClickHouse refuses."""


@dataclass(slots=True)
class Outcome:
    """What became of the records; `dead` counts by reason, `refused` has ClickHouse's words."""

    redriven: int = 0
    rows: int = 0
    dead: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)

    @property
    def still_dead(self) -> int:
        """Records that stay open."""
        return self.dead.total()

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain values."""
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
    """Redrive these records; what is done is in `outcome` also when it ends early.

    Raises:
        ServiceUnavailable, ConfigurationError: what was noted until then is done; run it again.
        WriteRefused: the note is refused.
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
    """The judgements once their rows are in; of a record that ClickHouse refuses, that it does."""
    folding = [one for one in judged if one.folds]
    if not folding:
        return judged
    try:
        sink.write(together(folding))
        sink.refresh_revenue(keys_of(folding))
    except WriteRefused as error:
        if len(judged) == 1:
            return [replace(judged[0], reason=WRITE_REFUSED, error=str(error))]
        # One of them must not hold the others up; rows that are in already are written again.
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
