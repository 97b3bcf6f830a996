"""`purser bench`: hands over to the benchmarks, which the product itself never imports."""

import os
import sys
from pathlib import Path

import typer

from schemas.errors import ConfigurationError

CHECKOUT = Path(__file__).resolve().parent.parent


def bench(context: typer.Context) -> None:
    """Measure on a stack of its own; `purser bench --help` lists what can be measured.

    Example: purser bench latency --seconds 60
    """
    if not (CHECKOUT / "bench").is_dir():
        raise ConfigurationError("bench: the benchmarks are not installed; run it from a checkout")
    os.chdir(CHECKOUT)
    os.execv(sys.executable, [sys.executable, "-m", "bench", *context.args])
