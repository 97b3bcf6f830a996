"""The SQLSTATEs of class PU that the guards raise, and what each one means.

The guards are generated with these codes, the writer translates them, and
docs/reference/payments.md lists them. The error's column is the invalid field. Rules about a single
row are reported by name instead: see `row_rules`.
"""

from enum import StrEnum


class GuardCode(StrEnum):
    """A code; `meaning` describes in Markdown what it refuses."""

    meaning: str

    def __new__(cls, code: str, meaning: str) -> "GuardCode":
        member = str.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    APPEND_ONLY = "PU001", "UPDATE, DELETE or TRUNCATE, even of no row"
    SEQ_GAP = (
        "PU002",
        "a `seq` that is not the payment's last plus one; with a race, the loser gets this or"
        " `23505` (the primary key), reads again and decides again",
    )
    ILLEGAL_TRANSITION = (
        "PU003",
        "an event that the lifecycle does not allow in the order's state",
    )
    WRONG_STATE = (
        "PU004",
        "a `status`, `fulfilment` or `dispute` that the event does not lead to",
    )
    WRONG_RUNNING_SUM = (
        "PU005",
        "a running sum, `pending_minor`, `available_delta_minor` or `suspense_minor` that does not"
        " follow from the order's event before and this event's amount",
    )
    PAYMENT_FACT_CHANGED = (
        "PU006",
        "a `direction`, `buyer_id`, `currency`, `psp` or `method` that differs from the payment's;"
        " an attempt may change the last two, and strays may name others",
    )
    ORDER_FACT_CHANGED = (
        "PU007",
        "a `seller_id` or `order_amount_minor` that differs from the order's",
    )
    LATE_ORDER = "PU008", "an order that is created after something else happened to its payment"
    WRONG_AMOUNT = (
        "PU009",
        "an event of the whole amount of its order or payout, with a different amount; a request to"
        " capture more than is left",
    )
    SHARE_ABOVE_PLAN = (
        "PU010",
        "a capture that takes more commission, logistics fee or seller's share than is left of what"
        " was planned; once all is captured, all three are therefore equal to the plan",
    )
    SHARE_ABOVE_TAKEN = (
        "PU011",
        "an event that gives back more commission, logistics fee or seller's share than captures"
        " took",
    )
    PAYOUT_ABOVE_BALANCE = "PU012", "a payout above the seller's payable balance"
    PAYOUT_ISOLATION = (
        "PU013",
        "a payout that is requested in an isolation level other than READ COMMITTED",
    )
    REQUEST_OPEN = (
        "PU014",
        "a request to capture or to cancel, or another attempt, while such a request of the order"
        " has no outcome; or a request to capture, while another one of the payment has none",
    )
    NOTHING_REQUESTED = (
        "PU015",
        "a `capture_failed` or `cancel_failed` without an open request of the order",
    )
    HONOURED_ABOVE_SUSPENSE = (
        "PU016",
        "an order that is honoured with more than it has in suspense at the payment's PSP",
    )
    DISPUTE_DIFFERS = (
        "PU017",
        "a dispute that ends with another amount, or another part in suspense, than it was opened"
        " with, or whose loss is reversed with another than was lost",
    )
    RETURNED_ABOVE_GONE = (
        "PU018",
        "a `refund_returned` or `stray_dispute_won` of more than went under its `psp_reference`",
    )
