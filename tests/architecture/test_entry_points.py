"""Every program asks first whether Python runs with assertions."""

import ast
import re

import pytest

from tests.architecture.entry_points import (
    WITHOUT_OUR_PACKAGES,
    called_when_run,
    entry_points,
    marked,
)
from tests.architecture.tree import ROOT

POINTS = entry_points()


def _imported_from(tree: ast.Module) -> dict[str, str]:
    """Name -> the module that it was imported from."""
    return {
        alias.name: str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@pytest.mark.parametrize("name", sorted(POINTS.keys() - WITHOUT_OUR_PACKAGES.keys()))
def test_an_entry_point_is_marked(name: str) -> None:
    tree = POINTS[name]
    known = marked(tree)
    for function, module in _imported_from(tree).items():
        if module in POINTS and function in marked(POINTS[module]):
            known.add(function)
    assert called_when_run(tree) & known


@pytest.mark.parametrize("name", sorted(WITHOUT_OUR_PACKAGES))
def test_a_program_that_does_not_ask_has_no_assertion(name: str) -> None:
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(POINTS[name]))


def test_the_script_and_reader_processes_are_marked() -> None:
    modules = set(re.findall(r"-m ([\w.]+)", (ROOT / "cli/purser").read_text()))
    assert modules == {"cli.main"}
    assert marked(POINTS["cli.main"]) == {"main"}
    reader = ast.parse((ROOT / "operations/replay/reader_process.py").read_text())
    assert marked(reader) == {"read_share"}
