"""The watchdog against an event loop that does not run: one timer, and the stop's deadline wins."""

import subprocess
import sys
from typing import Any

import pytest

from streams import watchdog as watchdog_module
from streams.watchdog import LoopWatchdog

HANGING = """
import time
from streams.watchdog import LoopWatchdog
watchdog = LoopWatchdog(0.2)
watchdog.loop_runs()
time.sleep(600)
"""


@pytest.fixture
def timer(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What faulthandler's timer is told: seconds until it ends the process, None for never."""
    told: list[Any] = []

    class Timer:
        @staticmethod
        def dump_traceback_later(seconds: float, *, exit: bool) -> None:  # noqa: A002
            assert exit
            told.append(seconds)

        @staticmethod
        def cancel_dump_traceback_later() -> None:
            told.append(None)

    monkeypatch.setattr(watchdog_module, "faulthandler", Timer)
    return told


def test_nothing_is_armed_before_the_loop_runs(timer: list[Any]) -> None:
    LoopWatchdog(50.0)
    assert timer == []


def test_each_sign_of_life_starts_the_time_anew(timer: list[Any]) -> None:
    watchdog = LoopWatchdog(50.0)
    watchdog.loop_runs()
    watchdog.loop_runs()
    assert timer == [50.0, 50.0]


def test_a_stop_has_its_own_deadline_which_no_sign_of_life_moves(timer: list[Any]) -> None:
    watchdog = LoopWatchdog(50.0)
    watchdog.loop_runs()
    watchdog.stop_within(9.0)
    watchdog.loop_runs()
    assert timer == [50.0, 9.0]


def test_a_process_that_ends_by_itself_is_left_alone(timer: list[Any]) -> None:
    watchdog = LoopWatchdog(50.0)
    watchdog.loop_runs()
    watchdog.disarm()
    watchdog.loop_runs()
    assert timer == [50.0, None]


def test_a_process_that_gives_no_sign_of_life_ends_and_says_where_it_was() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", HANGING], capture_output=True, text=True, check=False, timeout=120
    )
    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert 'File "<string>", line 6' in ended.stderr
