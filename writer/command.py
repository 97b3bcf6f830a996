"""What every command has, and what commands about an existing payment or payout have. Pure.

`writer.commands` lists the commands themselves.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from schemas.ids import PaymentId
from schemas.lifecycle import Direction, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Fields of all commands."""

    event_type: ClassVar[EventType]
    direction: ClassVar[Direction] = Direction.IN

    idempotency_key: str
    occurred_at: datetime
    psp_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Command):
    """A command about an existing payment or payout."""

    payment_id: PaymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange(Change):
    """A command about one order of a payment, or about all of them.

    `of_attempt`: the number of the attempt that it speaks of. It is refused if that is not the
    latest: what a processor says about an attempt is not said about the next one.
    """

    order_id: str | None = None
    of_attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountChange(OrderChange):
    """A command about an amount of one order, or one split over all of them."""

    amount_minor: int | None = None
