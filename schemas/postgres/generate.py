"""Writes the guards' migration from the lifecycle, the effects and the rules for rows.

Run `python -m schemas.postgres.generate` after a change of `schemas/lifecycle.py`,
`schemas/effects.py`, `row_rules.py` or `guards.sql.template`. After a version with `GUARDS_FILE` is
released, increase its number first: applied migrations must not be edited, and the file can be
applied on top of an older one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Literal, TypeVar

from schemas.effects import (
    EFFECTS,
    PLACE_EVENTS,
    STRAY_EVENTS,
    Amount,
    Authorization,
    Claim,
    Effect,
    Move,
    Suspense,
    event_types,
)
from schemas.lifecycle import (
    DISPUTE,
    DISPUTE_EVENTS,
    FIRST_EVENT,
    FULFILMENT,
    FULFILMENT_EVENTS,
    STATUS_MACHINES,
    Direction,
    EventType,
    next_state,
)
from schemas.money import MAX_AMOUNT_MINOR
from schemas.postgres.guard_codes import GuardCode
from schemas.postgres.guard_shares import FEW_ROWS, SHARE, shares_checks
from schemas.postgres.row_rules import PLACE_RULES, ROW, ROW_RULES, RowRule, all_of
from schemas.runtime import entry_point
from schemas.sql_words import quoted

FOLDER = Path(__file__).parent
TEMPLATE_FILE = "guards.sql.template"
GUARDS_FILE = "0002_guards.sql"

PAYOUT_LOCK_SEED = 0x7075727365720001
"""Distinguishes the guard's advisory locks from others in the same database."""

_Word = TypeVar("_Word", bound=str | None)

_SIGNS: Mapping[int, str] = {+1: " + NEW.amount_minor", 0: "", -1: " - NEW.amount_minor"}

EVENT_SUMS = ("available_delta", "suspense")
SUMS = ("authorized", "captured", "refunded", "released", "reserved", "pending", *EVENT_SUMS)
"""Running sums in the order of the table; the last ones belong to the event alone."""

_FROM_PENDING = f"least(before.pending_minor, {SHARE})"

_UNMOVED = ("before.pending_minor", "0")
_GIVEN_BACK = (f"before.pending_minor - {_FROM_PENDING}", f"{_FROM_PENDING} - {SHARE}")
_MOVES: Mapping[Move, tuple[str, str]] = {
    Move.NONE: _UNMOVED,
    Move.PLAN: _UNMOVED,
    Move.CAPTURE: (f"before.pending_minor + {SHARE}", "0"),
    Move.RELEASE: ("before.pending_minor - NEW.amount_minor", "NEW.amount_minor"),
    Move.REVERSE: _GIVEN_BACK,
    Move.DISPUTE: _UNMOVED,
    Move.UNDISPUTE: _UNMOVED,
    Move.CHARGE_BACK: _GIVEN_BACK,
    # Compared with what the loss took from the available balance, by `payments_check_past`.
    Move.RESTORE: (
        f"before.pending_minor + {SHARE} - NEW.available_delta_minor",
        "NEW.available_delta_minor",
    ),
}
"""Move -> `pending_minor` and `available_delta_minor` after it."""

_AUTHORIZATIONS: Mapping[Authorization, str] = {
    Authorization.NONE: "before.authorized_minor",
    Authorization.SETS: "NEW.amount_minor",
    Authorization.ENDS: "0",
}
"""Authorization -> `authorized_minor` after it."""

_SUSPENSE: Mapping[Suspense, str] = {
    Suspense.NONE: "0",
    Suspense.IN: "NEW.amount_minor",
    Suspense.OUT: "-NEW.amount_minor",
    Suspense.RETURNED: "NEW.amount_minor",
    Suspense.TAKEN: "-NEW.amount_minor",
    Suspense.GIVEN_BACK: "NEW.amount_minor",
    # A dispute takes from suspense only what is beyond all that the order has.
    Suspense.EXCESS: f"""\
CASE WHEN NEW.amount_minor
                        = before.captured_minor - before.refunded_minor - before.reserved_minor
                    THEN greatest(least(NEW.suspense_minor, 0), -{MAX_AMOUNT_MINOR}) ELSE 0 END""",
    # Compared with what the dispute took, by `payments_check_past`.
    Suspense.RETURN: "greatest(NEW.suspense_minor, 0)",
}
"""Suspense -> `suspense_minor` of the event."""


def _looks_back(effect: Effect) -> bool:
    """Whether more than the order's row before decides if the event is legal: this is rare."""
    requests = {effect.capture_request, effect.cancel_request}
    return (
        not requests <= {Claim.NONE, Claim.MAY_END}
        or effect.dispute is Claim.ENDS
        or effect.move is Move.RESTORE
        or effect.suspense in (Suspense.RETURNED, Suspense.GIVEN_BACK)
        or _honours(effect)
    )


def _rarity(effect: Effect) -> int:
    if _looks_back(effect) or effect.suspense is not Suspense.NONE:
        return 2
    return int(effect.authorization is not Authorization.NONE)


def _honours(effect: Effect) -> bool:
    return effect.suspense is Suspense.OUT and effect.move is Move.CAPTURE


_SUM_EVENTS = event_types(lambda effect: not effect.keeps_sums or _looks_back(effect), Direction.IN)
"""Events whose sums are not simply those before; the checks of the rare ones cost others nothing.
"""
_WHOLE_AMOUNT_EVENTS = event_types(lambda effect: effect.amount is Amount.WHOLE, Direction.IN)
_BALANCE_EVENTS = event_types(lambda effect: effect.draws_on_balance, Direction.OUT)


def guards_sql() -> str:
    """Return the whole text of the guards' migration."""
    text = (FOLDER / TEMPLATE_FILE).read_text(encoding="utf-8")
    parts = {
        "status_after": _status_after(),
        "fulfilment_after": _side_machine("fulfilment", FULFILMENT, FULFILMENT_EVENTS),
        "dispute_after": _side_machine("dispute", DISPUTE, DISPUTE_EVENTS),
        "first_event": quoted([FIRST_EVENT[Direction.IN]]),
        "whole_amount_events": quoted(_WHOLE_AMOUNT_EVENTS),
        "sum_events": quoted(_SUM_EVENTS),
        "balance_events": quoted(_BALANCE_EVENTS),
        "sum_names": quoted(f"{name}_minor" for name in SUMS),
        "happened_sums": _columns("happened."),
        "new_sums": _columns("NEW."),
        "same_sums": "\n            AND ".join(
            f"NEW.{name}_minor = {value}" for name, value in _sums_before().items()
        ),
        "sums_before": _array(_sums_before().values(), " " * 16),
        "in_effects": _in_effects(),
        "out_effects": _out_effects(),
        "shares": shares_checks(),
        "lock_seed": str(PAYOUT_LOCK_SEED),
        "few_rows": str(FEW_ROWS),
        "broken_rules": _broken_rules(),
        "strays": quoted(STRAY_EVENTS),
        "place_events": quoted(PLACE_EVENTS),
        "rules_of_places": all_of((ROW_RULES[name] for name in PLACE_RULES), "happened.", " " * 12),
        "few_order_rows": _earlier_rows(f"seq <= {FEW_ROWS}"),
        "many_order_rows": _earlier_rows(f"seq > {FEW_ROWS}"),
        **_past_events(),
        "rules_of_every_row": all_of(_rules(first_only=False), "NEW.", " " * 8),
        "rules_of_first_rows": all_of(_rules(first_only=True), "NEW.", " " * 12),
    } | {code.name: code.value for code in GuardCode}
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    assert "{{" not in text, "a placeholder without a value"
    return text


def _earlier_rows(condition: str) -> str:
    return f"""\
            SELECT seq, event_type, psp, psp_reference, amount_minor, suspense_minor
                FROM public.payments
                WHERE payment_id = happened.payment_id AND order_id = happened.order_id
                    AND seq < happened.seq AND {condition}"""


def _past_events() -> dict[str, str]:
    """Return the lists of events by which `payments_check_past` judges."""

    def listed(is_meant: Callable[[Effect], bool]) -> str:
        return quoted(event_types(is_meant, Direction.IN))

    barring = (Claim.OPENS, Claim.EXCLUDES)
    ending = (Claim.ENDS, Claim.MAY_END)
    return {
        "capture_opens": listed(lambda effect: effect.capture_request is Claim.OPENS),
        "capture_closes": listed(lambda effect: effect.capture_request in ending),
        "capture_bars": listed(lambda effect: effect.capture_request in barring),
        "capture_fails": listed(lambda effect: effect.capture_request is Claim.ENDS),
        "cancel_opens": listed(lambda effect: effect.cancel_request is Claim.OPENS),
        "cancel_closes": listed(lambda effect: effect.cancel_request in ending),
        "cancel_bars": listed(lambda effect: effect.cancel_request in barring),
        "cancel_fails": listed(lambda effect: effect.cancel_request is Claim.ENDS),
        "dispute_opens": listed(lambda effect: effect.dispute is Claim.OPENS),
        "dispute_ends": listed(lambda effect: effect.dispute is Claim.ENDS),
        "dispute_returns": listed(
            lambda effect: effect.dispute is Claim.ENDS and effect.suspense is Suspense.RETURN
        ),
        "dispute_loses": listed(lambda effect: effect.move is Move.CHARGE_BACK),
        "dispute_reverses": listed(lambda effect: effect.move is Move.RESTORE),
        "refunds": listed(
            lambda effect: (
                effect.move is Move.REVERSE
                or (effect.move is Move.NONE and effect.suspense is Suspense.OUT)
            )
        ),
        "refund_returns": listed(lambda effect: effect.suspense is Suspense.RETURNED),
        "stray_disputes": listed(lambda effect: effect.suspense is Suspense.TAKEN),
        "stray_wins": listed(lambda effect: effect.suspense is Suspense.GIVEN_BACK),
        "honours": listed(_honours),
    }


def _lookup(table: Mapping[str, object], path: str) -> str:
    """Return a lookup by a path in a constant JSON object, written with one key per line.

    It is one function call, however large the table is. PostgreSQL would initialize all of a CASE
    for each transaction.
    """
    lines = ",\n".join(f"    {json.dumps(key)}: {json.dumps(row)}" for key, row in table.items())
    return f"'{{\n{lines}\n}}'::jsonb #>> ARRAY[{path}]"


def _status_after() -> str:
    table = {
        f"{direction} {before or ''}": row
        for direction, machine in STATUS_MACHINES.items()
        for before, row in machine.items()
        if row
    }
    return _lookup(table, "direction || ' ' || coalesce(status_before, ''), event_type")


def _side_machine(
    name: Literal["fulfilment", "dispute"],
    machine: Mapping[_Word, Mapping[EventType, StrEnum]],
    events: Iterable[EventType],
) -> str:
    """Return the lookup of fulfilment or dispute after an event; only `events` change it."""
    start = {
        first: getattr(next_state(direction, None, first), name)
        for direction, first in FIRST_EVENT.items()
    }
    kept = [event for event in EventType if event not in frozenset(events)]
    table = {"": start} | {
        str(before): dict.fromkeys(kept, before) | dict(row) for before, row in machine.items()
    }
    return _lookup(table, f"coalesce({name}_before, ''), event_type")


def _columns(row: str) -> str:
    """Return the running sums of a row, separated by commas."""
    return ", ".join(f"{row}{name}_minor" for name in SUMS)


def _sums_before() -> dict[str, str]:
    """Return each running sum's value after an event that changes none; 0 for a first event."""
    values = {name: f"coalesce(before.{name}_minor, 0)" for name in SUMS}
    return values | dict.fromkeys(EVENT_SUMS, "0")


def _array(values: Iterable[str], indent: str) -> str:
    """Return the elements of an array, one per line."""
    return indent + f",\n{indent}".join(values)


def _in_effects() -> str:
    """Return branches that set `expected` to the running sums after a pay-in event."""
    lines = []
    # The branches are tried one by one, so the frequent ones come first.
    for event in sorted(_SUM_EVENTS, key=lambda event: _rarity(EFFECTS[Direction.IN][event])):
        effect = EFFECTS[Direction.IN][event]
        lines.append(f"            WHEN '{event}' THEN expected := ARRAY[")
        lines.append(_array(_in_sums(effect), " " * 16) + "];")
        if _looks_back(effect):
            lines.append("                PERFORM public.payments_check_past(NEW, before);")
    return "\n".join(lines)


def _in_sums(effect: Effect) -> list[str]:
    sums = [
        f"before.{name}_minor{_SIGNS[getattr(effect, name)]}"
        for name in ("captured", "refunded", "released", "reserved")
    ]
    if effect.may_settle:  # the amount that the earlier request reserved is then free again
        settled = "before.reserved_minor - NEW.amount_minor"
        sums[3] = f"CASE NEW.reserved_minor WHEN {settled} THEN {settled} ELSE {sums[3]} END"
    authorized = _AUTHORIZATIONS[effect.authorization]
    return [authorized, *sums, *_MOVES[effect.move], _SUSPENSE[effect.suspense]]


def _out_effects() -> str:
    """Return branches that set `expected` to the running sums after a payout's event."""
    lines = []
    values = _sums_before()
    for event in event_types(lambda effect: effect.available != 0, Direction.OUT):
        available = EFFECTS[Direction.OUT][event].available
        change = {+1: "NEW.amount_minor", -1: "-NEW.amount_minor"}[available]
        lines.append(f"            WHEN '{event}' THEN expected := ARRAY[")
        lines.append(_array((values | {"available_delta": change}).values(), " " * 16) + "];")
    lines.append("            ELSE expected := ARRAY[")  # changes no balance
    lines.append(_array(values.values(), " " * 16) + "];")
    return "\n".join(lines)


def _rules(*, first_only: bool) -> list[RowRule]:
    return [rule for rule in ROW_RULES.values() if rule.first_only is first_only]


def _broken_rules() -> str:
    """Return branches that set the broken rule's name, its field and what is expected."""
    lines = []
    for name, rule in sorted(ROW_RULES.items()):
        text = rule.condition.replace(ROW, "happened.").replace("\n", "\n" + " " * 8)
        lines += [
            f"        WHEN ({text}) IS FALSE THEN",
            f"            broken := '{name}';",
            f"            field := '{rule.column}';",
            f"            problem := '{rule.expected}';",
        ]
    return "\n".join(lines)


@entry_point
def main() -> None:
    """Write the guards' migration."""
    (FOLDER / GUARDS_FILE).write_text(guards_sql(), encoding="utf-8")


if __name__ == "__main__":
    main()
