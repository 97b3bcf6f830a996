"""Creates the rows of pay-in events from the parts of the orders. Pure; rejects nothing."""

from collections.abc import Iterable

from schemas.effects import EFFECTS
from schemas.events import NewEvent
from schemas.lifecycle import Direction, EventType, next_state
from writer.commands import Change
from writer.parts import Part
from writer.rows import Place, details_texts, make_row
from writer.state import PaymentState
from writer.sums import shares_of, sums_after


def pay_in_rows(
    state: PaymentState,
    command: Change,
    parts: Iterable[Part],
    *,
    event_type: EventType | None = None,
    place: Place | None = None,
    settles: bool = False,
    **known: object,
) -> tuple[NewEvent, ...]:
    """Return one row for each part, in order.

    Without an event type or a place, they are the command's and the payment's. `settles`: the rows
    settle an earlier request. `known` are details that the command does not have.
    """
    # Nothing here can be rejected: a failing assertion is a bug.
    event_type = event_type or command.event_type
    effect = EFFECTS[Direction.IN][event_type]
    first_details, other_details = details_texts(command, effect.details, **known)
    rows: list[NewEvent] = []
    for seq, part in enumerate(parts, start=state.last_seq + 1):
        order, amount_minor, excess_minor, lost = part
        after = next_state(Direction.IN, order.state, event_type)
        assert after is not None, (order, event_type)
        shares = lost.shares if lost else shares_of(order, effect.move, amount_minor)
        sums = sums_after(
            order,
            effect,
            amount_minor,
            shares,
            excess_minor=excess_minor,
            available_minor=lost.available_minor if lost else 0,
            settles=settles,
        )
        row = make_row(
            state,
            command,
            seq=seq,
            order=order,
            after=after,
            amount_minor=amount_minor,
            shares=shares,
            sums=sums,
            details=other_details if rows else first_details,
            psp_reference=command.psp_reference,
            event_type=event_type,
            place=place,
        )
        rows.append(row)
    return tuple(rows)
