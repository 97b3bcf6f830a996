"""`purser bench`: executes `python -m bench`; the product never imports the benchmarks."""

import os
import sys
from pathlib import Path

import typer

from schemas.errors import ConfigurationError

CHECKOUT = Path(__file__).resolve().parent.parent


def bench(context: typer.Context) -> None:
    """Run the benchmarks on a temporary stack; `purser bench --help` lists the sections.

    Example: purser bench latency --seconds 60
    """
    if not (CHECKOUT / "bench").is_dir():
        raise ConfigurationError("bench: the benchmarks are not installed; run it from a checkout")
    # Not by changing the folder: relative paths in PURSER_ variables would change their meaning.
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    os.execve(sys.executable, [sys.executable, "-m", "bench", *context.args], environment)
