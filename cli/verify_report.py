"""Prints the report of a verification for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from operations.console import counted
from operations.verify import CheckResult, Report, Verdict, Window

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


def show(report: Report, console: Console) -> None:
    """Print a table of the checks, the differences, and the verdict."""
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
        window = f" {Window(since=report.since, until=report.until)}"
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
        f" {_dead_letters(report.dead_letters)}",
    )
    _print(
        console,
        f"took       {report.seconds:.1f} s, of which {report.waited_seconds:.1f} s waiting for"
        " ClickHouse to hold the cut",
    )
    reason = f": {report.reason}" if report.reason else ""
    console.print(Text(f"{HEADLINES[report.verdict]}{reason}", style=f"bold {colour}"))


def _dead_letters(count: int | None) -> str:
    return "? dead letters" if count is None else counted(count, "dead letter")


def _number(count: int | None) -> str:
    return "?" if count is None else f"{count:,}"


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
