"""What a round of payments in saw: what failed, a line per kill, a table, and JSON."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from marketplace.freshness import quantile
from marketplace.shopping import ShoppingReport
from operations import books, verify
from tests.chaos.outcome import left
from tests.chaos.plan import Kill

SHOWN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Killed:
    """A kill, and the seconds from it until every process answered again."""

    kill: Kill
    ready_seconds: float


@dataclass(kw_only=True)
class Charged:
    """Both sides' charges beside each other, by payment; each list names those that are wrong."""

    charges: int = 0
    twice: list[str] = field(default_factory=list)
    """Payments with more than one charge that took or holds money."""
    without_record: list[str] = field(default_factory=list)
    """Charges that no event names."""
    without_charge: list[str] = field(default_factory=list)
    """Payments that are captured or authorized here, and have no charge."""

    def wrong(self) -> Mapping[str, list[str]]:
        """What is wrong, in words."""
        found = {
            "payments were charged twice": self.twice,
            "charges have no record": self.without_record,
            "payments have a capture and no charge": self.without_charge,
        }
        return {what: which for what, which in found.items() if which}


@dataclass(kw_only=True)
class Outcome:
    """A round so far. `problem` says why it ended early."""

    seed: int
    rate: float
    planned: int
    killed: list[Killed] = field(default_factory=list)
    shopping: ShoppingReport = field(default_factory=ShoppingReport)
    acknowledged: int = 0
    lost: int = 0
    open_requests: Mapping[str, int] = field(default_factory=dict)
    charged: Charged = field(default_factory=Charged)
    contradictions: list[str] = field(default_factory=list)
    """In the simulator's own books."""
    settled_seconds: float = 0.0
    verified: verify.Report | None = None
    compared: books.Report | None = None
    interrupted: bool = False
    problem: str = ""
    seconds: float = 0.0

    def failures(self) -> list[str]:
        """What must not be, as sentences; empty if everything settled and agrees."""
        api = self.shopping.api
        sentences = [
            (bool(self.problem), self.problem),
            (self.lost > 0, f"{self.lost:,} events that an answer showed are not in PostgreSQL"),
            (bool(api.different), f"a repeated request had another answer: {api.different[:1]}"),
            (bool(self.open_requests), f"still in doubt: {dict(self.open_requests)}"),
            (bool(self.contradictions), f"the simulator: {self.contradictions[:SHOWN]}"),
            *(
                (True, f"{len(which):,} {what}: {which[:SHOWN]}")
                for what, which in self.charged.wrong().items()
            ),
        ]
        if self.verified is not None:
            equal = self.verified.verdict is verify.Verdict.EQUAL
            sentences.append(
                (not equal, f"`purser verify` says {self.verified.verdict}: {self.verified.reason}")
            )
        if self.compared is not None:
            agree = self.compared.verdict is books.Verdict.AGREE
            sentences.append(
                (not agree, f"`purser books` says {self.compared.verdict}: {self.compared.reason}")
            )
        return [sentence for holds, sentence in sentences if holds]

    def line(self) -> str:
        """One line about the last kill, with what is left to do."""
        last, number = self.killed[-1], len(self.killed)
        return (
            f"{number} of {self.planned}  kill -9 {last.kill.target}:"
            f" ready after {last.ready_seconds:.1f} s; {self.shopping.purchases:,} purchases,"
            f" {sum(self.shopping.api.resent.values()):,} requests sent again;"
            f" {left(self.seconds, number, self.planned)}"
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, for machines."""
        api = self.shopping.api
        return {
            "seed": self.seed,
            "rate": self.rate,
            "planned": self.planned,
            "kills": [asdict(killed) for killed in self.killed],
            "purchases": self.shopping.purchases,
            "answers": {f"{what} {status}": n for (what, status), n in sorted(api.answers.items())},
            "resent": dict(api.resent),
            "replays": api.replays,
            "compared": api.compared,
            "different": api.different,
            "refusals": dict(api.refusals),
            "skipped": dict(self.shopping.skipped),
            "visits": dict(self.shopping.visits),
            "acknowledged": self.acknowledged,
            "lost": self.lost,
            "charges": self.charged.charges,
            "wrong": dict(self.charged.wrong()),
            "open_requests": dict(self.open_requests),
            "contradictions": self.contradictions,
            "settled_seconds": round(self.settled_seconds, 1),
            "verify": self.verified.to_json() if self.verified else None,
            "books": self.compared.to_json() if self.compared else None,
            "interrupted": self.interrupted,
            "failures": self.failures(),
            "seconds": round(self.seconds, 1),
        }

    def show(self, console: Console) -> None:
        """Print the table and the totals."""
        table = Table(box=box.SIMPLE_HEAD, title="Seconds from kill -9", title_justify="left")
        table.add_column("target")
        for column in ("kills", "ready p50", "max"):
            table.add_column(column, justify="right")
        for target, kills in sorted(Counter(k.kill.target for k in self.killed).items()):
            seconds = [k.ready_seconds for k in self.killed if k.kill.target == target]
            table.add_row(
                target, f"{kills}", f"{quantile(seconds, 0.5):.1f}", f"{max(seconds):.1f}"
            )
        console.print(table)
        api = self.shopping.api
        console.print(
            f"seed {self.seed}: {len(self.killed)} of {self.planned} kills in"
            f" {self.seconds / 60:.0f} min, {self.rate:g} purchases/s\n"
            f"{self.shopping.purchases:,} purchases, {sum(api.answers.values()):,} answers"
            f" ({sum(api.resent.values()):,} requests sent again, {api.replays:,} answers repeated,"
            f" {api.compared:,} compared)\n"
            f"{self.charged.charges:,} charges at the PSP; settled after"
            f" {self.settled_seconds:.0f} s\n"
            f"verify: {self.verified.verdict if self.verified else 'not run'};"
            f" books: {self.compared.verdict if self.compared else 'not run'}",
            markup=False,
        )
