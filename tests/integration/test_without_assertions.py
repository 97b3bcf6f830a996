"""No program runs without assertions: each ends with status 2 and one line that says what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.entry_points import WITHOUT_OUR_PACKAGES, entry_points

pytestmark = pytest.mark.integration

NEED_PEERS = {
    f"bench.peers.{name}" for name in ("bytewax_batches", "bytewax_stock", "pathway_", "quix")
}
"""They import packages of the peers' environment; tests/architecture looks at them as text."""
PROGRAMS = sorted(entry_points().keys() - WITHOUT_OUR_PACKAGES.keys() - NEED_PEERS)
SAID = (
    "purser: Python runs without assertions, and they protect money;"
    " start it without -O, and unset PYTHONOPTIMIZE\n"
)


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_refuses_to_run_without_assertions(program: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-O", "-m", program], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", SAID)


def test_the_environment_cannot_take_them_away_either() -> None:
    ended = subprocess.run(
        [Path(sys.executable).with_name("purser"), "verify"],
        env=os.environ | {"PYTHONOPTIMIZE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", SAID)
