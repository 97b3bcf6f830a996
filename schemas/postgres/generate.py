"""Writes the guards' migration from the lifecycle tables, the effects and the rules for rows.

Run `python -m schemas.postgres.generate` after a change of `schemas/lifecycle.py`,
`schemas/effects.py`, `row_rules.py` or `guards.sql.template`. Once a version with `GUARDS_FILE` is
released, raise its number first: applied migrations are not edited, and the file can be applied on
top of an older one.
"""

import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from schemas.effects import IN_EFFECTS, OUT_EFFECTS, Effect
from schemas.lifecycle import (
    CHARGE,
    DISPUTE,
    DISPUTE_EVENTS,
    FULFILMENT,
    FULFILMENT_EVENTS,
    PAYOUT,
    Direction,
    EventType,
    next_state,
)
from schemas.postgres.refusals import CONSTRAINTS, RefusalCode
from schemas.postgres.row_rules import (
    EVERY_ROW_RULES,
    FIRST_ROW_RULES,
    ROW,
    ROW_RULES,
    condition,
)

FOLDER = Path(__file__).parent
TEMPLATE_FILE = "guards.sql.template"
GUARDS_FILE = "0006_guards_per_partition.sql"

WHOLE_AMOUNT_EVENTS = (EventType.CREATED, EventType.AUTHORIZED)
"""Pay-in events that carry their order's whole amount (see `effects.AMOUNT_EVENTS`)."""

MAY_SETTLE = frozenset({EventType.REFUNDED})
"""Events that may free their own amount from `reserved_minor`, or leave it as it is."""

PLANNED = frozenset({EventType.CREATED})
TAKING = frozenset(event for event, effect in IN_EFFECTS.items() if effect.moves == "capture")
GIVING_BACK = frozenset(event for event, effect in IN_EFFECTS.items() if effect.moves == "reverse")

FIRST_EVENTS: Mapping[Direction, EventType] = {
    direction: next(iter(machine[None]))
    for direction, machine in ((Direction.IN, CHARGE), (Direction.OUT, PAYOUT))
}
"""The event that begins an order, and a payout."""

PAYOUT_LOCK_SEED = 0x7075727365720001
"""Sets the guard's advisory locks apart from those of others in the same database."""

_Word = TypeVar("_Word", bound=str | None)

_SIGNS: Mapping[int, str] = {+1: " + NEW.amount_minor", 0: "", -1: " - NEW.amount_minor"}

SUMS = ("captured", "refunded", "released", "reserved", "pending", "available_delta")
"""Running sums in the order of the table; the last one is of the event alone."""

FEW_ROWS = 32
"""Of a longer payment the rows above are in an index of their own; most payments have none."""

_SHARE = "(NEW.amount_minor - NEW.commission_minor - NEW.logistics_fee_minor)"
_FROM_PENDING = f"least(before.pending_minor, {_SHARE})"

_ORDER_ROWS = """public.@PARTITION@
                    WHERE payment_id = NEW.payment_id AND order_id = NEW.order_id
                        AND seq < NEW.seq"""
_LONG_ORDER_ROWS = f"""(
                        SELECT event_type, commission_minor, logistics_fee_minor
                            FROM {_ORDER_ROWS} AND seq <= {FEW_ROWS}
                        UNION ALL
                        SELECT event_type, commission_minor, logistics_fee_minor
                            FROM {_ORDER_ROWS} AND seq > {FEW_ROWS}
                    ) earlier"""
"""The order's earlier rows; those of long payments come from the index of their own."""

_MOVES: Mapping[str, tuple[str, str]] = {
    "": ("before.pending_minor", "0"),
    "capture": (f"before.pending_minor + {_SHARE}", "0"),
    "release": ("before.pending_minor - NEW.amount_minor", "NEW.amount_minor"),
    "reverse": (f"before.pending_minor - {_FROM_PENDING}", f"{_FROM_PENDING} - {_SHARE}"),
}
"""What moves -> `pending_minor` and `available_delta_minor` after it."""


def guards_sql() -> str:
    """The text of the guards' migration, whole."""
    text = (FOLDER / TEMPLATE_FILE).read_text(encoding="utf-8")
    parts = {
        "status_after": _status_after(),
        "fulfilment_after": _side_machine("fulfilment", FULFILMENT, FULFILMENT_EVENTS),
        "dispute_after": _side_machine("dispute", DISPUTE, DISPUTE_EVENTS),
        "whole_amount_events": _listed(WHOLE_AMOUNT_EVENTS),
        "sum_events": _listed(IN_EFFECTS),
        "sum_names": ", ".join(_quoted(f"{name}_minor") for name in SUMS),
        "happened_sums": _columns("happened."),
        "new_sums": _columns("NEW."),
        "same_sums": "\n            AND ".join(
            f"NEW.{name}_minor = {value}" for name, value in _sums_before().items()
        ),
        "sums_before": _array(_sums_before().values(), " " * 16),
        "in_effects": _in_effects(),
        "out_effects": _out_effects(),
        "shares": _shares(),
        "lock_seed": str(PAYOUT_LOCK_SEED),
        "few_rows": str(FEW_ROWS),
        "dropped_rules": ",\n".join(f"    DROP CONSTRAINT IF EXISTS {name}" for name in ROW_RULES),
        "broken_rules": _broken_rules(),
        "rules_of_every_row": condition(EVERY_ROW_RULES, "NEW.", " " * 8),
        "rules_of_first_rows": condition(FIRST_ROW_RULES, "NEW.", " " * 12),
    } | {code.name: code.value for code in RefusalCode}
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    assert "{{" not in text, "a placeholder without a value"
    return text


def _quoted(word: str) -> str:
    """A word of ours as an SQL literal; our words hold no quotes."""
    return f"'{word}'"


def _listed(events: Iterable[EventType]) -> str:
    """Literals in the order of `EventType`."""
    chosen = frozenset(events)
    return ", ".join(_quoted(event) for event in EventType if event in chosen)


def _lookup(table: Mapping[str, object], path: str) -> str:
    """A constant JSON object, a key a line, and the path of what is wanted in it.

    One function call however large the table: a CASE would be set up whole for each transaction.
    """
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in table.items())
    return f"'{{\n{lines}\n}}'::jsonb #>> ARRAY[{path}]"


def _status_after() -> str:
    table = {
        f"{direction} {before or ''}": row
        for direction, machine in ((Direction.IN, CHARGE), (Direction.OUT, PAYOUT))
        for before, row in machine.items()
        if row
    }
    return _lookup(table, "direction || ' ' || coalesce(status_before, ''), event_type")


def _side_machine(
    name: Literal["fulfilment", "dispute"],
    machine: Mapping[_Word, Mapping[EventType, StrEnum]],
    events: Iterable[EventType],
) -> str:
    """Fulfilment or dispute: the state after, which only `events` change."""
    start = {
        first: getattr(next_state(direction, None, first), name)
        for direction, first in FIRST_EVENTS.items()
    }
    kept = [event for event in EventType if event not in frozenset(events)]
    table = {"": start} | {
        str(before): dict.fromkeys(kept, before) | dict(row) for before, row in machine.items()
    }
    return _lookup(table, f"coalesce({name}_before, ''), event_type")


def _columns(row: str) -> str:
    """The running sums of a row, separated by commas."""
    return ", ".join(f"{row}{name}_minor" for name in SUMS)


def _sums_before() -> dict[str, str]:
    """Running sum -> its value after an event that changes none; zeros before an order's first."""
    values = {name: f"coalesce(before.{name}_minor, 0)" for name in SUMS[:-1]}
    return values | {SUMS[-1]: "0"}


def _array(values: Iterable[str], indent: str) -> str:
    """The inside of an array, a value a line."""
    return indent + f",\n{indent}".join(values)


def _in_effects() -> str:
    """Branches that set `expected` to the running sums after a pay-in event."""
    lines = []
    for event, effect in IN_EFFECTS.items():
        lines.append(f"            WHEN {_quoted(event)} THEN expected := ARRAY[")
        lines.append(_array(_in_sums(event, effect), " " * 16) + "];")
    return "\n".join(lines)


def _in_sums(event: EventType, effect: Effect) -> list[str]:
    sums = [
        f"before.{name}_minor{_SIGNS[getattr(effect, name)]}"
        for name in ("captured", "refunded", "released", "reserved")
    ]
    if event in MAY_SETTLE:  # a request; its reservation is freed then
        settled = "before.reserved_minor - NEW.amount_minor"
        sums[3] = f"CASE NEW.reserved_minor WHEN {settled} THEN {settled} ELSE {sums[3]} END"
    return [*sums, *_MOVES[effect.moves]]


def _out_effects() -> str:
    """Branches that set `expected` to the running sums after a payout's event."""
    lines = []
    before = list(_sums_before().values())[:-1]
    for event, effect in OUT_EFFECTS.items():
        change = {+1: "NEW.amount_minor", -1: "-NEW.amount_minor"}[effect.available]
        lines.append(f"            WHEN {_quoted(event)} THEN expected := ARRAY[")
        lines.append(_array([*before, change], " " * 16) + "];")
    lines.append("            ELSE expected := ARRAY[")  # changes no balance
    lines.append(_array([*before, "0"], " " * 16) + "];")
    return "\n".join(lines)


def _broken_rules() -> str:
    """Branches that name the rule that a row breaks, its field and what is expected."""
    lines = []
    for name, rule in ROW_RULES.items():
        field, problem = CONSTRAINTS[name]
        text = rule.replace(ROW, "happened.").replace("\n", "\n" + " " * 8)
        lines += [
            f"        WHEN ({text}) IS FALSE THEN",
            f"            broken := {_quoted(name)};",
            f"            field := {_quoted(field)};",
            f"            problem := {_quoted(problem)};",
        ]
    return "\n".join(lines)


def _shares() -> str:
    """Checks that an event's three parts are within what is left of the order's."""
    plan = _share_check(
        events=TAKING,
        source=PLANNED,
        condition="NEW.captured_minor <= NEW.order_amount_minor",
        left="NEW.order_amount_minor - before.captured_minor",
        code=RefusalCode.SHARE_ABOVE_PLAN,
    )
    taken = _share_check(
        events=GIVING_BACK,
        source=TAKING,
        condition="NEW.refunded_minor <= NEW.captured_minor",
        left="NEW.captured_minor - before.refunded_minor",
        code=RefusalCode.SHARE_ABOVE_TAKEN,
    )
    return f"{plan}\n{taken}"


def _share_check(
    *,
    events: frozenset[EventType],
    source: frozenset[EventType],
    condition: str,
    left: str,
    code: RefusalCode,
) -> str:
    """One check: what is left is the shares of `source` minus those of earlier `events`."""

    def left_of(column: str) -> str:
        return (
            f"coalesce(sum(CASE WHEN event_type IN ({_listed(source)}) THEN {column}\n"
            f"                    WHEN event_type IN ({_listed(events)}) THEN -{column} END), 0)"
        )

    def read(source: str) -> str:
        return f"""\
                SELECT {left_of("commission_minor")},
                        {left_of("logistics_fee_minor")}
                    INTO commission_left, logistics_left
                    FROM {source};"""

    return f"""\
        IF NEW.event_type IN ({_listed(events)}) AND {condition} THEN
            IF NEW.seq <= {FEW_ROWS} + 1 THEN
{read(_ORDER_ROWS)}
            ELSE
{read(_LONG_ORDER_ROWS)}
            END IF;
            IF NEW.commission_minor > commission_left OR NEW.logistics_fee_minor > logistics_left
                    OR {_SHARE}
                        > {left} - commission_left - logistics_left THEN
                PERFORM public.payments_refuse_share('{code}', NEW, {_SHARE},
                    {left}, commission_left, logistics_left);
            END IF;
        END IF;"""


def main() -> None:
    """Write the guards' migration."""
    (FOLDER / GUARDS_FILE).write_text(guards_sql(), encoding="utf-8")


if __name__ == "__main__":
    main()
