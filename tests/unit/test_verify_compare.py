"""How long a check looks again at keys that differ while rows are on their way."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, cast

import pytest

from operations.verify import compare
from operations.verify.compare import Key, Suspect, ask
from operations.verify.report import Finding, Verdict
from operations.verify.source import EventKey, Source, Window
from operations.verify.views import Views

BEHIND = ("key", 2, 1, 1, 0)
"""A key whose view has seen one event of two; it must have seen one."""


class Clock:
    """Time that passes only while somebody sleeps or a query runs."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class FakeQuestion:
    name = "buyer_orders"
    proves = "all is well"

    def everywhere(self, window: Window, limit: int) -> str:
        return "everywhere"

    def among(self, keys: Collection[Key], limit: int) -> str:
        return "among"

    def source_event(self, suspect: Suspect) -> EventKey | None:
        return None

    def findings(self, views: Views, suspects: Sequence[Suspect]) -> list[Finding]:
        return []


class FakeViews:
    """One key is behind until the look number `arrives_at`; the first look takes long."""

    def __init__(self, clock: Clock, arrives_at: int, first_look_seconds: float) -> None:
        self.clock = clock
        self.looks = 0
        self.arrives_at = arrives_at
        self.first_look_seconds = first_look_seconds

    def rows(self, sql: str) -> list[tuple[int, int, list[Any]]]:
        self.clock.now += self.first_look_seconds if sql == "everywhere" else 0.5
        self.looks += 1
        behind = [BEHIND] if self.looks < self.arrives_at else []
        return [(10, len(behind), behind)]

    def frontier(self) -> Mapping[int, int]:
        return {0: 5}

    def acknowledged(self) -> Mapping[int, int]:
        return {0: 5}


@pytest.mark.parametrize(
    ("arrives_at", "deadline_in", "least_seconds", "expected"),
    [
        (1, -500.0, 0.0, Verdict.EQUAL),
        # The checks before this one, and its own first look, took longer than the timeout.
        (3, -500.0, 10.0, Verdict.EQUAL),
        (3, 40.0, 10.0, Verdict.EQUAL),
        (3, 200.0, 0.0, Verdict.EQUAL),
        # Who does not want to wait at all gets no second chance.
        (3, -500.0, 0.0, Verdict.UNDECIDED),
        # A key that changes for longer than that is not decided.
        (60, -500.0, 10.0, Verdict.UNDECIDED),
    ],
)
def test_a_check_looks_again_however_long_its_first_look_took(
    monkeypatch: pytest.MonkeyPatch,
    arrives_at: int,
    deadline_in: float,
    least_seconds: float,
    expected: Verdict,
) -> None:
    clock = Clock()
    monkeypatch.setattr(compare, "time", clock)
    views = FakeViews(clock, arrives_at, first_look_seconds=60.0)
    result = ask(
        FakeQuestion(),
        cast(Views, views),
        cast(Source, None),
        cast(Window, None),
        clock.now + deadline_in,
        10,
        least_seconds=least_seconds,
    )
    assert result.verdict is expected
    assert result.differences == 0
