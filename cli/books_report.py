"""Prints the report of a comparison with a PSP's books for people."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from operations.books import Report, Verdict
from operations.books.report import Difference, State, Total, Uncompared
from operations.console import counted
from schemas.money import format_minor

MARKS = {True: ("✓", "green"), False: ("✗", "red")}
HEADLINES = {
    Verdict.AGREE: ("AGREE", "green"),
    Verdict.DIFFER: ("DIFFER", "red"),
    Verdict.UNDECIDED: ("COULD NOT TELL", "yellow"),
}
PAYOUTS = "payout"
"""The PSP's category of its payouts to us; ours to sellers are no business of its books."""
STATES = {State.PROVEN: "differs", State.UNDER_WAY: "under way"}


def show(report: Report, console: Console) -> None:
    """Print the totals, what differs, what stands beside them, and the verdict."""
    _show_totals(report, console)
    if report.differences:
        _print(console, "\nWhat differs")
        for difference in report.differences:
            _print(console, f"  {_line(difference)}")
        if more := report.differing - len(report.differences):
            at_least = "at least " if report.differing_at_least else ""
            _print(console, f"  … and {at_least}{more:,} more; --rows shows more of them")
    _show_under_way(report, console)
    _show_foreign(report, console)
    _show_summary(report, console)


def _show_totals(report: Report, console: Console) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "currency", "kind"):
        table.add_column(heading)
    for heading in ("payments", "", report.psp, "", "difference"):
        table.add_column(heading, justify="right")
    for (currency, kind), total in report.totals.items():
        mark, colour = MARKS[not total.differing]
        table.add_row(
            Text(mark, style=colour),
            currency,
            kind.replace("_", " "),
            *_counted(total, currency),
        )
    console.print(table)


def _counted(total: Total, currency: str) -> tuple[str, ...]:
    difference = total.actual_minor - total.expected_minor
    shown = _amount(difference, currency) if difference else ""
    if total.differing and not difference:
        shown = f"{total.differing:,} differ"
    return (
        f"{total.expected_count:,}",
        _amount(total.expected_minor, currency),
        f"{total.actual_count:,}",
        _amount(total.actual_minor, currency),
        shown,
    )


def _amount(minor: int, currency: str) -> str:
    return format_minor(minor, currency).rpartition(" ")[0]


def _line(difference: Difference) -> str:
    currency = difference.currency
    return (
        f"{STATES[difference.state]}: payment {difference.payment_id}"
        f"  {difference.reference or '(no reference)'}  {difference.kind.replace('_', ' ')}:"
        f" payments {format_minor(difference.expected_minor, currency)},"
        f" PSP {format_minor(difference.actual_minor, currency)} ({difference.note})"
    )


def _show_under_way(report: Report, console: Console) -> None:
    if not report.under_way:
        return
    _print(console, "\nUnder way, not counted above")
    for each in report.under_way:
        where = "not decided by a bank" if each.at_psp else "asked for, no outcome yet"
        _print(
            console,
            f"  {each.count:,} {each.what.replace('_', ' ')}"
            f" of {format_minor(each.amount_minor, each.currency)}: {where},"
            f" the oldest since {each.oldest_at.isoformat(timespec='seconds')}",
        )


def _show_foreign(report: Report, console: Console) -> None:
    if not report.foreign_count:
        return
    _print(console, f"\nAt {report.psp} without a payment of ours: {report.foreign_count:,}")
    for each in report.foreign:
        _print(
            console,
            f"  {each.reference}  {each.kind.replace('_', ' ')}:"
            f" {format_minor(each.amount_minor, each.currency)}"
            f"  {each.at.isoformat(timespec='seconds')}",
        )
    if more := report.foreign_count - len(report.foreign):
        _print(console, f"  … and {more:,} more; --rows shows more of them")


def _show_summary(report: Report, console: Console) -> None:
    beside = [f"fees {format_minor(minor, code)}" for code, minor in sorted(report.fees.items())]
    beside += [
        f"{_category(each, report.psp)} {format_minor(each.amount_minor, each.currency)}"
        for each in report.uncompared
    ]
    window = f" from {report.since} on" if report.since else ""
    _print(
        console,
        f"\nbooks      {counted(report.lines or 0, 'line')}{window}"
        + (f"; not in payments: {', '.join(beside)}" if beside else ""),
    )
    if report.snapshot_at is not None:
        _print(
            console,
            f"payments   {report.snapshot_at.isoformat(timespec='milliseconds')}"
            f"  snapshot {report.snapshot}",
        )
    _print(
        console,
        f"took       {report.seconds:.1f} s, of which {report.waited_seconds:.1f} s looking again"
        f" ({counted(report.looks, 'look')})",
    )
    headline, colour = HEADLINES[report.verdict]
    reason = f": {report.reason}" if report.reason else ""
    console.print(Text(f"{headline}{reason}", style=f"bold {colour}"))


def _category(each: Uncompared, psp: str) -> str:
    if each.category == PAYOUTS:
        return f"{counted(each.count, PAYOUTS)} of {psp} to us"
    return f"{each.count:,} {each.category}"


def _print(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
