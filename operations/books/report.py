"""The result of a comparison: totals, differences, a verdict, and its JSON form.

The JSON form is documented in `docs/reference/books.md`. Fields are added, never renamed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any

from connectors.books import BookKind


class Verdict(StrEnum):
    """Both sides agree, a difference is proven, or it could not be told."""

    AGREE = "agree"
    DIFFER = "differ"
    UNDECIDED = "undecided"


EXIT_STATUS: Mapping[Verdict, int] = {Verdict.AGREE: 0, Verdict.DIFFER: 1, Verdict.UNDECIDED: 2}


class State(StrEnum):
    """What a row that differs is."""

    PROVEN = "proven"
    """Seen again, unchanged, when it was older than money can be under way."""
    UNDER_WAY = "under_way"
    """Younger than that, or it changed between two looks."""


@dataclass(slots=True, kw_only=True)
class Total:
    """One currency and kind: how many charges (refunds, disputes) each side has, and their sum."""

    expected_count: int = 0
    expected_minor: int = 0
    actual_count: int = 0
    actual_minor: int = 0
    differing: int = 0

    def add(self, expected_minor: int, actual_minor: int) -> None:
        """Count one key."""
        self.expected_count += expected_minor != 0
        self.expected_minor += expected_minor
        self.actual_count += actual_minor != 0
        self.actual_minor += actual_minor
        self.differing += expected_minor != actual_minor

    def to_json(self) -> dict[str, Any]:
        """`{"expected": {"count", "amount_minor"}, "actual": …, "differing"}`."""
        return {
            "expected": {"count": self.expected_count, "amount_minor": self.expected_minor},
            "actual": {"count": self.actual_count, "amount_minor": self.actual_minor},
            "difference_minor": self.actual_minor - self.expected_minor,
            "differing": self.differing,
        }


TotalKey = tuple[str, BookKind]
"""Currency and kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One charge, refund or dispute of one payment that the sides disagree about.

    `expected_minor` is what `payments` says, `actual_minor` what the PSP's books say.
    """

    payment_id: str
    reference: str | None
    kind: BookKind
    currency: str
    expected_minor: int
    actual_minor: int
    state: State
    at: datetime | None
    """When the later side moved last."""
    note: str

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {
            "payment_id": self.payment_id,
            "psp_reference": self.reference,
            "kind": str(self.kind),
            "currency": self.currency,
            "expected_minor": self.expected_minor,
            "actual_minor": self.actual_minor,
            "state": str(self.state),
            "at": self.at.isoformat() if self.at else None,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """Money that is under way and therefore on neither side, or named and not counted.

    `what` is `charges`, `captures` or `refunds` that were asked for and have no outcome in
    `payments`; or the same at the PSP (`at_psp`), which has it in its books before a bank decided.
    """

    what: str
    at_psp: bool
    currency: str
    count: int
    amount_minor: int
    oldest_at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {
            "what": self.what,
            "at_psp": self.at_psp,
            "currency": self.currency,
            "count": self.count,
            "amount_minor": self.amount_minor,
            "oldest_at": self.oldest_at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Money at the PSP that is no payment of ours, such as a charge made in its pages by hand."""

    reference: str
    kind: BookKind
    currency: str
    amount_minor: int
    at: datetime

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {
            "psp_reference": self.reference,
            "kind": str(self.kind),
            "currency": self.currency,
            "amount_minor": self.amount_minor,
            "at": self.at.isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncompared:
    """Lines of the PSP's books that `payments` says nothing about, in the books' own currency."""

    category: str
    currency: str
    count: int
    amount_minor: int

    def to_json(self) -> dict[str, Any]:
        """Return all fields."""
        return {
            "category": self.category,
            "currency": self.currency,
            "count": self.count,
            "amount_minor": self.amount_minor,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The whole answer; `reason` is one line about what does not agree, or empty.

    `fees` maps a currency to what the PSP kept, which `payments` does not have. The lists of
    differences and of foreign money hold some; `differing` and `foreign_count` say how many there
    are.
    """

    verdict: Verdict
    psp: str
    reason: str = ""
    since: date | None = None
    snapshot: str | None = None
    snapshot_at: datetime | None = None
    lines: int | None = None
    totals: Mapping[TotalKey, Total] = field(default_factory=dict)
    fees: Mapping[str, int] = field(default_factory=dict)
    uncompared: Sequence[Uncompared] = ()
    differences: Sequence[Difference] = ()
    differing: int = 0
    differing_at_least: bool = False
    under_way: Sequence[UnderWay] = ()
    foreign: Sequence[Foreign] = ()
    foreign_count: int = 0
    grace_seconds: float = 0.0
    looks: int = 0
    waited_seconds: float = 0.0
    seconds: float = 0.0

    @property
    def exit_status(self) -> int:
        """0: agree, 1: differ, 2: could not tell."""
        return EXIT_STATUS[self.verdict]

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form; its keys do not depend on the verdict."""
        return {
            "verdict": str(self.verdict),
            "exit_status": self.exit_status,
            "reason": self.reason,
            "psp": self.psp,
            "since": self.since.isoformat() if self.since else None,
            "snapshot": self.snapshot,
            "snapshot_at": self.snapshot_at.isoformat() if self.snapshot_at else None,
            "lines": self.lines,
            "totals": [
                {"currency": currency, "kind": str(kind), **total.to_json()}
                for (currency, kind), total in self.totals.items()
            ],
            "differences": [each.to_json() for each in self.differences],
            "differing": self.differing,
            "differing_at_least": self.differing_at_least,
            "more": max(0, self.differing - len(self.differences)),
            "under_way": [each.to_json() for each in self.under_way],
            "foreign": [each.to_json() for each in self.foreign],
            "foreign_count": self.foreign_count,
            "fees": [
                {"currency": currency, "amount_minor": amount}
                for currency, amount in sorted(self.fees.items())
            ],
            "uncompared": [each.to_json() for each in self.uncompared],
            "grace_seconds": self.grace_seconds,
            "looks": self.looks,
            "waited_seconds": round(self.waited_seconds, 3),
            "seconds": round(self.seconds, 3),
        }
