"""Recorded history: converts one line of a file to the rows of one payment. Pure.

Each line becomes the commands that would have been sent at the time. The same `decide` that serves
live traffic decides them one after the other. The stream has the order of the events in the line,
so their times must not go backwards. Times of live traffic may, because they come from other
clocks.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from schemas.effects import Claim, Move, effect_of
from schemas.errors import InputError, Rejection
from schemas.events import NewEvent
from schemas.history import HistoryEvent, HistoryPayment
from schemas.lifecycle import Direction
from writer import commands
from writer.commands import Change, CreatePayment, OrderLine
from writer.decide import HANDLERS, AlreadyDone, decide
from writer.importing.duplicates import duplicate_key, has_more_texts
from writer.state import PaymentState, Refund, apply

MAX_EVENTS_PER_PAYMENT = 10_000
_MAX_SHOWN = 40
_EMPTY = '""'

_COMMANDS: Mapping[str, type[Change]] = {
    command.event_type: command
    for command in HANDLERS
    if command.direction is Direction.IN and command is not commands.Attempt
}
"""Event type as written in a history -> its command. An attempt names a PSP, which no line does."""

_KNOWN = ", ".join(_COMMANDS)
_KEY = "history-"
"""Prefix of imported events' idempotency keys; their number in the line, from 1, follows."""
_KEY_OF_EVENT = re.compile(rf"{_KEY}\d+")

CREATION_FIELDS: Mapping[str, str] = {"occurred_at": "created_at"}
EVENT_FIELDS: Mapping[str, str] = {"occurred_at": "at", "command": "type", "event_type": "type"}
"""A command's field -> the file's field, where the names differ."""


def decide_line(line: bytes, *, psp: str) -> tuple[NewEvent, ...]:
    """Return the rows of the payment that one line records.

    Raises:
        InputError: names the field (`events[3].amount_minor`), what is wrong and what to do.
    """
    return decide_history(parse_line(line), psp=psp)


def parse_line(line: bytes) -> HistoryPayment:
    """Parse one line of the format.

    Raises:
        InputError: not JSON, or a field that is missing, unknown, of the wrong type, or there
            twice.
    """
    try:
        payment = HistoryPayment.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise InputError(_path(first["loc"]), _problem(first) + more) from None
    if has_more_texts(line, payment) and (path := duplicate_key(line)) is not None:
        raise InputError(path, "is there twice; write it once, with the value that is meant")
    return payment


def decide_history(payment: HistoryPayment, *, psp: str) -> tuple[NewEvent, ...]:
    """Return every row of the payment, decided event by event as live traffic is.

    Raises:
        InputError: names the field that breaks a rule, the rule, and what would be accepted.
    """
    if len(payment.events) > MAX_EVENTS_PER_PAYMENT:
        raise InputError("events", f"has over {MAX_EVENTS_PER_PAYMENT} events; split the payment")
    if _KEY_OF_EVENT.fullmatch(payment.idempotency_key):
        raise InputError(
            "idempotency_key", f"{_KEY}NUMBER is reserved for events of an import; use another key"
        )
    new = _decided(None, _creation(payment, psp), "")
    rows, state = list(new), apply(None, new)
    earlier_at, earlier_field = payment.created_at, "created_at"
    for index, event in enumerate(payment.events):
        where = f"events[{index}]."
        if event.at < earlier_at:
            raise InputError(
                f"{where}at", f"is before {earlier_field}; list events as they happened"
            )
        earlier_at, earlier_field = event.at, f"{where}at"
        new = _decided(state, _command(state, event, index), where)
        _check_said(state, event, new, where)
        state = apply(state, new)
        rows += new
    return tuple(rows)


def _decided(
    state: PaymentState | None, command: commands.AnyCommand, where: str
) -> tuple[NewEvent, ...]:
    match decide(state, command):
        case Rejection(field=field, problem=problem, code=code):
            names = CREATION_FIELDS if state is None else EVENT_FIELDS
            raise InputError(where + names.get(field, field), f"{problem} [{code}]")
        case AlreadyDone():
            raise AssertionError(f"a key was made twice: {command.idempotency_key}")
        case rows:
            return rows


def _creation(payment: HistoryPayment, psp: str) -> CreatePayment:
    return CreatePayment(
        idempotency_key=payment.idempotency_key,
        occurred_at=payment.created_at,
        buyer_id=payment.buyer_id,
        currency=payment.currency,
        psp=psp,
        method=payment.method,
        orders=tuple(
            OrderLine(
                order_id=order.order_id,
                seller_id=order.seller_id,
                amount_minor=order.amount_minor,
                commission_minor=order.commission_minor,
                logistics_fee_minor=order.logistics_fee_minor,
            )
            for order in payment.orders
        ),
    )


def _command(state: PaymentState, event: HistoryEvent, index: int) -> Change:
    """Return the command for event `index`, with a key that every import of the line repeats."""
    where = f"events[{index}]."
    if (command := _COMMANDS.get(event.type)) is None:
        raise InputError(
            f"{where}type", f"{_shown(event.type)} is not an event of a payment; known are {_KNOWN}"
        )
    arguments: dict[str, Any] = {}
    if event.order_id is not None and issubclass(command, commands.OrderChange):
        arguments["order_id"] = event.order_id
    if event.amount_minor is not None and issubclass(command, commands.AmountChange):
        arguments["amount_minor"] = event.amount_minor
    if (claim := effect_of(command).refund) is not Claim.NONE:
        arguments["refund_id"] = event.refund_id or _refund_id(state, event, index, claim)
    elif command is commands.ReturnRefund:
        arguments["refund_id"] = event.refund_id
    elif event.refund_id is not None:
        raise InputError(f"{where}refund_id", f"has no meaning for {event.type}; leave it out")
    return command(
        payment_id=state.payment_id,
        idempotency_key=f"{_KEY}{index + 1}",
        occurred_at=event.at,
        **arguments,
    )


def event_index(row: NewEvent) -> int:
    """Return the index, from 0, of the line's event that led to this imported row."""
    return int(row.idempotency_key.removeprefix(_KEY)) - 1


def _refund_id(state: PaymentState, event: HistoryEvent, index: int, claim: Claim) -> str | None:
    """Return the id of a refund that the line does not name; None for one made at the PSP."""
    if claim is Claim.OPENS:
        return f"refund-{index + 1}"
    for refund_id, refund in state.refunds.items():
        if refund.is_open and _is_about(event, refund):
            return refund_id
    if claim is Claim.ENDS:
        raise InputError(
            f"events[{index}].type", f"{event.type} has no open refund_requested that it fits"
        )
    return None


def _is_about(event: HistoryEvent, refund: Refund) -> bool:
    if event.order_id is not None and [*refund.amounts] != [event.order_id]:
        return False
    return event.amount_minor in (None, sum(refund.amounts.values()))


def _check_said(
    state: PaymentState, event: HistoryEvent, rows: Sequence[NewEvent], where: str
) -> None:
    """Check that the line's amount and order are right, even where the rules left no choice."""
    amount_minor = sum(_moved(state, row) for row in rows)
    if event.amount_minor not in (None, amount_minor):
        raise InputError(
            f"{where}amount_minor",
            f"is {event.amount_minor}, but this {event.type} is about {amount_minor}; "
            "correct it or leave it out",
        )
    if event.order_id is not None and any(row.order_id != event.order_id for row in rows):
        raise InputError(f"{where}order_id", f"is not the order that this {event.type} is about")


def _moved(state: PaymentState, row: NewEvent) -> int:
    """Return what an event is about, in the words of a line: a dispute's amount is all it took."""
    effect = effect_of(row)
    if effect.move is Move.RESTORE:
        return row.amount_minor + row.suspense_minor
    match effect.dispute:
        case Claim.OPENS:
            return row.amount_minor - row.suspense_minor
        case Claim.ENDS:
            order = state.orders[row.order_id]
            return order.disputed_minor - order.disputed_suspense_minor
        case _:
            return row.amount_minor


# -- what was wrong, in the words of the file ---------------------------------------------------

_PROBLEMS: Mapping[str, str] = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of the format; see `purser import --help`",
    "int_type": "must be a whole number of minor units, without quotes, point or exponent",
    "string_type": "must be text in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be an object in braces",
}
_VALUE_SHOWN = frozenset({"int_type", "string_type", "tuple_type", "value_error"})


def _problem(error: ErrorDetails) -> str:
    """Describe one of Pydantic's errors in one line."""
    kind = error["type"]
    if kind == "json_invalid":
        return f"is not JSON ({error['ctx']['error']}); write one object on one line"
    problem = _PROBLEMS.get(kind, error["msg"].removeprefix("Value error, "))
    return f"{_shown(error['input'])} {problem}" if kind in _VALUE_SHOWN else problem


def _path(location: tuple[int | str, ...]) -> str:
    """Convert `("events", 3, "at")` to `events[3].at`; the whole line is `line`."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part[:_MAX_SHOWN] or _EMPTY}"
    return path.removeprefix(".") or "line"


def _shown(value: object) -> str:
    """Format a value for a message: short, on one line, printable."""
    text = ascii(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
