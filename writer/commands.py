"""Commands: all requests to the writer, in the imperative.

A command has an idempotency key, the time at which it happened (with a time zone), and the
provider's reference if there is one. Nothing is checked here; `writer.decide` rejects invalid
commands.

- Without `order_id`, a command applies to every order of the payment to which it can apply.
- Without `amount_minor`, it applies to all that is left. An amount without `order_id` is split over
  the orders in proportion to what each has left, by largest remainder.
- A `Request…` command is an intent: it is recorded before the PSP is asked, and open until its
  outcome is recorded. All other commands about the charge say what happened, whoever asked for it.
- Money that moved is recorded even if the order has no place for it; it is then in suspense.
- Sending the same command again under the same key changes nothing and returns the same answer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal

from schemas.details import CaptureMode, Flow
from schemas.ids import PaymentId, payment_id
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
class OrderLine:
    """One order of a payment; the shares are parts of the amount, the rest is the seller's."""

    order_id: str
    seller_id: str
    amount_minor: int
    commission_minor: int = 0
    logistics_fee_minor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePayment(Command):
    """Open a payment; its id is derived from the key, so a second submit finds the first.

    It is also the intent of the first attempt, at `psp`. The optional fields are what the caller
    asked for (`schemas.details.CreatedDetails`).
    """

    event_type = EventType.CREATED

    buyer_id: str
    currency: str
    psp: str
    method: str
    orders: tuple[OrderLine, ...]
    capture: CaptureMode | None = None
    flow: Flow | None = None
    payment_token: str | None = None
    return_url: str | None = None
    device_fingerprint: str | None = None
    metadata: Mapping[str, str] | None = None
    caller: str | None = None
    caller_key: str | None = None

    @property
    def payment_id(self) -> PaymentId:
        """The id that the key asks for."""
        return payment_id("payment", self.idempotency_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPayout(Command):
    """Take an amount out of a seller's available balance in order to pay it out through `psp`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Change):
    """The intent to charge at a PSP (again), for every order that is not over.

    From now on the payment's psp and method are these; without a method it stays. `evidence` is the
    code of what proves that the attempt before has no charge.
    """

    event_type = EventType.ATTEMPTED

    psp: str
    method: str | None = None
    payment_token: str | None = None
    evidence: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequireAction(OrderChange):
    """The buyer must act, for example with 3-D Secure, at `url` if there is one."""

    event_type = EventType.ACTION_REQUIRED

    url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkProcessing(OrderChange):
    """The PSP is processing the charge, for example a bank transfer."""

    event_type = EventType.PROCESSING


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkUnknown(OrderChange):
    """The PSP was asked and the outcome is unknown."""

    event_type = EventType.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorize(AmountChange):
    """The buyer's bank holds the amount, or a part of it, for us.

    Without an amount it is the whole. A part is split in proportion to the orders' amounts; an
    order whose part is zero stays as it is.
    """

    event_type = EventType.AUTHORIZED


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCapture(AmountChange):
    """The intent to capture what is authorized.

    `final`: nothing more of the payment is to be captured, and what is left goes back to the buyer.
    """

    event_type = EventType.CAPTURE_REQUESTED

    final: Literal[True] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailCapture(OrderChange):
    """A requested capture did not happen; the authorization stays."""

    event_type = EventType.CAPTURE_FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fail(OrderChange):
    """The charge failed for good."""

    event_type = EventType.FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestCancel(OrderChange):
    """The intent to cancel the charge before it is captured."""

    event_type = EventType.CANCEL_REQUESTED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailCancel(OrderChange):
    """A requested cancellation did not happen."""

    event_type = EventType.CANCEL_FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(OrderChange):
    """The charge was cancelled before any capture."""

    event_type = EventType.CANCELLED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expire(OrderChange):
    """The charge expired, as the PSP reported."""

    event_type = EventType.EXPIRED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(AmountChange):
    """Money was taken from the buyer, at `psp` if it is not the payment's current one.

    Money of an order that is over, or of another PSP, is a `stray_captured` event: it is in
    suspense until it is honoured or goes back. Without `order_id` it is for the orders that are not
    over; if all are, for all.
    """

    event_type = EventType.CAPTURED

    psp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Honour(OrderChange):
    """Take what is in suspense as the capture of an order that failed or expired.

    For each order that is at most the amount not yet captured, and what is in suspense at the
    payment's current PSP.
    """

    event_type = EventType.HONOURED


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
    """A seller's share matured and moves from pending to available. The amount is the seller's."""

    event_type = EventType.RELEASED


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRefund(AmountChange):
    """Money is to be refunded to the buyer; it is reserved until the outcome is known."""

    event_type = EventType.REFUND_REQUESTED

    refund_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordRefund(AmountChange):
    """Money was refunded to the buyer.

    With the `refund_id` of an open request it settles that request: orders and amount are the
    request's, and a given amount must be equal to it. Otherwise it records a refund made at the
    PSP. Of an order that is over, or at another PSP than the payment's, it is a `stray_refunded`
    event: what goes back was in suspense.
    """

    event_type = EventType.REFUNDED

    refund_id: str | None = None
    psp: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailRefund(Change):
    """A requested refund will not happen."""

    event_type = EventType.REFUND_FAILED

    refund_id: str
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDispute(AmountChange):
    """The buyer's bank disputes an amount, which the PSP takes from us until the bank decides.

    It is reserved as far as the order's money covers it. The rest is in suspense: a dispute is
    never refused for its amount.
    """

    event_type = EventType.DISPUTE_OPENED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WinDispute(OrderChange):
    """The bank decided for us: everything that the open dispute took comes back."""

    event_type = EventType.DISPUTE_WON


@dataclass(frozen=True, slots=True, kw_only=True)
class LoseDispute(OrderChange):
    """The bank decided for the buyer: everything that the open dispute took is lost."""

    event_type = EventType.DISPUTE_LOST


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutChange(Change):
    """A command about a payout."""

    direction = Direction.OUT


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitPayout(PayoutChange):
    """The provider accepted the payout."""

    event_type = EventType.SUBMITTED


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkPayoutPaid(PayoutChange):
    """The provider paid the seller."""

    event_type = EventType.PAID


@dataclass(frozen=True, slots=True, kw_only=True)
class FailPayout(PayoutChange):
    """The payout failed; the amount is available again."""

    event_type = EventType.FAILED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnPayout(PayoutChange):
    """The seller's bank returned a paid payout; the amount is available again."""

    event_type = EventType.RETURNED

    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelPayout(PayoutChange):
    """The payout was cancelled; the amount is available again."""

    event_type = EventType.CANCELLED

    reason: str | None = None


AnyCommand = CreatePayment | RequestPayout | Change
"""Every command has a `payment_id`, given or derived from its key."""
