"""What requests may have in their bodies: types only; the writer decides about values.

So a rule has one place, and a refusal one code. Amounts are integers and nothing else: no float, no
bool, no text. The limits in the schemas are for readers of OpenAPI; they are the writer's.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.details import (
    MAX_METADATA_ENTRIES,
    MAX_METADATA_NAME_LENGTH,
    MAX_METADATA_VALUE_LENGTH,
    MAX_URL_LENGTH,
)
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.money import MAX_AMOUNT_MINOR
from writer.validate import MAX_ORDERS_PER_PAYMENT

PRINTABLE = "^[!-~]+$"
METHODS = ("card", "debit_card", "bank_transfer")
Method = Literal["card", "debit_card", "bank_transfer"]


def _shown(**schema: Any) -> Any:
    """Limits that OpenAPI shows and the writer enforces."""
    return Field(json_schema_extra=schema)


Id = Annotated[str, _shown(pattern=PRINTABLE, minLength=1, maxLength=MAX_ID_LENGTH)]
Currency = Annotated[str, _shown(pattern="^[A-Z]{3}$", examples=["EUR"])]
AmountMinor = Annotated[int, _shown(minimum=1, maximum=MAX_AMOUNT_MINOR)]
ShareMinor = Annotated[int, _shown(minimum=0, maximum=MAX_AMOUNT_MINOR)]
MajorAmount = Annotated[str, _shown(pattern=r"^(0|[1-9][0-9]{0,15})(\.[0-9]{1,4})?$")]
Url = Annotated[str, _shown(format="uri", maxLength=MAX_URL_LENGTH)]
Token = Annotated[str, _shown(pattern=PRINTABLE, minLength=1, maxLength=255)]


class Body(BaseModel):
    """Base of all bodies: strict types, no unknown fields."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class OrderBody(Body):
    """One order of a payment; the shares are parts of its amount, the rest is the seller's."""

    order_id: Id
    seller_id: Id
    amount_minor: AmountMinor
    commission_minor: ShareMinor = 0
    logistics_fee_minor: ShareMinor = 0


class CreatePaymentBody(Body):
    """A payment of one or more orders."""

    buyer_id: Id
    currency: Currency
    method: Method
    orders: Annotated[list[OrderBody], _shown(minItems=1, maxItems=MAX_ORDERS_PER_PAYMENT)]
    payment_token: Token | None = None
    capture: Literal["automatic", "manual"] = "automatic"
    flow: Literal["direct", "hosted"] = "direct"
    return_url: Url | None = None
    device_fingerprint: Token | None = None
    metadata: (
        Annotated[
            dict[str, str],
            _shown(
                maxProperties=MAX_METADATA_ENTRIES,
                propertyNames={"maxLength": MAX_METADATA_NAME_LENGTH},
                additionalProperties={"type": "string", "maxLength": MAX_METADATA_VALUE_LENGTH},
            ),
        ]
        | None
    ) = None


class ConfirmBody(Body):
    """How to charge a payment that was created to be confirmed; what is missing stays as it is."""

    method: Method | None = None
    payment_token: Token | None = None


class OrdersBody(Body):
    """Which order; every order to which it can apply if it is left out."""

    order_id: Id | None = None


class CancelBody(OrdersBody):
    """Which order, and why."""

    reason: Id | None = None


class AmountBody(OrdersBody):
    """Which order and how much; all that is left if the amount is left out."""

    amount_minor: AmountMinor | None = None


class CaptureBody(AmountBody):
    """Which order and how much; `final`: what is left of the payment goes back to the buyer."""

    final: bool = False


class RefundBody(AmountBody):
    """Which order, how much, and why."""

    reason: Id | None = None


Key = Annotated[str, _shown(minLength=1, maxLength=MAX_IDEMPOTENCY_KEY_LENGTH, pattern="^[ -~]+$")]


class InitBody(Body):
    """The older way to create a payment; `amount` is in major units, as text."""

    user_id: Id
    merchant_id: Id
    amount: MajorAmount
    currency: Currency
    card_token: Token
    idempotency_key: Key | None = None


class ConfirmInitBody(Body):
    """The older way to charge: a method, or a token that replaces the first one."""

    tx_id: Annotated[str, _shown(format="uuid")]
    payment_method: Token


class SchedulePayoutBody(Body):
    """The older way to ask for a payout; `amount` is in major units, as text."""

    merchant_id: Id
    amount: MajorAmount
    currency: Currency
