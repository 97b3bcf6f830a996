"""Payout handlers: money on its way to a seller. Pure."""

from schemas.details import NO_DETAILS
from schemas.effects import effect_of
from schemas.errors import Rejection
from schemas.events import NewEvent
from schemas.lifecycle import Direction, State, allowed_events, next_state
from schemas.rejections import RejectionCode
from writer.commands import Command, PayoutChange, RequestPayout
from writer.rows import details_texts, empty_state, make_row
from writer.state import NO_SHARES, OrderState, PaymentState
from writer.sums import NO_SUMS
from writer.validate import refusal


def request_payout(command: RequestPayout, available_minor: int) -> tuple[NewEvent, ...]:
    """Take the amount out of the seller's available balance, which must cover it."""
    if command.amount_minor > available_minor:
        raise above_balance(command, available_minor)
    # Nothing below this line can be refused.
    after = next_state(Direction.OUT, None, command.event_type)
    assert after is not None
    payout = OrderState(
        order_id=str(command.payment_id),
        seller_id=command.seller_id,
        state=after,
        amount_minor=command.amount_minor,
    )
    reference = command.psp_reference
    return (_row(empty_state(command), command, payout, after, NO_DETAILS, reference),)


def above_balance(command: RequestPayout, available_minor: int | None) -> Rejection:
    """Return the rejection of a payout above the balance (None: the balance is unknown)."""
    has = "less" if available_minor is None else str(available_minor)
    return refusal(
        RejectionCode.PAYOUT_ABOVE_BALANCE,
        "amount_minor",
        f"is {command.amount_minor}, but seller {command.seller_id} has {has} available "
        f"in {command.currency}",
    )


def change_payout(state: PaymentState, command: PayoutChange) -> tuple[NewEvent, ...]:
    """Record what happened to the payout; a reference, once known, stays with it."""
    (payout,) = state.orders.values()
    after = next_state(Direction.OUT, payout.state, command.event_type)
    if after is None:
        allowed = (
            ", ".join(allowed_events(Direction.OUT, payout.state))
            or "nothing: the payout is closed"
        )
        raise refusal(
            RejectionCode.ILLEGAL_TRANSITION,
            "command",
            f"{command.event_type} cannot happen to payout {state.payment_id}, "
            f"which is {payout.state.status}; possible: {allowed}",
        )
    # Nothing below this line can be refused.
    details, _ = details_texts(command, effect_of(command).details)
    reference = command.psp_reference or state.psp_reference
    return (_row(state, command, payout, after, details, reference),)


def _row(
    state: PaymentState,
    command: Command,
    payout: OrderState,
    after: State,
    details: str,
    psp_reference: str | None,
) -> NewEvent:
    sign = effect_of(command).available
    return make_row(
        state,
        command,
        seq=state.last_seq + 1,
        order=payout,
        after=after,
        amount_minor=payout.amount_minor,
        shares=NO_SHARES,
        sums=NO_SUMS._replace(available_delta_minor=sign * payout.amount_minor),
        details=details,
        psp_reference=psp_reference,
    )
