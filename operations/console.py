"""Output of the commands: progress goes to standard error, results to standard output."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

PIPE_COLUMNS = 110
SECONDS_BETWEEN_LINES = 5.0

_progress = Console(stderr=True, highlight=False, emoji=False)


class Report(Protocol):
    """Receives the progress of long work; may be called in every iteration of a loop."""

    def __call__(self, what: str, done: int, total: int, figures: str = "") -> None:
        """Report that `done` of `total` (0: unknown) of the step `what` is complete.

        `figures` is shown beside the bar; by default it is the counts and their rate.
        """


def say(line: str) -> None:
    """Print a line of progress for people."""
    _progress.print(line, markup=False, soft_wrap=True)


def counted(count: int, noun: str) -> str:
    """A number and its noun: `1 look`, `2,000 looks`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def wide_console() -> Console:
    """Standard output for tables; in a file or a pipe it is wider than the default 80 columns."""
    console = Console(highlight=False, emoji=False)
    if not console.is_terminal:
        console.width = PIPE_COLUMNS
    return console


def print_json(document: Any) -> None:
    """Print one JSON document on standard output, for machines."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


@contextmanager
def progress() -> Iterator[Report]:
    """Show progress of long work: a bar on a terminal, else a line every few seconds."""
    if not _progress.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[figures]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_progress, transient=True) as bars:
        task = bars.add_task("connecting", total=None, figures="")
        step, started = "", time.monotonic()

        def report(what: str, done: int, total: int, figures: str = "") -> None:
            nonlocal step, started
            if what != step:
                step, started = what, time.monotonic()
                bars.reset(task, description=what, total=total or None, figures="")
            figures = figures or _figures(done, total, time.monotonic() - started)
            bars.update(task, completed=done, total=total or None, figures=figures)

        yield report


def _lines() -> Report:
    """Print a line every few seconds; none for work that ends sooner."""
    started: dict[str, float] = {}
    last = time.monotonic()

    def report(what: str, done: int, total: int, figures: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        began = started.setdefault(what, now)
        if now - last < SECONDS_BETWEEN_LINES:
            return
        last = now
        if figures:
            percent = f"{100 * done // total} %, " if total else ""
            say(f"{what}: {percent}{figures}")
            return
        rate = done / max(now - began, 0.001)
        left = f", {(total - done) / rate:,.0f} s left" if total and rate and done < total else ""
        say(f"{what}: {_figures(done, total, now - began)}{left}" if total else what)

    return report


def _figures(done: int, total: int, seconds: float) -> str:
    return f"{done:,} of {total:,}, {done / max(seconds, 0.001):,.0f}/s" if total else ""
