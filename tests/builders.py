"""Builders of commands and states for tests: everything has a default, say only what matters."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any, TypeVar

from schemas.events import NewEvent
from schemas.ids import PaymentId
from writer.commands import AnyCommand, Change, CreatePayment, OrderLine, RequestPayout
from writer.decide import decide
from writer.state import PaymentState, apply

NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
_numbers = count(1)

_Change = TypeVar("_Change", bound=Change)


def fresh_key() -> str:
    """An idempotency key that no other call gets in this process."""
    return f"key-{next(_numbers)}"


def line(
    order_id: str, amount_minor: int = 1000, commission_minor: int = 100, **fields: Any
) -> OrderLine:
    """An order of seller `seller-<order_id>`: 1000, of which 100 commission and 50 logistics."""
    defaults: dict[str, Any] = {"seller_id": f"seller-{order_id}", "logistics_fee_minor": 50}
    return OrderLine(
        order_id=order_id,
        amount_minor=amount_minor,
        commission_minor=commission_minor,
        **defaults | fields,
    )


def a_payment(*lines: OrderLine, **fields: Any) -> CreatePayment:
    """A payment of orders A (1000, the seller's 850) and B (500, all the seller's), or others."""
    default_lines = (line("A"), line("B", 500, 0, logistics_fee_minor=0))
    defaults: dict[str, Any] = {
        "idempotency_key": fresh_key(),
        "occurred_at": NOON,
        "buyer_id": "buyer-1",
        "currency": "EUR",
        "psp": "stripe",
        "method": "card",
        "orders": lines or default_lines,
    }
    return CreatePayment(**defaults | fields)


def a_payout(**fields: Any) -> RequestPayout:
    """A payout of 400 EUR cents to seller-A."""
    defaults: dict[str, Any] = {
        "idempotency_key": fresh_key(),
        "occurred_at": NOON,
        "seller_id": "seller-A",
        "currency": "EUR",
        "amount_minor": 400,
        "psp": "tipalti",
        "method": "bank_transfer",
    }
    return RequestPayout(**defaults | fields)


def change(command_type: type[_Change], payment_id: PaymentId, **fields: Any) -> _Change:
    """A command about a payment or payout that exists."""
    defaults: dict[str, Any] = {
        "idempotency_key": fresh_key(),
        "occurred_at": NOON,
        "payment_id": payment_id,
    }
    return command_type(**defaults | fields)


def rows_of(state: PaymentState | None, command: AnyCommand) -> tuple[NewEvent, ...]:
    """The rows of a command that must be accepted; a payout's balance is taken as ample."""
    decision = decide(state, command, available_minor=10**15)
    assert isinstance(decision, tuple), decision
    return decision


def with_rows(state: PaymentState, rows: Sequence[NewEvent]) -> PaymentState:
    """The state after rows that were decided on it."""
    return apply(state, rows)


Step = tuple[type[Change], dict[str, Any]]
"""A command without its payment, for tables."""


def do(command_type: type[Change], **fields: Any) -> Step:
    """A row's command: what it is and the fields that matter."""
    return command_type, fields


def state_after(commands: Iterable[AnyCommand]) -> PaymentState:
    """The state after commands that must all be accepted."""
    state: PaymentState | None = None
    for command in commands:
        state = apply(state, rows_of(state, command))
    assert state is not None
    return state
