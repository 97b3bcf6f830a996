"""Recognizes a repeated request: the fields of a command, and the same fields read from its rows.

A key that comes back with the same fields gets the first answer again. With other fields it is
rejected, and the rejection names them. No separate record is stored: rows contain almost all of
their request, and `details.asked` of the first row contains the rest. The time is not compared: a
client that retries has a later clock, and the first request determines when the event happened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields

from schemas.details import parse_details
from schemas.effects import INSTEAD_OF, effect_of
from schemas.events import NewEvent
from schemas.lifecycle import FIRST_EVENT, Direction
from writer.commands import AnyCommand, CreatePayment, OrderLine

Request = Mapping[str, object]
"""Field name -> value; `command` is the event type of the command."""

_NOT_ASKED = {"asked", "attempt"}
"""Details that are not fields of a command by themselves."""
_NOT_COMPARED = frozenset(
    {"idempotency_key", "occurred_at", "payment_id", "orders", "of_attempt", "is_stray"}
)
"""The last two say which state of the payment the command was made for."""
_CREATION_FIELDS: Mapping[Direction, tuple[str, ...]] = {
    Direction.IN: ("buyer_id", "currency", "psp", "method"),
    Direction.OUT: ("seller_id", "currency", "amount_minor", "psp", "method"),
}


def request_of_command(command: AnyCommand) -> Request:
    """Return the fields that identify a request, from its command."""
    request: dict[str, object] = {"command": command.event_type}
    for field in fields(command):
        if field.name not in _NOT_COMPARED:
            request[field.name] = getattr(command, field.name)
    if isinstance(command, CreatePayment):
        request |= _lines_request(command.orders)
    return request


def request_of_rows(rows: Sequence[NewEvent]) -> Request:
    """Return the same fields from the rows of one command, which share an idempotency key."""
    first = rows[0]
    request: dict[str, object] = {
        "command": INSTEAD_OF.get(first.event_type, first.event_type),
        "psp_reference": first.psp_reference,
    }
    details = parse_details(effect_of(first).details, first.details)
    request |= details.model_dump(exclude=_NOT_ASKED)
    if first.event_type == FIRST_EVENT[first.direction]:
        names = _CREATION_FIELDS[first.direction]
        request |= {name: getattr(first, name) for name in names}
        if first.direction is Direction.IN:
            request |= _lines_request([_line(row) for row in rows])
        return request
    if details.asked is not None:
        request |= details.asked.model_dump()
    return request


def differing_fields(command: AnyCommand, rows: Sequence[NewEvent]) -> tuple[str, ...]:
    """Return the fields in which `command` differs from the request that led to `rows`."""
    asked, answered = request_of_command(command), request_of_rows(rows)
    if asked["command"] != answered["command"]:
        return ("command",)
    names = [name for name in asked if asked[name] != answered.get(name)]
    names += [name for name in answered if name not in asked and answered[name] is not None]
    # A payout keeps its first reference, so a row may have one that the command did not give.
    if command.direction is Direction.OUT and command.psp_reference is None:
        names = [name for name in names if name != "psp_reference"]
    return tuple(names)


def _line(row: NewEvent) -> OrderLine:
    return OrderLine(
        order_id=row.order_id,
        seller_id=row.seller_id,
        amount_minor=row.amount_minor,
        commission_minor=row.commission_minor,
        logistics_fee_minor=row.logistics_fee_minor,
    )


def _lines_request(lines: Sequence[OrderLine]) -> Request:
    """Return every field of every line under a separate name, so that a difference has one."""
    request: dict[str, object] = {"orders": len(lines)}
    for index, line in enumerate(lines):
        for field in fields(line):
            request[f"orders[{index}].{field.name}"] = getattr(line, field.name)
    return request
