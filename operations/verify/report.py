"""What a verification found: one result per check, a verdict, and its shape as JSON.

The JSON shape is documented in `docs/reference/verify.md`; fields are added, never renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

Scalar = str | int | None


class Verdict(StrEnum):
    """Equal, proven different, or not known."""

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
    """One thing that is not as it must be.

    - `problem`: `missing`, `late`, `extra`, `different`, `gap`, `unbalanced`, … (see the docs).
    - `where`: the key, for example payment_id and seq.
    - `columns`: column -> (what it should be, what ClickHouse has).
    - `note`: anything else that helps, such as the dead letter that holds the event.
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
    """One check: how much it compared, how many differences are proven, some of them in `findings`.

    `differences_at_least` is set where more differ than were looked at one by one.
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
        """All fields, `more` as well."""
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
    """The moment that was compared: when, and PostgreSQL's snapshot at it."""

    taken_at: datetime
    snapshot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer. `reason` is one line for what is not equal, empty when all is.

    Counts are None where the verification did not come so far.
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
        """0 equal, 1 diverged, 2 could not tell."""
        return EXIT_STATUS[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """The machine's form; the same keys whatever the verdict."""
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
