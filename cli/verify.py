"""`purser verify`: does ClickHouse hold what PostgreSQL holds?"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from cli.output import say, wide_console
from schemas.errors import InputError, PurserError
from streams.verify import CheckResult, Options, Report, Verdict, VerifySettings, Window
from streams.verify import verify as run
from writer.migrate import check_schema

COULD_NOT_TELL = 2
SECONDS_BETWEEN_REPORTS = 5.0

MARKS = {
    Verdict.EQUAL: ("✓", "green"),
    Verdict.DIVERGED: ("✗", "red"),
    Verdict.UNDECIDED: ("?", "yellow"),
}
HEADLINES = {
    Verdict.EQUAL: "EQUAL",
    Verdict.DIVERGED: "DIVERGED",
    Verdict.UNDECIDED: "COULD NOT TELL",
}


def verify(
    timeout: Annotated[
        float, typer.Option(help="Seconds to wait for rows that may still be on their way.")
    ] = 60.0,
    rows: Annotated[int, typer.Option(help="Differences to show for each check, 0 to 500.")] = 20,
    since: Annotated[
        str | None, typer.Option(help="First day (UTC, of occurred_at) to verify: 2026-01-31.")
    ] = None,
    until: Annotated[str | None, typer.Option(help="Last day to verify.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object on standard output, whatever happens.")
    ] = False,
) -> None:
    """Prove that ClickHouse holds exactly what PostgreSQL holds, while traffic goes on.

    Compares the events at one snapshot to the row and the cent, and recomputes every view from
    them. Reads only. Exit status: 0 equal, 1 diverged (the differences are shown), 2 could not
    tell (the views lag behind, a server is down, a schema is missing).

    Example: purser verify --since 2026-01-01 --json
    """
    try:
        with _progress() as on_progress:
            options = Options(
                timeout_seconds=timeout,
                rows=rows,
                window=Window(since=_day("--since", since), until=_day("--until", until)),
                on_progress=on_progress,
            )
            settings = VerifySettings.load()
            check_schema(settings.postgres_reader_dsn.get_secret_value())
            report = run(settings, options)
    except PurserError as error:
        # Whatever keeps us from looking says nothing about what we would have seen.
        if as_json:
            _print_json(Report(verdict=Verdict.UNDECIDED, reason=str(error)))
        say(f"purser: {error}")
        raise typer.Exit(COULD_NOT_TELL) from None
    if as_json:
        _print_json(report)
    else:
        show(report, wide_console())
    if report.exit_status:
        raise typer.Exit(report.exit_status)


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(option, f"{text!r} is not a day; give one like 2026-01-31") from None


def _print_json(report: Report) -> None:
    sys.stdout.write(json.dumps(report.to_json(), indent=2) + "\n")


def show(report: Report, console: Console) -> None:
    """The report for people: a table of checks, the differences, the verdict."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "check", "proves"):
        table.add_column(heading)
    for heading in ("compared", "differ", "seconds"):
        table.add_column(heading, justify="right")
    for check in report.checks:
        mark, colour = MARKS[check.verdict]
        table.add_row(
            Text(mark, style=colour),
            check.name,
            check.proves,
            f"{check.compared:,}",
            _count(check),
            f"{check.seconds:.1f}",
        )
    console.print(table)
    for check in report.checks:
        _show_differences(check, console)
    _show_summary(report, console)


def _count(check: CheckResult) -> str:
    at_least = "≥ " if check.differences_at_least else ""
    return f"{at_least}{check.differences:,}" if check.differences else ""


def _show_differences(check: CheckResult, console: Console) -> None:
    if not check.findings and not check.note:
        return
    _print(console, f"\n{check.name}: {check.note or 'differences'}")
    for finding in check.findings:
        _print(console, f"  {finding}")
    if check.more:
        at_least = "at least " if check.differences_at_least else ""
        _print(console, f"  … and {at_least}{check.more:,} more; --rows shows more of them")


def _show_summary(report: Report, console: Console) -> None:
    _, colour = MARKS[report.verdict]
    window = ""
    if report.since or report.until:
        window = f" of {report.since or 'the beginning'} to {report.until or 'today'}"
    if report.cut is not None:
        _print(
            console,
            f"\ncut        {report.cut.taken_at.isoformat(timespec='milliseconds')}"
            f"  snapshot {report.cut.snapshot}",
        )
    _print(
        console,
        f"events     {_number(report.postgres_events)} in PostgreSQL,"
        f" {_number(report.clickhouse_events)} in ClickHouse{window};"
        f" {_number(report.dead_letters)} dead letters",
    )
    _print(
        console,
        f"took       {report.seconds:.1f} s, of which {report.waited_seconds:.1f} s waiting for"
        " ClickHouse to hold the cut",
    )
    reason = f": {report.reason}" if report.reason else ""
    console.print(Text(f"{HEADLINES[report.verdict]}{reason}", style=f"bold {colour}"))


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar on a terminal; elsewhere a line now and then, and none when it is quick."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _reporter()
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as progress:
        task = progress.add_task("connecting", total=None, counts="")

        def update(what: str, done: int, total: int) -> None:
            counts = f"{done:,} of {total:,}" if total else ""
            progress.update(
                task, description=what, total=total or None, completed=done, counts=counts
            )

        yield update


def _reporter() -> Callable[[str, int, int], None]:
    last = time.monotonic()

    def report(what: str, done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= SECONDS_BETWEEN_REPORTS:
            last = time.monotonic()
            say(f"{what}: {done:,} of {total:,}" if total else what)

    return report
