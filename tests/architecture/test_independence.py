"""A helper that judges the product does not use what it judges."""

import ast

from tests.architecture.tree import PACKAGES, ROOT

AUDITOR = ROOT / "tests" / "property" / "auditor.py"
TYPES_ONLY = {"schemas.events.NewEvent", "writer.commands"}


def imported(source: str) -> set[str]:
    """Whatever a module imports, by its full name."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{each.name}" for each in node.names}
    return names


def test_the_auditor_shares_only_types_with_the_writer() -> None:
    ours = {name for name in imported(AUDITOR.read_text()) if name.split(".")[0] in PACKAGES}
    assert ours == TYPES_ONLY


def test_the_types_that_it_shares_compute_nothing() -> None:
    tree = ast.parse((ROOT / "writer" / "commands.py").read_text())
    arithmetic = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp)]
    assert not [node for node in arithmetic if not isinstance(node.op, ast.BitOr)]
