"""What the frame around every program leaves behind: files of details, and standard error."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.unexpected import KEPT, report
from stack.settings import CHECKOUT

FULL_FOR_A_WHILE = """
import resource
import sys
from schemas.standard_streams import take_standard_streams

take_standard_streams()
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
for number, size in enumerate([limits[0], 6, limits[0]]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    print("line", number, file=sys.stderr)
"""

BLOCKED = """
import signal
from schemas.runtime import entry_point

@entry_point
def main():
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))

signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
main()
"""


def test_newest_details_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PURSER_HOME", str(tmp_path))
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "views.log").touch()
    (folder / "unexpected.txt").touch()
    lines = [report(RuntimeError(str(number))) for number in range(KEPT + 5)]
    named = {line.rpartition("; details in ")[2] for line in lines[-KEPT:]}
    assert {str(path) for path in folder.glob("unexpected-*")} == named
    assert {path.name for path in folder.iterdir()} >= {"views.log", "unexpected.txt"}


def test_a_disk_that_was_full_does_not_silence_standard_error(tmp_path: Path) -> None:
    file = tmp_path / "errors"
    with file.open("wb") as errors:
        subprocess.run(
            [sys.executable, "-c", FULL_FOR_A_WHILE],
            stderr=errors,
            check=True,
            cwd=CHECKOUT,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
        )
    assert file.read_text() == "line 0\nline 2\n"


def test_a_blocked_signal_stays_blocked() -> None:
    """A replay starts its readers with Ctrl-C blocked until they ignore it."""
    ended = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        capture_output=True,
        text=True,
        check=True,
        cwd=CHECKOUT,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
    )
    assert ended.stdout == "True\n"
