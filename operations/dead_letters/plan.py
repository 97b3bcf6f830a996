"""Preview of a redrive: the events, rows and totals it would change, and what stays dead."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from operations.dead_letters.judge import Judgement, judge, together
from operations.dead_letters.letter import Chosen, State, chunks
from operations.dead_letters.position import Position
from operations.dead_letters.store import DeadLetters
from schemas.views import (
    LEDGER_ENTRIES,
    SELLER_REVENUE,
    Columns,
    RevenueKey,
    SellerRevenueRow,
    Table,
)
from sinks.memory import MemorySink

STILL_DEAD_KEPT_MAX = 1_000
"""All records that still cannot be folded are counted, but only this many are listed."""

OnProgress = Callable[[str, int, int], None]
"""Arguments: the current activity, how much is done, of how much."""


class StillDead(NamedTuple):
    """A record that still cannot be folded."""

    position: Position
    reason: str
    error: str


@dataclass(slots=True)
class TableChange:
    """Rows that a table would get, and how many of them are new."""

    rows: int = 0
    new: int = 0


@dataclass(slots=True)
class RevenueChange:
    """What the new entries add to one seller's day, in minor units of the currency."""

    gross_minor: int = 0
    refunds_minor: int = 0
    chargebacks_minor: int = 0
    net_minor: int = 0

    def add(self, row: SellerRevenueRow) -> None:
        """Add the totals of some entries."""
        self.gross_minor += row.gross_minor
        self.refunds_minor += row.refunds_minor
        self.chargebacks_minor += row.chargebacks_minor
        self.net_minor += row.net_minor


@dataclass(slots=True)
class Plan:
    """What would happen to `records` records.

    `events` counts those that fold, by event type. `already` counts those that were redriven
    before. `revenue` has the totals that would change. `dead` counts what still cannot be folded,
    by reason; `still_dead` lists the first of them.
    """

    records: int = 0
    already: int = 0
    events: Counter[str] = field(default_factory=Counter)
    tables: dict[str, TableChange] = field(default_factory=dict)
    revenue: dict[RevenueKey, RevenueChange] = field(default_factory=dict)
    dead: Counter[str] = field(default_factory=Counter)
    still_dead: list[StillDead] = field(default_factory=list)

    @property
    def changes(self) -> bool:
        """Whether any view would change."""
        return any(change.new for change in self.tables.values())

    def to_json(self) -> dict[str, Any]:
        """Return the plan as plain values."""
        return {
            "records": self.records,
            "already_redriven": self.already,
            "events": dict(self.events),
            "tables": {
                name: {"rows": change.rows, "new": change.new}
                for name, change in self.tables.items()
            },
            "revenue": [
                {
                    "seller_id": key.seller_id,
                    "currency": key.currency,
                    "day": key.day.isoformat(),
                    "gross_minor": change.gross_minor,
                    "refunds_minor": change.refunds_minor,
                    "chargebacks_minor": change.chargebacks_minor,
                    "net_minor": change.net_minor,
                }
                for key, change in sorted(self.revenue.items())
            ],
            "dead": dict(self.dead),
            "still_dead": [
                {"position": str(one.position), "reason": one.reason, "error": one.error}
                for one in self.still_dead
            ],
        }


def make_plan(letters: DeadLetters, chosen: Sequence[Chosen], on_progress: OnProgress) -> Plan:
    """Judge every record and compare its rows with the existing ones; writes nothing."""
    plan = Plan(already=sum(one.state is State.REDRIVEN for one in chosen))
    counted: dict[Table, dict[tuple[str, ...], int]] = {}
    for positions in chunks(chosen):
        on_progress("judging", plan.records, len(chosen))
        judged = [judge(letter) for letter in letters.whole(positions)]
        plan.records += len(judged)
        _count(plan, judged)
        rows = together(judged)
        new_entries: Columns = []
        for table, columns in rows.items():
            seen = counted.setdefault(table, {})
            new = _new_rows(table, columns, letters.versions(table, columns), seen)
            change = plan.tables.setdefault(table.name, TableChange())
            change.rows, change.new = len(seen), change.new + new.count(True)
            if table is LEDGER_ENTRIES:
                new_entries = _only(columns, new)
        _count_revenue(plan, new_entries)
    return plan


def _count(plan: Plan, judged: Sequence[Judgement]) -> None:
    for one in judged:
        if one.folds:
            plan.events[one.event_type] += 1
            continue
        plan.dead[one.reason] += 1
        if len(plan.still_dead) < STILL_DEAD_KEPT_MAX:
            plan.still_dead.append(StillDead(one.position, one.reason, one.error))


def _new_rows(
    table: Table,
    columns: Columns,
    there: Mapping[tuple[str, ...], int],
    seen: dict[tuple[str, ...], int],
) -> list[bool]:
    """Return for each row whether it would change what a reader sees; records keys in `seen`.

    Of several rows with one key, the one with the highest version counts, once.
    """
    at = [table.columns.index(name) for name in table.key]
    version_at = table.columns.index(table.version) if table.version is not None else None
    new = []
    for row in zip(*columns, strict=True):
        key = tuple(str(row[place]) for place in at)
        version = int(row[version_at]) if version_at is not None else 0
        before, counted = there.get(key, -1), seen.get(key, -1)
        new.append(version > before >= counted)
        seen[key] = max(counted, version)
    return new


def _only(columns: Columns, wanted: Sequence[bool]) -> Columns:
    return [
        [value for value, keep in zip(column, wanted, strict=True) if keep] for column in columns
    ]


def _count_revenue(plan: Plan, new_entries: Columns) -> None:
    """Add up the totals of entries that do not exist yet, with the in-memory sink."""
    sink = MemorySink()
    sink.write({LEDGER_ENTRIES: new_entries})
    for values in sink.rows(SELLER_REVENUE):
        row = SellerRevenueRow(*values)
        key = RevenueKey(row.seller_id, row.currency, row.day)
        plan.revenue.setdefault(key, RevenueChange()).add(row)
