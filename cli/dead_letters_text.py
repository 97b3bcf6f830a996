"""The output of `purser dead-letters`: tables for people, plain values for JSON."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from cli.raw_bytes import as_json, one_line, printable, rendered
from operations.dead_letters import Judgement, Letter, Listed, Outcome, Plan, Redrive, Summary
from schemas.money import format_minor

SHOWN_DEAD = 20
SHOWN_TOTALS = 20
INDENT = "    "


# -- list


def show_list(
    listed: Sequence[Listed], summary: Sequence[Summary], state: str, console: Console
) -> None:
    """Print the records, then the counts per reason."""
    rows = [
        (
            str(one.position),
            one.reason,
            _when(one.recorded_at),
            _when(one.parked_at),
            "null" if one.is_null else f"{one.size:,} B",
            one.state.value,
        )
        for one in listed
    ]
    headings = ("position", "reason", "recorded", "parked", "size", "state")
    if listed:
        heading, *lines = _aligned(headings, rows, right=[4])
        _print(console, heading)
        for line, one in zip(lines, listed, strict=True):
            _print(console, f"{line}\n{INDENT}{one_line(one.error)}")
    else:
        _print(console, "no dead letters" if state == "all" else f"no {state} dead letters")
    total = sum(
        {"open": each.open, "redriven": each.redriven}.get(state, each.open + each.redriven)
        for each in summary
    )
    if total > len(listed):
        _print(console, f"… and {total - len(listed):,} more; --limit shows more of them")
    if summary:
        _print(console, "")
        _show_summary(summary, console)


def _show_summary(summary: Sequence[Summary], console: Console) -> None:
    rows = [
        (
            each.reason,
            f"{each.open:,}",
            f"{each.redriven:,}",
            f"{each.last_day:,}",
            _when(each.first_recorded_at),
            _when(each.last_recorded_at),
        )
        for each in summary
    ]
    headings = ("reason", "open", "redriven", "last 24 h", "first recorded", "last recorded")
    for line in _aligned(headings, rows, right=[1, 2, 3]):
        _print(console, line)


def list_json(listed: Sequence[Listed], summary: Sequence[Summary]) -> dict[str, Any]:
    """`{"summary": […], "dead_letters": […]}`."""
    return {
        "summary": [
            {
                "reason": each.reason,
                "open": each.open,
                "redriven": each.redriven,
                "last_24_hours": each.last_day,
                "first_recorded_at": each.first_recorded_at.isoformat(),
                "last_recorded_at": each.last_recorded_at.isoformat(),
            }
            for each in summary
        ],
        "dead_letters": [
            {
                "position": str(one.position),
                "topic": one.position.topic,
                "partition": one.position.partition,
                "offset": one.position.offset,
                "reason": one.reason,
                "error": one.error,
                "recorded_at": one.recorded_at.isoformat(),
                "parked_at": one.parked_at.isoformat(),
                "bytes": one.size,
                "is_null": one.is_null,
                "state": one.state.value,
            }
            for one in listed
        ],
    }


# -- show


def show_letter(
    letter: Letter, judgement: Judgement, history: Sequence[Redrive], console: Console
) -> None:
    """Print everything about one record."""
    facts = {
        "position": str(letter.position),
        "state": letter.state.value,
        "reason": letter.reason,
        "error": one_line(letter.error),
        "recorded": _when(letter.recorded_at),
        "parked": f"{_when(letter.parked_at)} by {letter.consumer}",
        "now": _judged(judgement),
        "redrives": "" if history else "none",
    }
    for name, fact in facts.items():
        _print(console, f"{name:<9} {fact}".rstrip())
    for each in history:
        _print(console, f"{INDENT}{_attempt(each)}")
    for name, data in (("key", letter.key), ("value", letter.value)):
        _show_bytes(name, data, console)


def _show_bytes(name: str, data: bytes | None, console: Console) -> None:
    if data is None:
        _print(console, f"\n{name}: none (a tombstone)")
        return
    shown, left_out = rendered(data)
    _print(console, f"\n{name}, {len(data):,} bytes{':' if data else ''}")
    if data:
        _print(console, shown)
    if left_out:
        option = "--raw" if name == "value" else "--raw-key"
        _print(console, f"… {left_out:,} bytes more; {option} writes all of them")


def _judged(judgement: Judgement) -> str:
    if not judgement.folds:
        return f"still {judgement.reason}: {one_line(judgement.error)}"
    return (
        f"this code folds it: {judgement.event_type}, payment {judgement.payment_id}"
        f" seq {judgement.seq}, {judgement.row_count} rows"
    )


def _attempt(each: Redrive) -> str:
    done = (
        f"{each.reason}: {one_line(each.error)}"
        if each.reason
        else f"payment {each.payment_id} seq {each.seq}, {each.row_count} rows"
    )
    return f"{_when(each.redriven_at)} by {printable(each.redriven_by)}: {each.outcome}, {done}"


def letter_json(letter: Letter, judgement: Judgement, history: Iterable[Redrive]) -> dict[str, Any]:
    """Everything about one record, its bytes whole."""
    return {
        "position": str(letter.position),
        "topic": letter.position.topic,
        "partition": letter.position.partition,
        "offset": letter.position.offset,
        "state": letter.state.value,
        "reason": letter.reason,
        "error": letter.error,
        "recorded_at": letter.recorded_at.isoformat(),
        "parked_at": letter.parked_at.isoformat(),
        "consumer": letter.consumer,
        "key": as_json(letter.key),
        "value": as_json(letter.value),
        "now": {
            "folds": judgement.folds,
            "reason": judgement.reason,
            "error": judgement.error,
            "event_type": judgement.event_type,
            "payment_id": str(judgement.payment_id) if judgement.payment_id else None,
            "seq": judgement.seq,
            "rows": judgement.row_count,
        },
        "redrives": [
            {
                "redriven_at": each.redriven_at.isoformat(),
                "redriven_by": each.redriven_by,
                "outcome": each.outcome,
                "reason": each.reason,
                "error": each.error,
                "payment_id": str(each.payment_id) if each.payment_id else None,
                "seq": each.seq,
                "rows": each.row_count,
            }
            for each in history
        ],
    }


# -- redrive


def show_plan(plan: Plan, console: Console) -> None:
    """Print what would change and what would not."""
    if not plan.records:
        _print(console, "no open dead letter to redrive")
        return
    again = f", {plan.already:,} of them redriven before" if plan.already else ""
    _print(console, f"{plan.records:,} dead letter{_s(plan.records)}{again}")
    if plan.events:
        _print(console, f"\n{plan.events.total():,} of them fold now: {_counts(plan.events)}")
        rows = [
            (name, f"{change.rows:,}", f"{change.new:,}")
            for name, change in sorted(plan.tables.items())
        ]
        for line in _aligned(("table", "rows", "new"), rows, right=[1, 2]):
            _print(console, f"{INDENT}{line}")
        if not plan.changes:
            _print(console, f"{INDENT}the views already have all of this; nothing would change")
    if plan.revenue:
        _show_revenue(plan, console)
    if plan.dead:
        _print(
            console, f"\n{plan.dead.total():,} of them still cannot be folded: {_counts(plan.dead)}"
        )
        for one in plan.still_dead[:SHOWN_DEAD]:
            _print(console, f"{INDENT}{one.position}  {one.reason}: {one_line(one.error)}")
        _more(plan.dead.total() - SHOWN_DEAD, console)


def _show_revenue(plan: Plan, console: Console) -> None:
    _print(
        console,
        f"\nseller_revenue would change on {len(plan.revenue):,} day{_s(len(plan.revenue))} by",
    )
    rows = [
        (
            printable(key.seller_id),
            key.day.isoformat(),
            key.currency,
            *(
                format_minor(amount, key.currency).split()[0]
                for amount in (
                    change.gross_minor,
                    change.refunds_minor,
                    change.chargebacks_minor,
                    change.net_minor,
                )
            ),
        )
        for key, change in sorted(plan.revenue.items())[:SHOWN_TOTALS]
    ]
    headings = ("seller", "day", "", "gross", "refunds", "chargebacks", "net")
    for line in _aligned(headings, rows, right=[3, 4, 5, 6]):
        _print(console, f"{INDENT}{line}")
    _more(len(plan.revenue) - SHOWN_TOTALS, console)


def show_outcome(outcome: Outcome, console: Console) -> None:
    """Print what was done."""
    dead = f"; {outcome.still_dead:,} are still dead" if outcome.still_dead else ""
    _print(console, f"\n{outcome.redriven:,} redriven, {outcome.rows:,} rows written{dead}")
    for line in outcome.refused[:SHOWN_DEAD]:
        _print(console, f"{INDENT}{one_line(line)}")
    _more(len(outcome.refused) - SHOWN_DEAD, console)


# -- lines


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _more(count: int, console: Console) -> None:
    if count > 0:
        _print(console, f"{INDENT}… and {count:,} more; --json lists them")


def _when(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds").removesuffix("+00:00")


def _aligned(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int] = ()
) -> list[str]:
    """Lines of a table; the columns in `right` are right-aligned."""
    table = [tuple(headings), *map(tuple, rows)]
    widths = [max(len(row[place]) for row in table) for place in range(len(headings))]
    return [
        "  ".join(
            cell.rjust(widths[place]) if place in right else cell.ljust(widths[place])
            for place, cell in enumerate(row)
        ).rstrip()
        for row in table
    ]


def _print(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)
