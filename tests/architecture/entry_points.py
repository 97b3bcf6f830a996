"""The modules that `python -m` runs, also for the script `purser`, found in the tree."""

import ast
from pathlib import Path

from tests.architecture.tree import PACKAGES, ROOT

WITHOUT_OUR_PACKAGES = {
    "stack.launch": "supervisord runs it with `python -I`, apart from the tree; it starts programs",
    "stack.process_manager": "`python -I` runs it, apart from the tree; it restarts programs",
    "stack.compose.secrets": "runs before anything is installed; it makes passwords",
}
"""Programs that cannot ask and need not: they have no assertion, and no money."""


def _is_main(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def entry_points() -> dict[str, ast.Module]:
    """Module -> its syntax, of each that does something when it is run."""
    found = {}
    for package in (*PACKAGES, "docs"):
        for path in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            if any(map(_is_main, tree.body)):
                found[_module(path)] = tree
    return found


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


def called_when_run(tree: ast.Module) -> set[str]:
    """Names of the functions that the module calls when it is run."""
    return {
        node.func.id
        for block in tree.body
        if _is_main(block)
        for node in ast.walk(block)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }


def marked(tree: ast.Module) -> set[str]:
    """Names of the functions that bear `@entry_point`."""
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and any(ast.unparse(decorator) == "entry_point" for decorator in node.decorator_list)
    }
