"""The rules of the house that a machine can hold: sizes, docstrings, import contracts that bite."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "writer", "connectors", "streams", "sinks", "stack", "cli", "bench")
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if path.stat().st_size
)
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_module_is_small_and_says_what_it_is_for(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert ast.get_docstring(tree), f"{_name(path)} has no docstring"
    assert len(source.splitlines()) <= MAX_MODULE_LINES
    functions = [
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = [
        f"{function.name} ({function.end_lineno - function.lineno + 1} lines)"
        for function in functions
        if function.end_lineno and function.end_lineno - function.lineno >= MAX_FUNCTION_LINES
    ]
    assert not too_long


def _violations(tmp_path: Path, module: str, line: str) -> str:
    """Run the import contracts on a copy of the tree in which `module` has one more import."""
    for package in PACKAGES:
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    target = tmp_path / module
    target.write_text(f"{target.read_text()}\n{line}\n")
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=tmp_path,
        env={"PATH": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout if result.returncode else ""


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("schemas/money.py", "import os"),
        ("schemas/ids.py", "import random"),
        ("streams/decode.py", "import time"),
        ("streams/decode.py", "import faust"),
        ("streams/fold/__init__.py", "import logging"),
        ("schemas/money.py", "import sinks"),
        ("sinks/__init__.py", "import streams"),
        ("streams/__init__.py", "import writer"),
        ("writer/__init__.py", "import streams"),
        ("writer/__init__.py", "import connectors"),
        ("connectors/__init__.py", "import cli"),
        ("stack/__init__.py", "import writer"),
        ("sinks/__init__.py", "import bench"),
        ("streams/replay/topic.py", "import httpx"),
        ("streams/replay/run.py", "import streams.views.pipeline"),
        ("streams/verify/run.py", "import smtplib"),
        ("streams/fold/batch.py", "import aiokafka"),
        ("sinks/client.py", "import stripe"),
        ("cli/replay.py", "import writer.append"),
        ("cli/output.py", "import connectors.debezium.client"),
    ],
)
def test_import_contract_breaks_when_violated(tmp_path: Path, module: str, line: str) -> None:
    assert "BROKEN" in _violations(tmp_path, module, line)


def test_import_contracts_hold(tmp_path: Path) -> None:
    assert not _violations(tmp_path, "schemas/money.py", "")
