"""Why a command can be rejected: a closed list of codes, in the order of the checks.

Only the first rule that a command breaks is reported, so the same command in the same state always
gets the same answer. `writer.decide` checks all groups but the last.
"""

from enum import StrEnum


class RejectionCode(StrEnum):
    """Stable names for machines; the accompanying message is for people."""

    # 1. The command alone.
    INVALID_IDENTIFIER = "invalid_identifier"
    INVALID_TEXT = "invalid_text"
    UNKNOWN_CHOICE = "unknown_choice"
    TOO_MUCH_METADATA = "too_much_metadata"
    TIME_WITHOUT_ZONE = "time_without_zone"
    TIME_OUT_OF_RANGE = "time_out_of_range"
    UNKNOWN_CURRENCY = "unknown_currency"
    NO_ORDERS = "no_orders"
    TOO_MANY_ORDERS = "too_many_orders"
    DUPLICATE_ORDER = "duplicate_order"
    AMOUNT_NOT_POSITIVE = "amount_not_positive"
    AMOUNT_TOO_LARGE = "amount_too_large"
    SHARE_NEGATIVE = "share_negative"
    SHARES_ABOVE_AMOUNT = "shares_above_amount"
    # 2. The idempotency key.
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    # 3. What the command refers to.
    UNKNOWN_PAYMENT = "unknown_payment"
    WRONG_DIRECTION = "wrong_direction"
    UNKNOWN_ORDER = "unknown_order"
    UNKNOWN_REFUND = "unknown_refund"
    REFUND_ALREADY_DECIDED = "refund_already_decided"
    # 4. The lifecycle.
    ILLEGAL_TRANSITION = "illegal_transition"
    DISPUTE_OPEN = "dispute_open"
    CAPTURE_ALREADY_REQUESTED = "capture_already_requested"
    CANCEL_ALREADY_REQUESTED = "cancel_already_requested"
    NOTHING_REQUESTED = "nothing_requested"
    # 5. Money.
    NOTHING_LEFT = "nothing_left"
    AUTHORIZATION_ABOVE_AMOUNT = "authorization_above_amount"
    CAPTURE_ABOVE_AMOUNT = "capture_above_amount"
    CAPTURE_ABOVE_AUTHORIZATION = "capture_above_authorization"
    RELEASE_ABOVE_PENDING = "release_above_pending"
    REFUND_ABOVE_CAPTURED = "refund_above_captured"
    AMOUNT_DIFFERS = "amount_differs"
    PAYOUT_ABOVE_BALANCE = "payout_above_balance"
    # 6. The database's guards, if one refuses what `decide` accepted.
    REFUSED_BY_DATABASE = "refused_by_database"
