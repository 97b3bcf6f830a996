"""The format of recorded history: one JSON object per line, one payment each.

Only shapes and types are checked here, strictly: no float or bool passes as an amount, no number as
a time, and unknown fields are errors. The rules of live traffic decide the rest. `refund_id` is
optional: without it, an outcome belongs to the oldest open request of the same orders (and of the
same amount, if one is given).
"""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict

from schemas.times import TIME_HELP, parse_time


def _time(value: object) -> datetime:
    if not isinstance(value, str):
        raise ValueError(f"is not a time; {TIME_HELP}")  # a number is not a time here
    return parse_time(value)


Time = Annotated[datetime, BeforeValidator(_time)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class HistoryOrder(_Strict):
    """One order of the payment; amounts are minor units of the payment's currency."""

    order_id: str
    seller_id: str
    amount_minor: int
    commission_minor: int
    logistics_fee_minor: int


class HistoryEvent(_Strict):
    """One thing that happened after the payment was created.

    Without `order_id` it happened to every order, without `amount_minor` to all that was left.
    """

    type: str
    at: Time
    order_id: str | None = None
    amount_minor: int | None = None
    refund_id: str | None = None


class HistoryPayment(_Strict):
    """One line: a payment, its orders, and its events in the order in which they happened."""

    idempotency_key: str
    buyer_id: str
    currency: str
    method: str
    created_at: Time
    orders: tuple[HistoryOrder, ...]
    events: tuple[HistoryEvent, ...]
