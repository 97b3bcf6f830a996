"""The only place where rows of `payments` are created. Pure."""

from datetime import UTC
from typing import Any, NamedTuple

from schemas.details import NO_DETAILS, Asked, CreatedDetails, Details, details_text
from schemas.events import SCHEMA_VERSION, NewEvent
from schemas.lifecycle import EventType, State
from writer.commands import Change, Command, CreatePayment, RequestPayout
from writer.state import OrderState, PaymentState, Shares
from writer.sums import Sums


class Place(NamedTuple):
    """Where an event happened."""

    psp: str
    method: str


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
    event_type: EventType | None = None,
    place: Place | None = None,
) -> NewEvent:
    """Return one event of one order; `after` and `sums` are the order's state after it.

    Without an event type it is the command's, without a place it is the payment's.
    """
    psp, method = place or (state.psp, state.method)
    return NewEvent(
        payment_id=state.payment_id,
        seq=seq,
        event_type=event_type or command.event_type,
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
        authorized_minor=sums.authorized_minor,
        captured_minor=sums.captured_minor,
        refunded_minor=sums.refunded_minor,
        released_minor=sums.released_minor,
        reserved_minor=sums.reserved_minor,
        pending_minor=sums.pending_minor,
        available_delta_minor=sums.available_delta_minor,
        suspense_minor=sums.suspense_minor,
        psp=psp,
        psp_reference=psp_reference,
        method=method,
        idempotency_key=command.idempotency_key,
        schema_version=SCHEMA_VERSION,
        details=details,
        # In UTC, because PostgreSQL does not read every offset that Python has.
        occurred_at=command.occurred_at.astimezone(UTC),
    )


def details_texts(command: Change, model: type[Details], **known: object) -> tuple[str, str]:
    """Return the details of a command's first row, with what was asked, and of the others.

    `known` are facts of the model that the command does not have.
    """
    facts = _facts(command, model) | known
    others = details_text(model(**facts)) if facts else NO_DETAILS
    asked = {
        name: value
        for name in Asked.model_fields
        if (value := getattr(command, name, None)) is not None
    }
    if not asked:
        return others, others
    return details_text(model(asked=Asked(**asked), **facts)), others


def created_details(command: CreatePayment) -> str:
    """Return the details of a payment's first row."""
    facts = _facts(command, CreatedDetails)
    if (metadata := command.metadata) is not None:
        facts["metadata"] = dict(metadata)
    return details_text(CreatedDetails(**facts)) if facts else NO_DETAILS


def _facts(command: Command, model: type[Details]) -> dict[str, Any]:
    """Return the command's fields that the model has and that are given."""
    return {
        name: value
        for name in model.model_fields
        if (value := getattr(command, name, None)) is not None
    }
