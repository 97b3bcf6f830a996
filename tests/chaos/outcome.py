"""What a round saw: what failed, a line per kill, a table per target, and JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from marketplace.freshness import quantile
from marketplace.traffic import TrafficReport
from operations.verify import Report, Verdict
from tests.chaos.plan import CHOICES, Kill

EARLY = "any, early"


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A kill, and the seconds from it until all was well again.

    `visible_seconds` is the time until every partition showed an event committed after the kill;
    None if the next kill was early. `importing`: the kill met a running import.
    """

    kill: Kill
    ready_seconds: float
    visible_seconds: float | None
    importing: bool


@dataclass(kw_only=True)
class Outcome:
    """A round so far.

    `problem` says why it ended early. `unknown` counts events in PostgreSQL that nobody
    acknowledged, `doubled` those acknowledged twice; both are counted at the end. `report` is the
    last one of `purser verify`, `verdicts` counts those of all.
    """

    seed: int
    rate: float
    planned: int
    killed: list[Killed] = field(default_factory=list)
    traffic: TrafficReport = field(default_factory=TrafficReport)
    imports: int = 0
    import_runs: int = 0
    imported_events: int = 0
    acknowledged: int = 0
    lost: int = 0
    unknown: int = 0
    doubled: int = 0
    report: Report | None = None
    verdicts: Counter[str] = field(default_factory=Counter)
    interrupted: bool = False
    problem: str = ""
    seconds: float = 0.0

    def failures(self) -> list[str]:
        """What must not be, as sentences; empty if nothing was lost and all agree."""
        verdict = self.report.verdict if self.report else Verdict.EQUAL
        sentences = (
            (bool(self.problem), self.problem),
            (self.lost > 0, f"{self.lost:,} acknowledged events are not in PostgreSQL"),
            (self.unknown > 0, f"{self.unknown:,} events in PostgreSQL were never acknowledged"),
            (self.doubled > 0, f"{self.doubled:,} events were acknowledged twice"),
            (
                self.traffic.rejections.total() > 0,
                f"commands of the traffic were rejected: {dict(self.traffic.rejections)}",
            ),
            (verdict is not Verdict.EQUAL, f"`purser verify` says {verdict}"),
        )
        return [sentence for holds, sentence in sentences if holds]

    def line(self) -> str:
        """One line about the last kill, with what is left to do."""
        last, number = self.killed[-1], len(self.killed)
        visible = last.visible_seconds
        return (
            f"{number} of {self.planned}  kill -9 {last.kill.target}"
            f"{' (early)' if last.kill.early else ''}:"
            f" ready after {last.ready_seconds:.1f} s,"
            f" visible after {f'{visible:.1f} s' if visible is not None else '(next is early)'};"
            f" {self.acknowledged:,} events acknowledged, imports: {self.imports};"
            f" {left(self.seconds, number, self.planned)}"
        )

    def rows(self) -> list["Row"]:
        """One row per target, and one for early kills, whose time includes the kill before."""
        groups = {target: [k for k in self.killed if _group(k) == target] for target in CHOICES}
        groups[EARLY] = [k for k in self.killed if _group(k) == EARLY]
        return [Row.of(name, group) for name, group in groups.items() if group]

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        return {
            "seed": self.seed,
            "rate": self.rate,
            "planned": self.planned,
            "kills": [asdict(killed) for killed in self.killed],
            "targets": [asdict(row) for row in self.rows()],
            "live_payments": self.traffic.payments,
            "live_events": self.traffic.events,
            "commands_resent": self.traffic.resent,
            **self.traffic.groups.to_json(),
            "commands_rejected": dict(self.traffic.rejections),
            "imports": self.imports,
            "import_runs": self.import_runs,
            "imported_events": self.imported_events,
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "unknown": self.unknown,
            "doubled": self.doubled,
            "verdicts": dict(self.verdicts),
            "verify": self.report.to_json() if self.report else None,
            "interrupted": self.interrupted,
            "failures": self.failures(),
            "seconds": round(self.seconds, 1),
        }

    def show(self, console: Console) -> None:
        """Print the table and the totals."""
        table = Table(box=box.SIMPLE_HEAD, title="Seconds from kill -9", title_justify="left")
        table.add_column("target")
        for column in ("kills", "in an import", "ready p50", "visible p50", "p90", "max"):
            table.add_column(column, justify="right")
        for row in self.rows():
            seconds = (row.ready_p50, row.visible_p50, row.visible_p90, row.visible_max)
            shown = ("" if each is None else f"{each:.1f}" for each in seconds)
            table.add_row(row.target, f"{row.kills}", f"{row.importing}", *shown)
        console.print(table)
        console.print(
            f"seed {self.seed}: {len(self.killed)} of {self.planned} kills in"
            f" {self.seconds / 60:.0f} min, {self.rate:g} live payments/s\n"
            f"{self.acknowledged:,} events acknowledged, {self.lost:,} lost:"
            f" {self.traffic.events:,} of live traffic"
            f" ({self.traffic.resent:,} commands sent again),"
            f" {self.imported_events:,} of {self.imports} imports ({self.import_runs} runs)\n"
            f"appended together by live traffic: {self.traffic.groups}\n"
            f"verify: {self.report.verdict if self.report else 'not run'}"
            f" ({(self.report.postgres_events or 0) if self.report else 0:,} events);"
            f" of all checks: {', '.join(f'{n} {v}' for v, n in self.verdicts.items())}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The kills of one target; seconds from the kill.

    `visible` is of those after which the next kill was not early; None if there is none.
    """

    target: str
    kills: int
    importing: int
    ready_p50: float
    visible_p50: float | None
    visible_p90: float | None
    visible_max: float | None

    @classmethod
    def of(cls, target: str, killed: Sequence[Killed]) -> "Row":
        """Summarize at least one kill."""
        visible = [k.visible_seconds for k in killed if k.visible_seconds is not None]
        return cls(
            target=target,
            kills=len(killed),
            importing=sum(k.importing for k in killed),
            ready_p50=quantile([k.ready_seconds for k in killed], 0.5),
            visible_p50=quantile(visible, 0.5) if visible else None,
            visible_p90=quantile(visible, 0.9) if visible else None,
            visible_max=max(visible, default=None),
        )


def _group(killed: Killed) -> str:
    return EARLY if killed.kill.early else killed.kill.target


def left(seconds: float, done: int, planned: int) -> str:
    """What is left after `done` kills in so many seconds, if the others take as long."""
    rest = (planned - done) * seconds / done
    return f"about {rest / 60:.0f} min left" if rest >= 90 else f"about {rest:.0f} s left"
