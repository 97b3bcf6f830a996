"""The rules of the house that a machine can hold: module and function sizes, and docstrings."""

import ast
from pathlib import Path

import pytest

from tests.architecture.tree import PACKAGES, ROOT

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


def test_settings_have_one_base() -> None:
    """`schemas.settings.Settings` alone derives from BaseSettings: one message, no value in it."""
    users = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if "BaseSettings" in path.read_text(encoding="utf-8")
    }
    assert users == {"schemas/settings.py"}
