"""The only place where rows of `payments` are created. Pure."""

from datetime import UTC

from schemas.details import NO_DETAILS, Asked, details_text
from schemas.effects import effect_of
from schemas.events import SCHEMA_VERSION, NewEvent
from schemas.lifecycle import State
from writer.commands import Change, Command, CreatePayment, RequestPayout
from writer.state import OrderState, PaymentState, Shares
from writer.sums import Sums


def empty_state(command: CreatePayment | RequestPayout) -> PaymentState:
    """Return the state of a payment or payout that is about to be created: no orders yet."""
    return PaymentState(
        payment_id=command.payment_id,
        direction=command.direction,
        buyer_id=command.buyer_id if isinstance(command, CreatePayment) else None,
        currency=command.currency,
        psp=command.psp,
        method=command.method,
        psp_reference=None,
        last_seq=0,
        orders={},
        refunds={},
        answers={},
    )


def make_row(
    state: PaymentState,
    command: Command,
    *,
    seq: int,
    order: OrderState,
    after: State,
    amount_minor: int,
    shares: Shares,
    sums: Sums,
    details: str,
    psp_reference: str | None,
) -> NewEvent:
    """Return one event of one order; `after` and `sums` are the order's state after it."""
    return NewEvent(
        payment_id=state.payment_id,
        seq=seq,
        event_type=command.event_type,
        status=after.status,
        fulfilment=after.fulfilment,
        dispute=after.dispute,
        direction=state.direction,
        order_id=order.order_id,
        seller_id=order.seller_id,
        buyer_id=state.buyer_id,
        currency=state.currency,
        amount_minor=amount_minor,
        commission_minor=shares.commission_minor,
        logistics_fee_minor=shares.logistics_fee_minor,
        order_amount_minor=order.amount_minor,
        captured_minor=sums.captured_minor,
        refunded_minor=sums.refunded_minor,
        released_minor=sums.released_minor,
        reserved_minor=sums.reserved_minor,
        pending_minor=sums.pending_minor,
        available_delta_minor=sums.available_delta_minor,
        psp=state.psp,
        psp_reference=psp_reference,
        method=state.method,
        idempotency_key=command.idempotency_key,
        schema_version=SCHEMA_VERSION,
        details=details,
        # In UTC, because PostgreSQL does not read every offset that Python has.
        occurred_at=command.occurred_at.astimezone(UTC),
    )


def details_texts(command: Change) -> tuple[str, str]:
    """Return the details of a command's first row, with what was asked, and of the others."""
    model = effect_of(command).details
    facts = {
        name: value
        for name in model.model_fields
        if (value := getattr(command, name, None)) is not None
    }
    others = details_text(model(**facts)) if facts else NO_DETAILS
    order_id = getattr(command, "order_id", None)
    amount_minor = getattr(command, "amount_minor", None)
    if order_id is None and amount_minor is None:
        return others, others
    asked = Asked(order_id=order_id, amount_minor=amount_minor)
    return details_text(model(asked=asked, **facts)), others
