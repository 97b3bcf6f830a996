"""The packages of the checkout, and a copy of them that a test may change."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "schemas",
    "writer",
    "connectors",
    "streams",
    "sinks",
    "operations",
    "marketplace",
    "payins",
    "service",
    "simulators",
    "stack",
    "cli",
    "bench",
)


def copy_tree(target: Path) -> None:
    """Copy the packages and pyproject.toml, without what Python or a run left beside them."""
    ignored = shutil.ignore_patterns("__pycache__", "results")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, target / package, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", target)
