"""What answers contain, as models for the OpenAPI document; nothing is validated by them.

Answers are rendered by `service.render`; a test holds the two together.
"""

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.problems import PROBLEMS


class Shown(BaseModel):
    """Base of what is shown; more fields may appear at any time."""

    model_config = ConfigDict(extra="allow")


class NextAction(Shown):
    """What the buyer has to do."""

    type: Literal["redirect"]
    url: str


class Failure(Shown):
    """Why a payment failed."""

    code: str
    message: str
    retryable: bool


class OrderShown(Shown):
    """One order of a payment."""

    order_id: str
    seller_id: str
    status: str
    fulfilment: str
    dispute: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    reserved_minor: int
    released_minor: int


class Payment(Shown):
    """A payment and its orders."""

    id: str = Field(json_schema_extra={"format": "uuid"})
    status: str
    buyer_id: str
    currency: str
    amount_minor: int
    authorized_minor: int
    captured_minor: int
    refunded_minor: int
    method: str
    psp: str
    psp_reference: str | None
    capture: str
    flow: str | None
    next_action: NextAction | None
    failure: Failure | None
    metadata: dict[str, str]
    orders: list[OrderShown]
    created_at: datetime
    updated_at: datetime
    last_seq: int


class HistoryEvent(Shown):
    """One event of a payment."""

    seq: int
    type: str
    order_id: str
    status: str
    amount_minor: int
    currency: str
    psp_reference: str | None
    refund_id: str | None
    reason: str | None
    occurred_at: datetime
    recorded_at: datetime


class PaymentWithHistory(Payment):
    """A payment, and everything that happened to it."""

    history: list[HistoryEvent]


class RefundedOrder(Shown):
    """A refund's part of one order."""

    order_id: str
    amount_minor: int


class RefundShown(Shown):
    """A refund as it was requested."""

    refund_id: str
    payment_id: str
    status: Literal["pending", "succeeded", "failed"]
    currency: str
    amount_minor: int
    orders: list[RefundedOrder]
    created_at: datetime


class PaymentsPage(Shown):
    """A page of payments, newest first."""

    data: list[Payment]
    next_cursor: str | None


class Transaction(Shown):
    """A payment or a payout in one line."""

    tx_id: str
    direction: Literal["in", "out"]
    status: str
    currency: str
    amount_minor: int
    created_at: datetime
    updated_at: datetime


class TransactionsPage(Shown):
    """A page of a user's transactions, newest first."""

    data: list[Transaction]
    next_cursor: str | None


class BuyerOrder(Shown):
    """An order as its buyer sees it."""

    payment_id: str
    order_id: str
    seller_id: str
    status: str
    fulfilment: str
    dispute: str
    refund_state: Literal["none", "partial", "full"]
    currency: str
    amount_minor: int
    captured_minor: int
    refunded_minor: int
    updated_at: datetime


class BuyerOrdersPage(Shown):
    """A page of a buyer's orders; `as_of`: up to then it provably has everything."""

    buyer_id: str
    as_of: datetime | None
    data: list[BuyerOrder]
    next_cursor: str | None


class RevenueSums(Shown):
    """Sums of what a seller earned."""

    gross_minor: int
    refunds_minor: int
    chargebacks_minor: int
    commission_minor: int
    logistics_fee_minor: int
    net_minor: int
    capture_count: int
    refund_count: int
    chargeback_count: int


class RevenueDay(RevenueSums):
    """What a seller earned on one UTC day."""

    day: date


class RevenueInCurrency(RevenueSums):
    """What a seller earned in one currency."""

    currency: str
    days: list[RevenueDay]


class Revenue(Shown):
    """What a seller earned in a period; `as_of`: up to then it provably has everything."""

    seller_id: str
    as_of: datetime | None
    data: list[RevenueInCurrency]


class BalanceInCurrency(Shown):
    """What we owe a seller in one currency."""

    currency: str
    pending_minor: int
    available_minor: int
    in_payout_minor: int
    paid_out_minor: int


class Balance(Shown):
    """What we owe a seller; `as_of`: up to then it provably has everything."""

    seller_id: str
    as_of: datetime | None
    data: list[BalanceInCurrency]


class StatementBalance(Shown):
    """A seller's balances in one currency before and after a period."""

    currency: str
    opening_pending_minor: int
    opening_available_minor: int
    closing_pending_minor: int
    closing_available_minor: int


class StatementLine(Shown):
    """What one event did to a seller's balances."""

    day: date
    currency: str
    payment_id: str
    seq: int
    event_type: str
    pending_minor: int
    available_minor: int


class Statement(Shown):
    """A seller's statement; `as_of`: up to then it provably has everything."""

    seller_id: str
    as_of: datetime | None
    balances: list[StatementBalance]
    data: list[StatementLine]
    next_cursor: str | None


class IssuedKey(Shown):
    """A key to submit with; use it first before `expires_at`."""

    idempotency_key: str
    expires_at: datetime


class Init(Shown):
    """A payment of the older names."""

    tx_id: str
    idempotency_key: str
    status: str


class ScheduledPayout(Shown):
    """A payout that was asked for."""

    payout_id: str
    status: str


class Status(Shown):
    """Whether something works."""

    status: Literal["healthy", "unhealthy"]


class Nothing(Shown):
    """An empty object."""


class ProblemField(Shown):
    """One thing that is wrong with one field."""

    field: str
    code: str
    detail: str


class ProblemShown(Shown):
    """A problem, RFC 9457."""

    type: str = Field(json_schema_extra={"format": "uri-reference"})
    title: str
    status: int
    detail: str
    code: str = Field(json_schema_extra={"enum": list[Any](sorted(PROBLEMS))})
    field: str | None = Field(default=None, description="JSON pointer to what is wrong")
    errors: list[ProblemField] | None = None
    request_id: str


class Declined(ProblemShown):
    """The problem of a payment that was declined."""

    failure: Failure
    payment: Payment


class Conflict(ProblemShown):
    """The problem of a key that was used for another request."""

    differing_fields: list[str] | None = None


EXAMPLE_ID = "8f14e45f-ceea-5f67-9a2d-3c2b1a0f9e8d"
_MOMENT = "2026-05-31T12:00:00.123456Z"
PAYMENT_EXAMPLE: dict[str, Any] = {
    "id": EXAMPLE_ID, "status": "captured", "buyer_id": "b-3", "currency": "EUR",
    "amount_minor": 2500, "authorized_minor": 2500, "captured_minor": 2500, "refunded_minor": 0,
    "method": "card", "psp": "stripe", "psp_reference": "pi_3Q", "capture": "automatic",
    "flow": "direct", "next_action": None, "failure": None, "metadata": {},
    "orders": [
        {"order_id": "o-1", "seller_id": "s-7", "status": "captured", "fulfilment": "open",
         "dispute": "none", "amount_minor": 2500, "captured_minor": 2500, "refunded_minor": 0,
         "reserved_minor": 0, "released_minor": 0}
    ],
    "created_at": _MOMENT, "updated_at": _MOMENT, "last_seq": 2,
}  # fmt: skip
FAILURE_EXAMPLE = {
    "code": "insufficient_funds",
    "message": "the payment was declined; another payment in the same way may work later",
    "retryable": True,
}
