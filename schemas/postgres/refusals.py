"""Every way in which PostgreSQL refuses a row of `payments`, by code or by constraint name.

The guards (0006_guards_per_partition.sql, generated with the codes below) raise SQLSTATEs of class
PU with the field in the error's column name. What a row must satisfy by itself they refuse like a
CHECK constraint, by a name (`row_rules.ROW_RULES`), and the primary key is told by its own.
The writer translates refusals with these tables; docs/reference/payments.md lists them.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class RefusalCode(StrEnum):
    """SQLSTATEs that the guards raise."""

    APPEND_ONLY = "PU001"
    SEQ_GAP = "PU002"
    ILLEGAL_TRANSITION = "PU003"
    WRONG_STATE = "PU004"
    WRONG_RUNNING_SUM = "PU005"
    PAYMENT_FACT_CHANGED = "PU006"
    ORDER_FACT_CHANGED = "PU007"
    LATE_ORDER = "PU008"
    WRONG_AMOUNT = "PU009"
    SHARE_ABOVE_PLAN = "PU010"
    SHARE_ABOVE_TAKEN = "PU011"
    PAYOUT_ABOVE_BALANCE = "PU012"
    PAYOUT_ISOLATION = "PU013"


MEANINGS: Mapping[RefusalCode, str] = MappingProxyType(
    {
        RefusalCode.APPEND_ONLY: "UPDATE, DELETE or TRUNCATE; rows are only ever appended.",
        RefusalCode.SEQ_GAP: "`seq` is not the payment's last `seq` plus one.",
        RefusalCode.ILLEGAL_TRANSITION: "The lifecycle does not allow this event in this state.",
        RefusalCode.WRONG_STATE: (
            "`status`, `fulfilment` or `dispute` is not the state that the event leads to."
        ),
        RefusalCode.WRONG_RUNNING_SUM: (
            "A running sum, `pending_minor` or `available_delta_minor` does not follow from the"
            " order's event before and this event's amount."
        ),
        RefusalCode.PAYMENT_FACT_CHANGED: (
            "`direction`, `buyer_id`, `currency`, `psp` or `method` differs within one payment."
        ),
        RefusalCode.ORDER_FACT_CHANGED: (
            "`seller_id` or `order_amount_minor` differs within one order, or the first event's"
            " amount is not the order's."
        ),
        RefusalCode.LATE_ORDER: "An order is created after something else happened to the payment.",
        RefusalCode.WRONG_AMOUNT: (
            "The amount of `created`, `authorized` or a payout's event is not the whole amount."
        ),
        RefusalCode.SHARE_ABOVE_PLAN: (
            "A capture takes more commission, logistics fee or seller's share than is left of what"
            " `created` planned; once everything is captured they are therefore equal."
        ),
        RefusalCode.SHARE_ABOVE_TAKEN: (
            "A refund or lost dispute gives back more commission, logistics fee or seller's share"
            " than is left of what captures took."
        ),
        RefusalCode.PAYOUT_ABOVE_BALANCE: (
            "A payout asks for more than its seller's payable balance in that currency."
        ),
        RefusalCode.PAYOUT_ISOLATION: (
            "A payout is requested in another isolation level than READ COMMITTED."
        ),
    }
)
"""What each code says is wrong."""


_ID = "must be 1 to 128 printable ASCII characters without spaces"

CONSTRAINTS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "payments_buyer_id": ("buyer_id", f"{_ID}, and null for payouts only"),
        "payments_order_id": ("order_id", f"{_ID}; for a payout its payment_id as text"),
        "payments_seller_id": ("seller_id", _ID),
        "payments_currency": ("currency", "must be three capital letters"),
        "payments_psp": ("psp", "must be 1 to 64 printable ASCII characters without spaces"),
        "payments_psp_reference": (
            "psp_reference",
            "must be null or 1 to 255 printable ASCII characters without spaces",
        ),
        "payments_method": ("method", "must be 1 to 64 printable ASCII characters without spaces"),
        "payments_idempotency_key": (
            "idempotency_key",
            "must be 1 to 255 printable ASCII characters without spaces",
        ),
        "payments_schema_version": ("schema_version", "must be 1 to 32767"),
        "payments_details": ("details", "must be a JSON object of at most 64 KiB as stored"),
        "payments_occurred_at": ("occurred_at", "must be from 1970 to 2099"),
        "payments_amount_minor": ("amount_minor", "must be at most 10^15"),
        "payments_amount_of_event": (
            "amount_minor",
            "must be above zero for events that move or name money, zero for all others",
        ),
        "payments_commission_minor": ("commission_minor", "must not be negative"),
        "payments_logistics_fee_minor": ("logistics_fee_minor", "must not be negative"),
        "payments_shares_of_event": (
            "commission_minor",
            "and logistics_fee_minor must be zero for an event without shares",
        ),
        "payments_shares_within_amount": (
            "commission_minor",
            "and logistics_fee_minor together must be at most amount_minor",
        ),
        "payments_captures_within_order": (
            "captured_minor",
            "must be at most order_amount_minor",
        ),
        "payments_refunds_within_captures": (
            "refunded_minor",
            "and reserved_minor together must be at most captured_minor",
        ),
        "payments_reserved_minor": ("reserved_minor", "must not become negative"),
        "payments_pending_minor": ("pending_minor", "must not become negative"),
    }
)
"""Name of a rule for a row by itself -> the field at fault and what is expected of it."""
