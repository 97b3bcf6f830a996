"""Compare two sides within ClickHouse key by key, while traffic moves both.

ClickHouse has no snapshot across tables. A difference may only mean that one table has been written
and the other not yet. The pipeline's promise distinguishes the cases: when it marks an offset as
done (`pipeline_progress`), all rows and totals of the events up to it are written. So

- a difference that no future row could explain is *definite* immediately;
- a side that is *behind* (it has seen less than the other) is checked again once every event that
  ClickHouse held at the previous look is marked as done. If it still lacks what follows from
  those events, it is behind for good;
- a view that is *ahead* of the events is wrong if PostgreSQL does not have the event either.

A key that cannot be decided before the deadline (for example because the worker died half-way) is
undecided.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from operations.verify.report import CheckResult, Finding, Scalar, Verdict
from operations.verify.source import EventKey, Source, Window
from operations.verify.views import Views

SUSPECTS_MAX = 5_000
"""Most keys that are examined one by one at a time."""
SUSPECTS_AGAIN_MAX = 200_000
"""Most keys of a repeated look: the same keys, and others of the same payments."""
PROBE_SECONDS = 0.25
GRACE_SECONDS = 0.5
"""Least time between two looks at a key; most writes in progress arrive in that time."""

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A key whose two sides differ.

    `expected` and `found` are versions (a seq, a number of entries) that only grow: the side with
    the smaller one has seen less. `certain` is the part of `expected` that follows from events that
    ClickHouse already held. It must be found once those events are marked as done.
    """

    key: Key
    expected: int
    found: int
    certain: int
    definite: bool


class Question(Protocol):
    """A comparison: SQL that finds differing keys, and the texts that describe them."""

    @property
    def name(self) -> str:
        """Name of the check."""

    @property
    def proves(self) -> str:
        """What an equal result proves, in one sentence."""

    def everywhere(self, window: Window, limit: int) -> str:
        """SQL for a row `(compared, differing, [(key…, expected, found, certain, definite), …])`.

        The list holds at most `limit` of the differing keys.
        """

    def among(self, keys: Collection[Key], limit: int) -> str:
        """Return the same SQL, limited to these keys and what they touch."""

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """Return the event that a view ahead of the events claims to have seen, or None."""

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """Describe these suspects with both sides' values."""


@dataclass(slots=True)
class _State:
    """Which suspects of one look are proven and which are still open."""

    proven: dict[Key, Suspect] = field(default_factory=dict)
    open: dict[Key, Suspect] = field(default_factory=dict)

    def prove(self, suspect: Suspect) -> None:
        """Mark the suspect as a proven difference."""
        self.proven[suspect.key] = suspect
        self.open.pop(suspect.key, None)


def ask(
    question: Question,
    views: Views,
    now: Source,
    window: Window,
    deadline: float,
    rows: int,
    least_seconds: float,
) -> CheckResult:
    """Answer one question.

    `deadline` is in `time.monotonic()`. A check may always look again for `least_seconds` after its
    first look, however long that and the checks before it took. `rows`: the most findings.
    """
    started = time.monotonic()
    state = _State()
    looked = False
    while True:
        compared, total, suspects = _look(views, question.everywhere(window, SUSPECTS_MAX))
        if not looked:
            deadline = max(deadline, time.monotonic() + least_seconds)
            looked = True
        _decide(question, views, now, suspects, state, deadline)
        # All suspects examined were cleared, but there are more: repeat the whole comparison.
        overflow = total > len(suspects)
        if state.proven or state.open or not overflow or time.monotonic() >= deadline:
            break
    findings = question.findings(views, list(state.proven.values())[:rows])
    verdict, note = Verdict.EQUAL, ""
    if state.proven:
        verdict = Verdict.DIVERGED
    elif state.open or overflow:
        verdict = Verdict.UNDECIDED
        open_count = len(state.open) or total
        note = f"{open_count} keys kept changing or were still being written"
    return CheckResult(
        name=question.name,
        proves=question.proves,
        verdict=verdict,
        compared=compared,
        # If more keys differ than were examined, the others may be differences or late.
        differences=len(state.proven),
        differences_at_least=bool(state.proven) and overflow,
        findings=findings,
        seconds=time.monotonic() - started,
        note=note,
    )


def _look(views: Views, sql: str) -> tuple[int, int, list[Suspect]]:
    compared, total, rows = views.rows(sql)[0]
    suspects = [
        Suspect(
            key=tuple(row[:-4]),
            expected=int(row[-4]),
            found=int(row[-3]),
            certain=int(row[-2]),
            definite=bool(row[-1]),
        )
        for row in rows
    ]
    return int(compared), int(total), suspects


def _decide(
    question: Question,
    views: Views,
    now: Source,
    suspects: Sequence[Suspect],
    state: _State,
    deadline: float,
) -> None:
    """Examine the suspects repeatedly until each is cleared or proven, or the deadline passes."""
    state.open = {suspect.key: suspect for suspect in suspects}
    _prove_definite(question, now, state)
    while state.open:
        before = dict(state.open)
        seen_at = time.monotonic()
        if not _settle(views, min(seen_at + GRACE_SECONDS, deadline), deadline):
            return
        _, total, again = _look(views, question.among(list(before), SUSPECTS_AGAIN_MAX))
        still = {suspect.key: suspect for suspect in again if suspect.key in before}
        # A key that did not fit into the answer is not cleared.
        state.open = still if total <= len(again) else before | still
        for suspect in list(still.values()):
            _compare_with(before[suspect.key], suspect, question, state)
        _prove_definite(question, now, state)
        if time.monotonic() >= deadline:
            return


def _compare_with(before: Suspect, suspect: Suspect, question: Question, state: _State) -> None:
    """Check that what was certain at the previous look is found now.

    All events that ClickHouse held then are marked as done by now, so a view that still has less is
    behind for good. A view that names no event was computed from its table's rows: if the table has
    fewer rows even now, rows have been lost.
    """
    behind = suspect.found < before.certain
    named = question.source_event(suspect) is not None
    ahead = suspect.expected < before.found and not named
    if behind or ahead:
        state.prove(suspect)


def _prove_definite(question: Question, now: Source, state: _State) -> None:
    """Prove what needs no second look: definite suspects, and views ahead of PostgreSQL."""
    ahead: dict[EventKey, list[Suspect]] = {}
    for suspect in list(state.open.values()):
        event = question.source_event(suspect)
        if suspect.definite:
            state.prove(suspect)
        elif suspect.found > suspect.expected and event is not None:
            ahead.setdefault(event, []).append(suspect)
    if ahead:
        existing = now.existing(list(ahead))
        for event, claims in ahead.items():
            if event not in existing:
                for suspect in claims:
                    state.prove(suspect)


def _settle(views: Views, not_before: float, deadline: float) -> bool:
    """Wait until everything in ClickHouse at `not_before` is marked done; False at the deadline."""
    time.sleep(max(0.0, not_before - time.monotonic()))
    frontier: Mapping[int, int] = views.frontier()
    while True:
        acknowledged = views.acknowledged()
        if all(acknowledged.get(partition, -1) >= last for partition, last in frontier.items()):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(PROBE_SECONDS)


def column_differences(row: Mapping[str, Any]) -> dict[str, tuple[Scalar, Scalar]]:
    """Return the columns whose `e_x` (expected) and `f_x` (found) differ, with both values."""
    return {
        name[2:]: (_scalar(value), _scalar(row[f"f_{name[2:]}"]))
        for name, value in row.items()
        if name.startswith("e_") and value != row[f"f_{name[2:]}"]
    }


def _scalar(value: object) -> Scalar:
    return value if value is None or isinstance(value, int | str) else str(value)
