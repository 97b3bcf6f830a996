"""The result of a verification: one result per check, a verdict, and its JSON form.

The JSON form is documented in `docs/reference/verify.md`. Fields are added, never renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

Scalar = str | int | None


class Verdict(StrEnum):
    """Equal, proven different, or not decided."""

    EQUAL = "equal"
    DIVERGED = "diverged"
    UNDECIDED = "undecided"


EXIT_STATUS: Mapping[Verdict, int] = {
    Verdict.EQUAL: 0,
    Verdict.DIVERGED: 1,
    Verdict.UNDECIDED: 2,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One deviation.

    - `problem`: `missing`, `late`, `extra`, `different`, `gap`, `unbalanced`, … (see the docs).
    - `where`: the key, for example payment_id and seq.
    - `columns`: column -> (expected value, value in ClickHouse).
    - `note`: further information, such as the dead letter that holds the event.
    """

    problem: str
    where: Mapping[str, Scalar]
    columns: Mapping[str, tuple[Scalar, Scalar]] = field(default_factory=dict)
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """`{"problem", "where", "columns": {name: {"expected", "found"}}, "note"}`."""
        return {
            "problem": self.problem,
            "where": dict(self.where),
            "columns": {
                name: {"expected": expected, "found": found}
                for name, (expected, found) in self.columns.items()
            },
            "note": self.note,
        }

    def __str__(self) -> str:
        where = " ".join(f"{name} {value}" for name, value in self.where.items())
        columns = "; ".join(
            f"{name} should be {expected!r}, is {found!r}"
            for name, (expected, found) in self.columns.items()
        )
        return ": ".join(part for part in (f"{self.problem} {where}", columns, self.note) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """One check: how much it compared, and how many differences are proven.

    `findings` holds some of the differences. `differences_at_least` is set if more keys differ than
    were examined one by one.
    """

    name: str
    proves: str
    verdict: Verdict
    compared: int
    differences: int = 0
    differences_at_least: bool = False
    findings: Sequence[Finding] = ()
    seconds: float = 0.0
    note: str = ""

    @property
    def more(self) -> int:
        """Differences that are not among the findings."""
        return max(0, self.differences - len(self.findings))

    def to_json(self) -> dict[str, Any]:
        """Return all fields, including `more`."""
        return {
            "name": self.name,
            "proves": self.proves,
            "verdict": str(self.verdict),
            "compared": self.compared,
            "differences": self.differences,
            "differences_at_least": self.differences_at_least,
            "findings": [finding.to_json() for finding in self.findings],
            "more": self.more,
            "seconds": round(self.seconds, 3),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSummary:
    """The compared moment and PostgreSQL's snapshot at it."""

    taken_at: datetime
    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer; `reason` is one line about what is not equal, or empty.

    Counts are None if the verification did not get that far.
    """

    verdict: Verdict
    reason: str = ""
    since: date | None = None
    until: date | None = None
    cut: CutSummary | None = None
    postgres_events: int | None = None
    clickhouse_events: int | None = None
    dead_letters: int | None = None
    waited_seconds: float = 0.0
    seconds: float = 0.0
    checks: Sequence[CheckResult] = ()

    @property
    def exit_status(self) -> int:
        """0: equal, 1: diverged, 2: undecided."""
        return EXIT_STATUS[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; its keys do not depend on the verdict."""
        return {
            "verdict": str(self.verdict),
            "exit_status": self.exit_status,
            "reason": self.reason,
            "window": {
                "since": self.since.isoformat() if self.since else None,
                "until": self.until.isoformat() if self.until else None,
            },
            "cut": (
                {"taken_at": self.cut.taken_at.isoformat(), "snapshot": self.cut.snapshot}
                if self.cut
                else None
            ),
            "events": {
                "postgres": self.postgres_events,
                "clickhouse": self.clickhouse_events,
                "dead_letters": self.dead_letters,
            },
            "waited_seconds": round(self.waited_seconds, 3),
            "seconds": round(self.seconds, 3),
            "checks": [check.to_json() for check in self.checks],
        }
