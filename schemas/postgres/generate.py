"""Writes the guards' migration from the lifecycle tables and the table of effects.

Run `python -m schemas.postgres.generate` after a change of `schemas/lifecycle.py`,
`schemas/effects.py` or `guards.sql.template`. Once a version with `GUARDS_FILE` is released, raise
its number first: applied migrations are not edited, and the file can be applied on top of an
older one.
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from schemas.effects import AMOUNT_EVENTS, IN_EFFECTS, OUT_EFFECTS, SHARE_EVENTS, Effect
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
from schemas.postgres.refusals import RefusalCode

FOLDER = Path(__file__).parent
TEMPLATE_FILE = "guards.sql.template"
GUARDS_FILE = "0004_guards.sql"

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

_SIGNS: Mapping[int, str] = {+1: "", -1: "-"}

_MOVES: Mapping[str, tuple[str, ...]] = {
    "": (),
    "capture": ("pending := pending + seller_share;",),
    "release": (
        "pending := pending - NEW.amount_minor;",
        "available := NEW.amount_minor;",
    ),
    "reverse": (
        "from_pending := least(pending, seller_share);",
        "pending := pending - from_pending;",
        "available := from_pending - seller_share;",
    ),
}


def guards_sql() -> str:
    """The text of the guards' migration, whole."""
    text = (FOLDER / TEMPLATE_FILE).read_text(encoding="utf-8")
    parts = {
        "status_after": _status_after(),
        "fulfilment_after": _side_machine("fulfilment", FULFILMENT, FULFILMENT_EVENTS),
        "dispute_after": _side_machine("dispute", DISPUTE, DISPUTE_EVENTS),
        "amount_events": _wrapped(AMOUNT_EVENTS, " " * 16),
        "share_events": _listed(SHARE_EVENTS),
        "whole_amount_events": _listed(WHOLE_AMOUNT_EVENTS),
        "effects": _effects(),
        "shares": _shares(),
        "lock_seed": str(PAYOUT_LOCK_SEED),
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


def _wrapped(events: Iterable[EventType], indent: str) -> str:
    """Literals in the order of `EventType`, five a line."""
    words = _listed(events).split(", ")
    lines = (", ".join(words[start : start + 5]) for start in range(0, len(words), 5))
    return f",\n{indent}".join(lines)


def _case(subject: str, branches: Mapping[_Word, str], indent: str) -> str:
    """`CASE subject WHEN key THEN value ... END`, a branch a line; NULL for any other subject."""
    lines = [
        f"{indent}    WHEN {_quoted(str(key or ''))} THEN {value}"
        for key, value in branches.items()
    ]
    return "\n".join([f"CASE {subject}", *lines, f"{indent}END"])


def _machine(
    subject: str, machine: Mapping[_Word, Mapping[EventType, StrEnum]], indent: str
) -> str:
    """A lifecycle table as nested CASE expressions: state before, then event."""
    rows = {
        before: _case(
            "event_type",
            {event: _quoted(after) for event, after in row.items()},
            indent + " " * 4,
        )
        for before, row in machine.items()
        if row
    }
    return _case(subject, rows, indent)


def _status_after() -> str:
    before = "coalesce(status_before, '')"
    charge = _machine(before, CHARGE, " " * 4)
    payout = _machine(before, PAYOUT, " " * 4)
    return _case("direction", {Direction.IN: charge, Direction.OUT: payout}, "")


def _side_machine(
    name: Literal["fulfilment", "dispute"],
    machine: Mapping[_Word, Mapping[EventType, StrEnum]],
    events: Iterable[EventType],
) -> str:
    """Fulfilment or dispute: the state after, which only `events` change."""
    start = {
        direction: _quoted(getattr(next_state(direction, None, first), name))
        for direction, first in FIRST_EVENTS.items()
    }
    return "\n".join(
        [
            "CASE",
            f"    WHEN {name}_before IS NULL THEN {_case('direction', start, ' ' * 4)}",
            f"    WHEN event_type IN ({_listed(events)}) THEN",
            f"        {_machine(f'{name}_before', machine, ' ' * 8)}",
            f"    ELSE {name}_before",
            "END",
        ]
    )


def _effects() -> str:
    """Statements that bring the sums before the event to the sums after it."""
    lines = ["IF NEW.direction = 'in' THEN", "    CASE NEW.event_type"]
    for event, effect in IN_EFFECTS.items():
        lines += [f"        WHEN {_quoted(event)} THEN", *_in_effect(event, effect, " " * 12)]
    lines += ["        ELSE NULL;  -- changes no sum", "    END CASE;", "ELSE"]
    lines += ["    CASE NEW.event_type"]
    for event, effect in OUT_EFFECTS.items():
        change = f"available := {_SIGNS[effect.available]}NEW.amount_minor;"
        lines.append(f"        WHEN {_quoted(event)} THEN {change}")
    lines += ["        ELSE NULL;  -- changes no balance", "    END CASE;", "END IF;"]
    return "\n".join(" " * 4 + line for line in lines)


def _in_effect(event: EventType, effect: Effect, indent: str) -> list[str]:
    lines = []
    for name in ("captured", "refunded", "released", "reserved"):
        if sign := getattr(effect, name):
            lines.append(f"{name} := {name} {_SIGNS[sign] or '+'} NEW.amount_minor;")
    if event in MAY_SETTLE:
        lines += [
            "IF NEW.reserved_minor = reserved - NEW.amount_minor THEN  -- settles a request",
            "    reserved := NEW.reserved_minor;",
            "END IF;",
        ]
    lines += _MOVES[effect.moves]
    return [indent + line for line in lines]


def _shares() -> str:
    """Checks that an event's three parts are within what is left of the order's."""
    plan = _share_check(
        events=TAKING,
        source=PLANNED,
        condition="captured <= order_amount",
        left="order_amount - before.captured_minor",
        code=RefusalCode.SHARE_ABOVE_PLAN,
    )
    taken = _share_check(
        events=GIVING_BACK,
        source=TAKING,
        condition="refunded <= captured",
        left="captured - before.refunded_minor",
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

    return f"""\
    IF NEW.event_type IN ({_listed(events)}) AND {condition} THEN
        amount_left := {left};
        SELECT {left_of("commission_minor")},
                {left_of("logistics_fee_minor")}
            INTO commission_left, logistics_left
            FROM public.payments
            WHERE payment_id = NEW.payment_id AND order_id = NEW.order_id AND seq < NEW.seq;
        IF NEW.commission_minor > commission_left OR NEW.logistics_fee_minor > logistics_left
                OR seller_share > amount_left - commission_left - logistics_left THEN
            PERFORM public.payments_refuse_share('{code}', NEW, seller_share,
                amount_left, commission_left, logistics_left);
        END IF;
    END IF;"""


def main() -> None:
    """Write the guards' migration."""
    (FOLDER / GUARDS_FILE).write_text(guards_sql(), encoding="utf-8")


if __name__ == "__main__":
    main()
