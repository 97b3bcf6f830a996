"""The import contracts hold, and each of them breaks when a module violates it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, copy_tree

VERDICT = re.compile(r"(.+?) (KEPT|BROKEN)(?: \(\d+ ignored imports?\))? ?")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One copy of the tree for all tests here; each undoes what it changes."""
    folder = tmp_path_factory.mktemp("tree")
    copy_tree(folder)
    return folder


@contextmanager
def changed(file: Path, text: str) -> Iterator[None]:
    """`file` with other content, for the length of a `with`."""
    before = file.read_text()
    file.write_text(text)
    try:
        yield
    finally:
        file.write_text(before)


def lint(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the linter in a copy of the tree, on that copy's modules and contracts."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tree,
        env={"PATH": "", "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )


def broken(tree: Path) -> list[str]:
    """Names of the broken contracts.

    Raises:
        AssertionError: the linter gave no verdict, because it crashed or could not read the tree.
    """
    result = lint(tree)
    said = " ".join(result.stdout.split())  # names are wrapped at the terminal's width
    assert "Contracts: " in said, f"no verdict: {result.stdout}{result.stderr}"
    verdicts = said.partition("dependencies. ")[2].partition("Contracts: ")[0].lstrip("- ")
    judged = VERDICT.findall(verdicts)
    found = [name for name, verdict in judged if verdict == "BROKEN"]
    assert bool(found) == bool(result.returncode), result.stdout
    return found


def test_import_contracts_hold(tree: Path) -> None:
    assert broken(tree) == []


def test_a_linter_that_cannot_run_is_no_proof(tree: Path) -> None:
    contracts = tree / "pyproject.toml"
    with (
        changed(contracts, contracts.read_text().replace('"marketplace",', '"market_place",')),
        pytest.raises(AssertionError, match="no verdict"),
    ):
        broken(tree)


def test_every_package_is_under_the_contracts(tree: Path) -> None:
    analysed = (tree / "pyproject.toml").read_text().partition("root_packages = [")[2]
    named = {word.strip(' "\n') for word in analysed.partition("]")[0].split(",")}
    assert set(PACKAGES) <= named


LAYERS = "Layers import only downwards"
PURE = "Schemas, decode and the fold"
REPLAY = "A replay has no outside effects"
SIMULATORS = "The simulators stand for other companies"
STACK = "The local stack imports only schemas"
BENCH = "No package imports the benchmarks"
COMMANDS = "No package imports the command line"
KNOWS_STACK = "Only commands, operations and benchmarks import the local stack"
FOLD = "Decode and the fold read no settings"
SDK = "Only the client of the Stripe connector"
TRANSLATES = "What Stripe says is translated without network"


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("schemas/money.py", "import os", PURE),
        ("schemas/ids.py", "import random", PURE),
        ("streams/decode.py", "import time", PURE),
        ("streams/decode.py", "import faust", PURE),
        ("streams/fold/__init__.py", "import logging", PURE),
        ("streams/fold/batch.py", "import aiokafka", PURE),
        ("streams/fold/__init__.py", "import pathlib", PURE),
        ("streams/fold/rows.py", "import tempfile", PURE),
        ("schemas/money.py", "import secrets", PURE),
        ("streams/fold/rows.py", "import schemas.settings", FOLD),
        ("streams/decode.py", "import schemas.postgres.migrations", FOLD),
        ("schemas/money.py", "import sinks", LAYERS),
        ("sinks/__init__.py", "import streams", LAYERS),
        ("streams/__init__.py", "import writer", LAYERS),
        ("streams/__init__.py", "import operations", LAYERS),
        ("writer/__init__.py", "import streams", LAYERS),
        ("writer/__init__.py", "import connectors", LAYERS),
        ("connectors/__init__.py", "import operations", LAYERS),
        ("connectors/__init__.py", "import marketplace", LAYERS),
        ("operations/__init__.py", "import marketplace", LAYERS),
        ("marketplace/__init__.py", "import operations", LAYERS),
        ("operations/__init__.py", "import cli", LAYERS),
        ("payins/__init__.py", "import service", LAYERS),
        ("payins/__init__.py", "import operations", LAYERS),
        ("connectors/__init__.py", "import payins", LAYERS),
        ("simulators/__init__.py", "import connectors", SIMULATORS),
        ("simulators/__init__.py", "import sinks", SIMULATORS),
        ("service/__init__.py", "import stack", KNOWS_STACK),
        ("stack/__init__.py", "import writer", STACK),
        ("stack/__init__.py", "import operations", STACK),
        ("sinks/__init__.py", "import stack", KNOWS_STACK),
        ("streams/__init__.py", "import stack.ports", KNOWS_STACK),
        ("writer/__init__.py", "import stack", KNOWS_STACK),
        ("connectors/__init__.py", "import stack", KNOWS_STACK),
        ("marketplace/__init__.py", "import stack", KNOWS_STACK),
        ("sinks/__init__.py", "import bench", BENCH),
        ("operations/__init__.py", "import bench", BENCH),
        ("cli/main.py", "import bench", BENCH),
        ("cli/commands.py", "import bench", BENCH),
        ("bench/__init__.py", "import cli", COMMANDS),
        ("operations/replay/topic.py", "import httpx", REPLAY),
        ("operations/replay/run.py", "import streams.views.pipeline", REPLAY),
        ("operations/replay/run.py", "import operations.bring_up", REPLAY),
        ("operations/verify/run.py", "import smtplib", REPLAY),
        ("sinks/client.py", "import stripe", REPLAY),
        ("cli/replay.py", "import writer.append", REPLAY),
        ("operations/console.py", "import connectors.debezium.client", REPLAY),
        ("connectors/stripe/poll.py", "import stripe", SDK),
        ("payins/__init__.py", "import stripe", SDK),
        ("connectors/stripe/translate.py", "import aiohttp", TRANSLATES),
        ("connectors/stripe/webhook.py", "import time", TRANSLATES),
        ("connectors/charges.py", "import connectors.stripe.client", TRANSLATES),
    ],
)
def test_import_contract_breaks_when_violated(
    tree: Path, module: str, line: str, contract: str
) -> None:
    file = tree / module
    with changed(file, f"{file.read_text()}\n{line}\n"):
        assert any(name.startswith(contract) for name in broken(tree))
