"""What today's code makes of a parked record: its rows, or why there are none. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import chain
from uuid import UUID

from operations.dead_letters.letter import Letter
from operations.dead_letters.position import Position
from schemas.views import (
    DEAD_LETTERS,
    PAYMENT_EVENTS,
    PIPELINE_PROGRESS,
    Columns,
    Table,
)
from streams.fold import fold_batch

_NOT_OF_THE_EVENT = frozenset({DEAD_LETTERS, PIPELINE_PROGRESS})
"""Further tables of a worker's batch: a redrive parks nothing and makes no progress."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The judgement on one record; `reason` is empty if it folds, and `columns` then has its rows.

    `payment_id`, `seq` and `event_type` identify its event.
    """

    letter: Letter
    reason: str = ""
    error: str = ""
    columns: Mapping[Table, Columns] = field(default_factory=dict)
    minutes: frozenset[datetime] = frozenset()
    payment_id: UUID | None = None
    seq: int = 0
    event_type: str = ""

    @property
    def position(self) -> Position:
        """The record's position."""
        return self.letter.position

    @property
    def folds(self) -> bool:
        """Whether today's code can fold it."""
        return not self.reason

    @property
    def row_count(self) -> int:
        """Number of rows in all tables."""
        return sum(len(columns[0]) for columns in self.columns.values())


def judge(letter: Letter) -> Judgement:
    """Decode and fold the record at its original position, like the worker; raises nothing."""
    folded = fold_batch([letter.record()], consumer=letter.consumer, parked_at=letter.parked_at)
    if folded.dead_letters:
        [dead] = folded.dead_letters
        return Judgement(letter=letter, reason=dead.reason, error=dead.error)
    columns = {
        table: rows
        for table, rows in folded.columns.items()
        if table not in _NOT_OF_THE_EVENT and any(rows)
    }
    event = dict(zip(PAYMENT_EVENTS.columns, columns[PAYMENT_EVENTS], strict=True))
    return Judgement(
        letter=letter,
        columns=columns,
        minutes=folded.minutes,
        payment_id=UUID(str(event["payment_id"][0])),
        seq=int(event["seq"][0]),
        event_type=str(event["event_type"][0]),
    )


def together(judged: Iterable[Judgement]) -> dict[Table, Columns]:
    """Return the rows of several records, by table."""
    by_table: dict[Table, list[Columns]] = {}
    for one in judged:
        for table, columns in one.columns.items():
            by_table.setdefault(table, []).append(columns)
    return {
        table: [list(chain.from_iterable(parts)) for parts in zip(*columns, strict=True)]
        for table, columns in by_table.items()
    }


def minutes_of(judged: Iterable[Judgement]) -> frozenset[datetime]:
    """Return the minutes in which the entries of several records were recorded."""
    return frozenset().union(*(one.minutes for one in judged))
