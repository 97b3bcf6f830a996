"""A copy of the tree with an event type more, which is added by declarations alone.

`goodwill_credited` gives money back out of what was captured, as a refund does, but nobody asked
for it and it settles nothing.
"""

import filecmp
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.architecture.tree import PACKAGES, ROOT, copy_tree

DECLARATIONS = (
    (
        "schemas/lifecycle.py",
        '    DISPUTE_LOST = "dispute_lost"\n',
        '    GOODWILL_CREDITED = "goodwill_credited"\n',
    ),
    (
        "schemas/lifecycle.py",
        "    _S.CAPTURED: {\n",
        "        _E.GOODWILL_CREDITED: _S.CAPTURED,\n",
    ),
    (
        "schemas/effects.py",
        "    Direction.IN: {\n",
        "        _E.GOODWILL_CREDITED: Effect(\n"
        "            amount=Amount.PART, move=Move.REVERSE, revenue=Revenue.REFUNDS\n"
        "        ),\n",
    ),
    (
        "writer/commands.py",
        "    event_type = EventType.DISPUTE_LOST\n",
        "\n\n@dataclass(frozen=True, slots=True, kw_only=True)\n"
        "class CreditGoodwill(AmountChange):\n"
        '    """Money goes back to the buyer because we are kind."""\n\n'
        "    event_type = EventType.GOODWILL_CREDITED\n",
    ),
    (
        "writer/decide.py",
        "    commands.Capture: payins.capture,\n",
        "    commands.CreditGoodwill: payins.move_amount,\n",
    ),
)
"""File, the line after which to declare, what is declared there."""

GENERATED = {
    "schemas.postgres.generate": "schemas/postgres/0002_guards.sql",
    "schemas.clickhouse.generate": "schemas/clickhouse/0002_views.sql",
}
"""Module that generates -> the file that it writes, which is all that follows."""

SCRIPT = Path(__file__).with_name("goodwill.py")


def declare_goodwill(tree: Path) -> None:
    """Copy the tree to an empty folder, declare the event type and generate the SQL."""
    copy_tree(tree)
    for name, anchor, declared in DECLARATIONS:
        file = tree / name
        before, found, after = file.read_text(encoding="utf-8").partition(anchor)
        assert found, (name, anchor)
        file.write_text(before + found + declared + after, encoding="utf-8")
    for module in GENERATED:
        _python(tree, "-m", module)


def changed_files(tree: Path) -> set[str]:
    """Files of ours that are not what they are in the checkout."""
    ours = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    names = [
        str(path.relative_to(ROOT))
        for path in ours
        if "__pycache__" not in path.parts and "results" not in path.parts
    ]
    _, different, missing = filecmp.cmpfiles(ROOT, tree, names, shallow=False)
    return {*different, *missing}


def run_goodwill(tree: Path, *arguments: str) -> dict[str, Any]:
    """What `goodwill.py` finds, run on that tree's modules."""
    answer: dict[str, Any] = json.loads(_python(tree, str(SCRIPT), *arguments))
    return answer


def _python(tree: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
