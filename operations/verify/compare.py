"""Two sides of ClickHouse against each other, key by key, while traffic moves both.

ClickHouse has no snapshot across tables, so a difference may only mean that one table was written
and the other not yet. What tells the two apart is what the pipeline promises: when it notes an
offset as done (`pipeline_progress`), all rows and totals of the events up to it are in. So

- a difference that no row still to come could explain is *definite* at once;
- a side that is *behind* (it saw less than the other) is looked at again, when every event that
  ClickHouse held at the look before is noted as done. If it still has not what follows from those
  events, it is behind for good;
- a view that is *ahead* of the events is false when PostgreSQL does not have the event either.

What can be told neither way before the deadline (the worker died half-way, say) is undecided.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from operations.verify.report import CheckResult, Finding, Scalar, Verdict
from operations.verify.source import EventKey, Source, Window
from operations.verify.views import Views

SUSPECTS_MAX = 5_000
"""Keys that are looked at one by one at a time."""
SUSPECTS_AGAIN_MAX = 200_000
"""The same keys seen again, and others of the same payments."""
PROBE_SECONDS = 0.25
GRACE_SECONDS = 0.5
"""Between two looks at a key, at least: most of what is under way arrives in that time."""

Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A key whose two sides differ.

    `expected` and `found` are versions (a seq, a number of entries) that only ever grow: who has
    the smaller one has seen less. `certain` is how much of `expected` follows from events that
    ClickHouse held already: what must be found once those are noted as done.
    """

    key: Key
    expected: int
    found: int
    certain: int
    definite: bool


class Question(Protocol):
    """What is compared: SQL that finds differing keys, and words for them."""

    @property
    def name(self) -> str:
        """Of the check."""

    @property
    def proves(self) -> str:
        """One sentence."""

    def everywhere(self, window: Window, limit: int) -> str:
        """SQL: one row `(compared, differing, [(key…, expected, found, certain, definite), …])`."""

    def among(self, keys: Collection[Key], limit: int) -> str:
        """The same, for what these keys touch."""

    def source_event(self, suspect: Suspect) -> EventKey | None:
        """The event that a view which is ahead claims to have seen; None when it names none."""

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        """These suspects in words, with both sides' values."""


@dataclass(slots=True)
class _State:
    """How far the suspects of one look are decided."""

    proven: dict[Key, Suspect] = field(default_factory=dict)
    open: dict[Key, Suspect] = field(default_factory=dict)

    def prove(self, suspect: Suspect) -> None:
        """It is a difference."""
        self.proven[suspect.key] = suspect
        self.open.pop(suspect.key, None)


def ask(
    question: Question,
    views: Views,
    now: Source,
    window: Window,
    deadline: float,
    rows: int,
) -> CheckResult:
    """Answer one question; `deadline` is a time of `time.monotonic()`, `rows` findings at most."""
    started = time.monotonic()
    state = _State()
    while True:
        compared, total, suspects = _look(views, question.everywhere(window, SUSPECTS_MAX))
        _decide(question, views, now, suspects, state, deadline)
        # All that were looked at have settled, but there were more: look at the whole again.
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
        # When more keys differ than were judged, the rest may be differences or on their way.
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
    """Look at the suspects again until each is cleared, proven, or the deadline has come."""
    state.open = {suspect.key: suspect for suspect in suspects}
    _prove_definite(question, now, state)
    while state.open:
        before = dict(state.open)
        seen_at = time.monotonic()
        if not _settle(views, min(seen_at + GRACE_SECONDS, deadline), deadline):
            return
        _, total, again = _look(views, question.among(list(before), SUSPECTS_AGAIN_MAX))
        still = {suspect.key: suspect for suspect in again if suspect.key in before}
        # What did not fit into the answer is not cleared.
        state.open = still if total <= len(again) else before | still
        for suspect in list(still.values()):
            _compare_with(before[suspect.key], suspect, question, state)
        _prove_definite(question, now, state)
        if time.monotonic() >= deadline:
            return


def _compare_with(before: Suspect, suspect: Suspect, question: Question, state: _State) -> None:
    """What was certain when the key was seen before must be found now.

    All events that ClickHouse held then are noted as done by now, so a view that still has less is
    behind for good. A view that names no event was computed from what its table held: if the table
    has less than that even now, something is gone.
    """
    behind = suspect.found < before.certain
    named = question.source_event(suspect) is not None
    ahead = suspect.expected < before.found and not named
    if behind or ahead:
        state.prove(suspect)


def _prove_definite(question: Question, now: Source, state: _State) -> None:
    """Settle what needs no second look: definite ones, and views ahead of PostgreSQL itself."""
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
    """Wait until all that ClickHouse holds at `not_before` is noted as done; False: never was."""
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
    """From columns `e_x` (expected) and `f_x` (found): x -> both, where they differ."""
    return {
        name[2:]: (_scalar(value), _scalar(row[f"f_{name[2:]}"]))
        for name, value in row.items()
        if name.startswith("e_") and value != row[f"f_{name[2:]}"]
    }


def _scalar(value: object) -> Scalar:
    return value if value is None or isinstance(value, int | str) else str(value)
