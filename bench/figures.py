"""One measured figure, and the table and JSON of many."""

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of one run.

    `ratio` is relative to `baseline`, measured in the same run. `goal` states the goal, `met`
    whether it was reached (None: there is no goal).
    """

    section: str
    name: str
    value: float
    unit: str
    baseline: str = ""
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None


def at_most(limit: float, value: float) -> tuple[str, bool]:
    """The goal and whether it is met, for a figure that should be small."""
    return f"<= {limit:g}", value <= limit


def at_least(limit: float, value: float) -> tuple[str, bool]:
    """The goal and whether it is met, for a figure that should be large."""
    return f">= {limit:g}", value >= limit


def show(figures: Iterable[Figure], console: Console) -> None:
    """Print the table."""
    table = Table(title="Measured in this run", title_justify="left", box=box.SIMPLE_HEAD)
    for column in ("what", "figure", "unit", "ratio", "to", "goal"):
        table.add_column(column, justify="right" if column in ("figure", "ratio") else "left")
    section = ""
    for figure in figures:
        if figure.section != section:
            section = figure.section
            table.add_section()
            table.add_row(f"[bold]{section}[/bold]")
        verdict = {None: "", True: " met", False: " NOT met"}[figure.met]
        table.add_row(
            f"  {figure.name}",
            f"{figure.value:,.0f}" if figure.value >= 100 else f"{figure.value:,.3g}",
            figure.unit,
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            figure.baseline,
            figure.goal + verdict,
        )
    console.print(table)


def write(figures: Iterable[Figure], folder: Path, command: str) -> Path:
    """Write one run as JSON; return the file."""
    now = datetime.now(UTC)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{now:%Y%m%dT%H%M%SZ}.json"
    run = {
        "command": command,
        "measured_at": now.isoformat(timespec="seconds"),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "python": platform.python_version(),
        "figures": [asdict(figure) for figure in figures],
    }
    file.write_text(json.dumps(run, indent=1) + "\n", encoding="utf-8")
    return file
