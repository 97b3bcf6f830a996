"""Commands: everything that one can ask the writer to record, in the imperative.

Each has an idempotency key, the time at which it happened in the world (aware), and the provider's
reference where there is one. Nothing is checked here; `writer.decide` refuses what is wrong.

- No `order_id` means every order of the payment that the command can concern.
- No `amount_minor` means all that is left; a part without `order_id` is spread over the orders in
  proportion to what each has left, by largest remainder.
- Sending the same command again under the same key changes nothing and gets the same answer.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from schemas.ids import PaymentId, payment_id
from schemas.lifecycle import Direction, EventType


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What all commands have."""

    event_type: ClassVar[EventType]
    direction: ClassVar[Direction] = Direction.IN

    idempotency_key: str
    occurred_at: datetime
    psp_reference: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderLine:
    """One order that a payment pays for; shares are parts of the amount, the rest the seller's."""

    order_id: str
    seller_id: str
    amount_minor: int
    commission_minor: int = 0
    logistics_fee_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePayment(Command):
    """Open a payment; its id is made from the key, so a second submit finds the first."""

    event_type = EventType.CREATED

    buyer_id: str
    currency: str
    psp: str
    method: str
    orders: tuple[OrderLine, ...]

    @property
    def payment_id(self) -> PaymentId:
        """The id that the key asks for."""
        return payment_id("payment", self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPayout(Command):
    """Take an amount out of a seller's payable balance in order to pay it out by `psp`."""

    event_type = EventType.REQUESTED
    direction = Direction.OUT

    seller_id: str
    currency: str
    amount_minor: int
    psp: str
    method: str

    @property
    def payment_id(self) -> PaymentId:
        """The id that the key asks for."""
        return payment_id("payout", self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Command):
    """A command about a payment or payout that exists."""

    payment_id: PaymentId


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderChange(Change):
    """A command about one order of a payment, or about all of them."""

    order_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AmountChange(OrderChange):
    """A command about an amount of one order, or spread over all of them."""

    amount_minor: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequireAction(OrderChange):
    """The buyer has to do something, such as 3-D Secure."""

    event_type = EventType.ACTION_REQUIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkProcessing(OrderChange):
    """The PSP works on it, as with a bank transfer under way."""

    event_type = EventType.PROCESSING


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUnknown(OrderChange):
    """We asked the PSP and do not know the outcome."""

    event_type = EventType.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize(OrderChange):
    """The buyer's bank holds the whole amount for us."""

    event_type = EventType.AUTHORIZED


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(OrderChange):
    """The charge failed for good."""

    event_type = EventType.FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(OrderChange):
    """The charge was given up before any capture."""

    event_type = EventType.CANCELLED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(OrderChange):
    """Time ran out, by the PSP's word."""

    event_type = EventType.EXPIRED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(AmountChange):
    """Money was taken from the buyer."""

    event_type = EventType.CAPTURED


@dataclass(frozen=True, slots=True, kw_only=True)
class Ship(OrderChange):
    """A parcel left."""

    event_type = EventType.SHIPPED


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliver(OrderChange):
    """The goods are with the buyer."""

    event_type = EventType.DELIVERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Release(AmountChange):
    """A share of the seller's matured: from pending to payable. The amount is the seller's."""

    event_type = EventType.RELEASED


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefund(AmountChange):
    """Money is to go back to the buyer; it is set aside until the outcome is known."""

    event_type = EventType.REFUND_REQUESTED

    refund_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRefund(AmountChange):
    """Money went back to the buyer.

    With the `refund_id` of an open request it settles that request (orders and amount are the
    request's, and an amount given must be equal); otherwise it is a refund made at the PSP.
    """

    event_type = EventType.REFUNDED

    refund_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRefund(Change):
    """A refund that was requested will not happen."""

    event_type = EventType.REFUND_FAILED

    refund_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDispute(AmountChange):
    """The buyer's bank disputes an amount; it is set aside until the bank decides."""

    event_type = EventType.DISPUTE_OPENED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WinDispute(OrderChange):
    """The bank decided for us: all that the open dispute set aside is free again."""

    event_type = EventType.DISPUTE_WON


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseDispute(OrderChange):
    """The bank decided for the buyer: all that the open dispute set aside is gone."""

    event_type = EventType.DISPUTE_LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutChange(Change):
    """A command about a payout."""

    direction = Direction.OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPayout(PayoutChange):
    """The provider has the payout."""

    event_type = EventType.SUBMITTED


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPayoutPaid(PayoutChange):
    """The provider paid the seller."""

    event_type = EventType.PAID


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPayout(PayoutChange):
    """The payout failed; the amount is payable again."""

    event_type = EventType.FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPayout(PayoutChange):
    """The seller's bank sent a paid payout back; the amount is payable again."""

    event_type = EventType.RETURNED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPayout(PayoutChange):
    """The payout was called off; the amount is payable again."""

    event_type = EventType.CANCELLED

    reason: str | None = None


AnyCommand = CreatePayment | RequestPayout | Change
"""Every command has a `payment_id`: given, or made from its key."""
