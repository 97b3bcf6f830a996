"""`purser bench` hands its arguments to the benchmarks and ends as they end."""

import subprocess
import sys

from stack.settings import CHECKOUT


def purser(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_is_the_benchmarks_own() -> None:
    shown = purser("bench", "--help")
    assert shown.returncode == 0, shown.stderr
    assert "Usage: purser bench" in shown.stdout
    assert "elasticity" in shown.stdout


def test_an_unknown_section_is_one_clear_line() -> None:
    refused = purser("bench", "speed", "--seconds", "5")
    assert refused.returncode == 64
    assert refused.stderr.startswith("purser: section: there is no 'speed'; choose from latency, ")
    assert len(refused.stderr.splitlines()) == 1
