"""Rows that do not follow from the rows before them, and the code that refuses each."""

from schemas.lifecycle import Direction
from schemas.lifecycle import EventType as E
from schemas.money import MAX_AMOUNT_MINOR
from schemas.postgres.guard_codes import GuardCode
from tests.integration.postgres.histories import (
    Case,
    created,
    created_twice,
    forked,
    funded,
    history,
    late_order,
    one_more,
    paid,
    payout,
    story,
    two_captures,
    two_orders,
    with_shares,
)
from tests.integration.postgres.rows import Book

UNIQUE = "23505"

SEQ = [
    Case(name="first seq is 2", rows=created(seq=2), why="PU002", field="seq"),
    Case(name="first seq is 0", rows=created(seq=0), why="PU002", field="seq"),
    Case(name="seq is negative", rows=created(seq=-1), why="PU002", field="seq"),
    Case(name="a gap in seq", rows=paid(E.SHIPPED, last={"seq": 4}), why="PU002", field="seq"),
    Case(
        name="seq taken already",
        rows=forked(E.AUTHORIZED, E.PROCESSING),
        why=UNIQUE,
    ),
]

LIFECYCLE = [
    Case(
        name=name,
        rows=rows,
        why=GuardCode.ILLEGAL_TRANSITION,
        field="event_type",
    )
    for name, rows in {
        "an order begins captured": created(event_type="captured", status="captured"),
        "a pay-in begins as a payout": created(event_type="requested", status="requested"),
        "an unknown event": created(event_type="teleported"),
        "no event": created(event_type=None),
        "an unknown direction": created(direction="sideways"),
        "no direction": created(direction=None),
        "created twice": created_twice(),
        "captured after failed": history((E.FAILED, None), (E.CAPTURED, None)),
        "authorized after captured": paid(E.AUTHORIZED),
        "shipped before it was authorized": history((E.SHIPPED, None)),
        "shipped after delivered": paid(E.DELIVERED, E.SHIPPED),
        "dispute won, none opened": paid(E.DISPUTE_WON),
        "a second dispute at once": history(
            (E.CAPTURED, None), (E.DISPUTE_OPENED, 100), (E.DISPUTE_OPENED, 100)
        ),
        "an attempt while it is processing": history((E.PROCESSING, None), (E.ATTEMPTED, None)),
        "an attempt after authorized": history((E.AUTHORIZED, None), (E.ATTEMPTED, None)),
        "an attempt after failed": history((E.FAILED, None), (E.ATTEMPTED, None)),
        "a capture requested of nothing authorized": history((E.CAPTURE_REQUESTED, 100)),
        "a capture requested after failed": history((E.FAILED, None), (E.CAPTURE_REQUESTED, 9)),
        "a capture failed after it expired": history(
            (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 9), (E.EXPIRED, None), (E.CAPTURE_FAILED, 0)
        ),
        "a cancellation requested after captured": paid(E.CANCEL_REQUESTED),
        "a cancellation failed after cancelled": history(
            (E.CANCEL_REQUESTED, None), (E.CANCELLED, None), (E.CANCEL_FAILED, None)
        ),
        "an order begins with a stray": created(event_type="stray_captured"),
        "honoured after cancelled": history(
            (E.CANCELLED, None), (E.STRAY_CAPTURED, None), (E.HONOURED, None)
        ),
        "honoured after captured": paid(E.STRAY_CAPTURED, E.HONOURED),
        "honoured before it is over": history((E.STRAY_CAPTURED, None), (E.HONOURED, None)),
        "a dispute of what is authorized": history((E.AUTHORIZED, None), (E.DISPUTE_OPENED, 1)),
        "a refund after failed": history((E.FAILED, None), (E.REFUNDED, 1)),
        "a payout that begins submitted": payout(
            last={"event_type": "submitted", "status": "submitted"}
        ),
        "paid before submitted": payout(E.PAID),
        "returned before paid": payout(E.SUBMITTED, E.RETURNED),
        "paid twice": payout(E.SUBMITTED, E.PAID, E.PAID),
        "a payout shipped": payout(E.SHIPPED),
        "a payout requested twice": payout(E.REQUESTED),
    }.items()
]

STATE = [
    Case(name=f"{field} of {name}", rows=rows, why=GuardCode.WRONG_STATE, field=field)
    for name, field, rows in [
        ("created", "status", created(status="authorized")),
        ("created", "status", created(status=None)),
        ("created", "fulfilment", created(fulfilment="none")),
        ("created", "dispute", created(dispute="open")),
        ("captured", "status", paid(last={"status": "created"})),
        ("shipped", "fulfilment", paid(E.SHIPPED, last={"fulfilment": "open"})),
        ("released", "fulfilment", paid(E.SHIPPED, last={"fulfilment": "delivered"})),
        ("dispute_opened", "dispute", paid(E.DISPUTE_OPENED, last={"dispute": "none"})),
        (
            "attempted",
            "status",
            history((E.UNKNOWN, None), (E.ATTEMPTED, None), last={"status": "unknown"}),
        ),
        (
            "stray_captured",
            "status",
            history((E.FAILED, None), (E.STRAY_CAPTURED, 9), last={"status": "captured"}),
        ),
        (
            "honoured",
            "status",
            history(
                (E.FAILED, None), (E.STRAY_CAPTURED, 9), (E.HONOURED, 9), last={"status": "failed"}
            ),
        ),
        (
            "dispute_opened",
            "dispute",
            history((E.FAILED, None), (E.STRAY_CAPTURED, 9), last={"dispute": "open"}),
        ),
        ("requested", "status", payout(last={"status": "paid"})),
        ("requested", "fulfilment", payout(last={"fulfilment": "open"})),
        ("submitted", "dispute", payout(E.SUBMITTED, last={"dispute": "won"})),
    ]
]

SUM_FIELDS = (
    "authorized_minor",
    "captured_minor",
    "refunded_minor",
    "released_minor",
    "reserved_minor",
    "pending_minor",
    "available_delta_minor",
    "suspense_minor",
)


_LOST = (
    (E.CAPTURED, 1000, (100, 50, 850)),
    (E.DISPUTE_OPENED, 500, (0, 0, 500)),
    (E.DISPUTE_LOST, 500, (50, 25, 425)),
)

SUMS = [
    Case(
        name=f"{field} {by:+} at {name}",
        rows=one_more(rows, field, by),
        why=GuardCode.WRONG_RUNNING_SUM,
        field=field,
    )
    for field in SUM_FIELDS
    for by in (+1, -1)
    for name, rows in {
        "created": created(),
        "captured": paid(),
        "shipped": paid(E.SHIPPED),
        "released": history((E.CAPTURED, None), (E.RELEASED, 300)),
        "refund_requested": history((E.CAPTURED, None), (E.REFUND_REQUESTED, 300)),
        "refunded": history((E.CAPTURED, None), (E.RELEASED, 800), (E.REFUNDED, 500)),
        "dispute_lost": paid(E.DISPUTE_OPENED, E.DISPUTE_LOST),
        "dispute_reversed": paid(E.DISPUTE_OPENED, E.DISPUTE_LOST, E.DISPUTE_REVERSED),
        "authorized": history((E.AUTHORIZED, 600)),
        "attempted": history((E.AUTHORIZED, 600), (E.UNKNOWN, None), (E.ATTEMPTED, None)),
        "capture_requested": history((E.AUTHORIZED, 600), (E.CAPTURE_REQUESTED, 600)),
        "cancel_failed": history((E.CANCEL_REQUESTED, None), (E.CANCEL_FAILED, None)),
        "stray_captured": history((E.EXPIRED, None), (E.STRAY_CAPTURED, 300)),
        "stray_refunded": history((E.EXPIRED, None), (E.STRAY_REFUNDED, 300)),
        "refund_returned": history(
            (E.CAPTURED, None), (E.REFUNDED, 300), (E.REFUND_RETURNED, 300)
        ),
        "stray_disputed": history((E.CAPTURED, None), (E.STRAY_DISPUTED, 300)),
        "stray_dispute_won": history(
            (E.CAPTURED, None), (E.STRAY_DISPUTED, 300), (E.STRAY_DISPUTE_WON, 300)
        ),
        "honoured": history((E.EXPIRED, None), (E.STRAY_CAPTURED, 300), (E.HONOURED, 300)),
        "requested": payout(),
        "submitted": payout(E.SUBMITTED),
        "returned": payout(E.SUBMITTED, E.PAID, E.RETURNED),
    }.items()
    # What a reversal brings back to two balances is compared with what was lost.
    if name != "dispute_reversed" or field not in ("suspense_minor", "available_delta_minor")
] + [
    Case(
        name="a refund that frees half of its request",
        rows=history(
            (E.CAPTURED, None), (E.REFUND_REQUESTED, 400), (E.REFUNDED, 400),
            last={"reserved_minor": 200},
        ),
        why=GuardCode.WRONG_RUNNING_SUM,
        field="reserved_minor",
    ),
    Case(
        name="a refund out of available while pending covers it",
        rows=history(
            (E.CAPTURED, None), (E.RELEASED, 400), (E.REFUNDED, 100),
            last={"pending_minor": 450, "available_delta_minor": -85},
        ),
        why=GuardCode.WRONG_RUNNING_SUM,
        field="pending_minor",
    ),
    *(
        Case(name=name, rows=rows, why=GuardCode.WRONG_RUNNING_SUM, field="suspense_minor")
        for name, rows in {
            "a dispute in suspense that the order covers": story(
                (E.CAPTURED, {}), (E.DISPUTE_OPENED, {"amount": 900, "excess": 50})
            ),
            "a dispute that brings money": story(
                (E.CAPTURED, {}), (E.DISPUTE_OPENED, {"amount": 1000, "excess": -50})
            ),
            "a dispute of more than an amount can be": story(
                (E.CAPTURED, {}), (E.DISPUTE_OPENED, {"excess": MAX_AMOUNT_MINOR + 1})
            ),
            "a lost dispute that takes it out of suspense again": story(
                (E.CAPTURED, {}),
                (E.DISPUTE_OPENED, {"excess": 50}),
                (E.DISPUTE_LOST, {}),
                last={"suspense_minor": 50},
            ),
        }.items()
    ),
    Case(
        name="an unknown sum",
        rows=created(captured_minor=None),
        why=GuardCode.WRONG_RUNNING_SUM,
        field="captured_minor",
    ),
]  # fmt: skip

FACTS = [
    *(
        Case(
            name=f"{field} changed within a payment",
            rows=paid(E.SHIPPED, last={field: value}),
            why=GuardCode.PAYMENT_FACT_CHANGED,
            field=field,
        )
        for field, value in {
            "direction": "out",
            "buyer_id": "buyer-2",
            "currency": "USD",
            "psp": "adyen",
            "method": "cheque",
        }.items()
    ),
    *(
        Case(
            name=f"{field} changed within a payment, another order",
            rows=two_orders(**{field: value}),
            why=GuardCode.PAYMENT_FACT_CHANGED,
            field=field,
        )
        for field, value in {"buyer_id": None, "currency": "GBP"}.items()
    ),
    *(
        Case(name=name, rows=rows, why=GuardCode.PAYMENT_FACT_CHANGED, field=field)
        for name, field, rows in [
            (
                "a capture at the PSP of the attempt before",
                "psp",
                story((E.ATTEMPTED, {"psp": "adyen"}), (E.CAPTURED, {"psp": "stripe"})),
            ),
            (
                "a shipment at the PSP of a stray",
                "psp",
                story(
                    (E.CAPTURED, {}),
                    (E.STRAY_CAPTURED, {"psp": "adyen"}),
                    (E.SHIPPED, {}),
                    last={"psp": "adyen"},
                ),
            ),
            (
                "a shipment by the method of a stray",
                "method",
                story(
                    (E.CAPTURED, {}),
                    (E.STRAY_CAPTURED, {"method": "wallet"}),
                    (E.SHIPPED, {}),
                    last={"method": "wallet"},
                ),
            ),
            (
                "a capture elsewhere after a stray here",
                "psp",
                story((E.STRAY_CAPTURED, {}), (E.CAPTURED, {}), last={"psp": "adyen"}),
            ),
            (
                "honoured at the PSP of a stray",
                "psp",
                story(
                    (E.FAILED, {}),
                    (E.STRAY_CAPTURED, {"psp": "adyen"}),
                    (E.HONOURED, {}),
                    last={"psp": "adyen"},
                ),
            ),
            (
                "an attempt of another buyer",
                "buyer_id",
                story((E.ATTEMPTED, {"psp": "adyen"}), last={"buyer_id": "buyer-2"}),
            ),
            (
                "a stray in another currency",
                "currency",
                story((E.STRAY_CAPTURED, {"psp": "adyen"}), last={"currency": "USD"}),
            ),
        ]
    ),
    Case(
        name="method changed within a payout",
        rows=payout(E.SUBMITTED, last={"method": "cheque"}),
        why=GuardCode.PAYMENT_FACT_CHANGED,
        field="method",
    ),
    Case(
        name="the seller of an order changed",
        rows=two_orders(seller_id="seller-1"),
        why=GuardCode.ORDER_FACT_CHANGED,
        field="seller_id",
    ),
    Case(
        name="the seller of a payout changed",
        rows=payout(E.SUBMITTED, last={"seller_id": "seller-9"}),
        why=GuardCode.ORDER_FACT_CHANGED,
        field="seller_id",
    ),
    Case(
        name="the amount of an order changed",
        rows=paid(E.SHIPPED, last={"order_amount_minor": 1001}),
        why=GuardCode.ORDER_FACT_CHANGED,
        field="order_amount_minor",
    ),
    Case(
        name="the first amount is not the order's",
        rows=created(order_amount_minor=999),
        why=GuardCode.ORDER_FACT_CHANGED,
        field="order_amount_minor",
    ),
    Case(name="an order joins late", rows=late_order(), why=GuardCode.LATE_ORDER, field="order_id"),
    Case(
        name="a capture requested above the order",
        rows=history((E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 1001)),
        why=GuardCode.WRONG_AMOUNT,
        field="amount_minor",
    ),
    Case(
        name="a capture requested above what is authorized",
        rows=history((E.AUTHORIZED, 600), (E.CAPTURE_REQUESTED, 601)),
        why=GuardCode.WRONG_AMOUNT,
        field="amount_minor",
    ),
    Case(
        name="a capture requested of what is captured",
        rows=paid(E.CAPTURE_REQUESTED),
        why=GuardCode.WRONG_AMOUNT,
        field="amount_minor",
    ),
    Case(
        name="a capture requested above what a capture has left",
        rows=history((E.AUTHORIZED, 900), (E.CAPTURED, 400), (E.CAPTURE_REQUESTED, 501)),
        why=GuardCode.WRONG_AMOUNT,
        field="amount_minor",
    ),
    Case(
        name="a payout submitted with less",
        rows=payout(E.SUBMITTED, last={"amount_minor": 849}),
        why=GuardCode.WRONG_AMOUNT,
        field="amount_minor",
    ),
]

SHARES = [
    Case(name=name, rows=rows, why=why, field=field)
    for why, shares in {
        GuardCode.SHARE_ABOVE_PLAN: {
            ("commission above plan", "commission_minor"): with_shares(
                (E.CAPTURED, 1000, (101, 49, 850))
            ),
            ("logistics above plan", "logistics_fee_minor"): with_shares(
                (E.CAPTURED, 1000, (99, 51, 850))
            ),
            ("seller's share above plan", "amount_minor"): with_shares(
                (E.CAPTURED, 900, (10, 10, 880))
            ),
            ("less commission than planned, all captured", "amount_minor"): with_shares(
                (E.CAPTURED, 1000, (99, 50, 851))
            ),
            ("commission above plan, second capture", "commission_minor"): with_shares(
                (E.CAPTURED, 500, (60, 25, 415)), (E.CAPTURED, 500, (41, 25, 434))
            ),
            ("commission above plan, honoured", "commission_minor"): with_shares(
                (E.FAILED, 0, (0, 0, 0)),
                (E.STRAY_CAPTURED, 1000, (0, 0, 1000)),
                (E.HONOURED, 1000, (101, 49, 850)),
            ),
            ("less than planned, last capture", "amount_minor"): with_shares(
                (E.CAPTURED, 500, (60, 25, 415)), (E.CAPTURED, 500, (39, 25, 436))
            ),
        },
        GuardCode.SHARE_ABOVE_TAKEN: {
            ("commission given back above taken", "commission_minor"): with_shares(
                (E.CAPTURED, 500, (50, 25, 425)), (E.REFUNDED, 400, (51, 20, 329))
            ),
            ("logistics given back above taken", "logistics_fee_minor"): with_shares(
                (E.CAPTURED, 500, (50, 25, 425)), (E.REFUNDED, 400, (40, 26, 334))
            ),
            ("seller gives back above taken", "amount_minor"): with_shares(
                (E.CAPTURED, 500, (50, 25, 425)), (E.REFUNDED, 500, (49, 25, 426))
            ),
            ("given back above taken, second refund", "commission_minor"): with_shares(
                (E.CAPTURED, 1000, (100, 50, 850)),
                (E.REFUNDED, 500, (60, 25, 415)),
                (E.REFUNDED, 100, (41, 9, 50)),
            ),
            ("given back above taken, lost dispute", "commission_minor"): with_shares(
                (E.CAPTURED, 1000, (100, 50, 850)),
                (E.REFUNDED, 500, (60, 25, 415)),
                (E.DISPUTE_OPENED, 100, (0, 0, 100)),
                (E.DISPUTE_LOST, 100, (41, 9, 50)),
            ),
        },
        GuardCode.DISPUTE_DIFFERS: {
            ("more commission restored than was lost", "commission_minor"): with_shares(
                *_LOST, (E.DISPUTE_REVERSED, 500, (51, 25, 424))
            ),
            ("less logistics restored than was lost", "logistics_fee_minor"): with_shares(
                *_LOST, (E.DISPUTE_REVERSED, 500, (50, 24, 426))
            ),
        },
    }.items()
    for (name, field), rows in shares.items()
]

REQUESTS = [
    Case(name=name, rows=rows, why=why, field="event_type")
    for why, histories in {
        GuardCode.REQUEST_OPEN: {
            "a second capture requested": history(
                (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 100), (E.CAPTURE_REQUESTED, 100)
            ),
            "a second capture requested of what a capture has left": history(
                (E.AUTHORIZED, None),
                (E.CAPTURED, 400),
                (E.CAPTURE_REQUESTED, 100),
                (E.CAPTURE_REQUESTED, 100),
            ),
            "a capture of another order requested": two_captures(),
            "a capture of another order requested, later": two_captures(E.SHIPPED),
            "a capture of another order requested under the key of something else": two_captures(
                E.SHIPPED, same_request=True
            ),
            "a second cancellation requested": history(
                (E.CANCEL_REQUESTED, None), (E.CANCEL_REQUESTED, None)
            ),
            "a capture requested while it is cancelled": history(
                (E.CANCEL_REQUESTED, None), (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 100)
            ),
            "a cancellation requested while it is captured": history(
                (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 100), (E.CANCEL_REQUESTED, None)
            ),
            "an attempt while it is cancelled": history(
                (E.CANCEL_REQUESTED, None), (E.ATTEMPTED, None)
            ),
            "an attempt while it is captured": history(
                (E.AUTHORIZED, None),
                (E.CAPTURE_REQUESTED, 100),
                (E.UNKNOWN, None),
                (E.ATTEMPTED, None),
            ),
        },
        GuardCode.NOTHING_REQUESTED: {
            "a capture failed after it happened": history(
                (E.AUTHORIZED, None),
                (E.CAPTURE_REQUESTED, 9),
                (E.CAPTURED, 9),
                (E.CAPTURE_FAILED, 0),
            ),
            "a capture failed, none requested": history(
                (E.AUTHORIZED, None), (E.CAPTURE_FAILED, None)
            ),
            "a capture failed twice": history(
                (E.AUTHORIZED, None),
                (E.CAPTURE_REQUESTED, 100),
                (E.CAPTURE_FAILED, None),
                (E.CAPTURE_FAILED, None),
            ),
            "a cancellation failed, none requested": history((E.CANCEL_FAILED, None)),
        },
    }.items()
    for name, rows in histories.items()
]

SUSPENSE = [
    Case(name=name, rows=rows, why=why, field=field)
    for why, field, histories in [
        (GuardCode.HONOURED_ABOVE_SUSPENSE, "amount_minor", {
            "honoured, nothing came": history((E.EXPIRED, None), (E.HONOURED, 1)),
            "honoured with more than came": history(
                (E.EXPIRED, None), (E.STRAY_CAPTURED, 300), (E.HONOURED, 301)
            ),
            "honoured with what went back": history(
                (E.EXPIRED, None), (E.STRAY_CAPTURED, 300), (E.STRAY_REFUNDED, 1), (E.HONOURED, 300)
            ),
            "honoured with what came elsewhere": story(
                (E.EXPIRED, {}),
                (E.STRAY_CAPTURED, {"amount": 300, "psp": "adyen"}),
                (E.HONOURED, {"amount": 300}),
            ),
            "honoured with what is disputed": story(
                (E.EXPIRED, {}),
                (E.STRAY_CAPTURED, {"amount": 300}),
                (E.DISPUTE_OPENED, {"amount": 0, "excess": 300}),
                (E.HONOURED, {"amount": 300}),
            ),
        }),
        (GuardCode.DISPUTE_DIFFERS, "amount_minor", {
            "won for less": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_WON, 499)
            ),
            "lost for less": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_LOST, 499)
            ),
            "lost as the dispute before": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_WON, 500),
                (E.DISPUTE_OPENED, 400), (E.DISPUTE_LOST, 500),
            ),
        }),
        (GuardCode.DISPUTE_DIFFERS, "amount_minor", {
            "reversed for less than was lost": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_LOST, 500),
                (E.DISPUTE_REVERSED, 499),
            ),
            "reversed twice": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_LOST, 500),
                (E.DISPUTE_REVERSED, 500), (E.DISPUTE_REVERSED, 500),
            ),
            "reversed, but it was won": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_WON, 500),
                (E.DISPUTE_REVERSED, 500),
            ),
            "reversed under the name of another": history(
                (E.CAPTURED, None), (E.DISPUTE_OPENED, 500), (E.DISPUTE_LOST, 500),
                (E.DISPUTE_REVERSED, 500), last={"psp_reference": "dp_2"},
            ),
        }),
        (GuardCode.DISPUTE_DIFFERS, "available_delta_minor", {
            "reversed to pending, lost from the available balance": history(
                (E.CAPTURED, None), (E.RELEASED, 850), (E.DISPUTE_OPENED, 1000),
                (E.DISPUTE_LOST, 1000), (E.DISPUTE_REVERSED, 1000),
                last={"available_delta_minor": 0, "pending_minor": 850},
            ),
        }),
        (GuardCode.DISPUTE_DIFFERS, "suspense_minor", {
            "reversed without what it took in excess": story(
                (E.CAPTURED, {}),
                (E.DISPUTE_OPENED, {"excess": 50}),
                (E.DISPUTE_LOST, {}),
                (E.DISPUTE_REVERSED, {"excess": 0}),
            ),
        }),
        (GuardCode.RETURNED_ABOVE_GONE, "amount_minor", {
            "returned, nothing was refunded": history(
                (E.CAPTURED, None), (E.REFUND_RETURNED, 1)
            ),
            "returned above the refund": history(
                (E.CAPTURED, None), (E.REFUNDED, 300), (E.REFUND_RETURNED, 301)
            ),
            "returned twice": history(
                (E.CAPTURED, None), (E.REFUNDED, 300), (E.REFUND_RETURNED, 200),
                (E.REFUND_RETURNED, 101),
            ),
            "returned under another name": history(
                (E.CAPTURED, None), (E.REFUNDED, 300), (E.REFUND_RETURNED, 300),
                last={"psp_reference": "re_2"},
            ),
            "returned elsewhere": story(
                (E.CAPTURED, {}),
                (E.REFUNDED, {"amount": 300}),
                (E.REFUND_RETURNED, {"amount": 300, "psp": "adyen"}),
            ),
            "a stray dispute won, none was opened": history(
                (E.CAPTURED, None), (E.STRAY_DISPUTE_WON, 1)
            ),
            "a stray dispute won for more": history(
                (E.CAPTURED, None), (E.STRAY_DISPUTED, 300), (E.STRAY_DISPUTE_WON, 301)
            ),
        }),
        (GuardCode.DISPUTE_DIFFERS, "suspense_minor", {
            "won with nothing of what it took in excess": story(
                (E.CAPTURED, {}), (E.DISPUTE_OPENED, {"excess": 50}), (E.DISPUTE_WON, {"excess": 0})
            ),
            "won with more than it took in excess": story(
                (E.CAPTURED, {}),
                (E.DISPUTE_OPENED, {"excess": 50}),
                (E.DISPUTE_WON, {"excess": 51}),
            ),
        }),
    ]
    for name, rows in histories.items()
]  # fmt: skip

PAYOUTS = [
    Case(
        name=name,
        rows=rows,
        why=GuardCode.PAYOUT_ABOVE_BALANCE,
        field="amount_minor",
    )
    for name, rows in {
        "a payout above the balance": payout(amount=851),
        "a payout of another seller's money": [
            *funded(seller_id="seller-2"),
            Book(direction=Direction.OUT).request(amount=1),
        ],
        "a payout of another currency": [
            *funded(currency="USD"),
            Book(direction=Direction.OUT).request(amount=1),
        ],
        "a payout of pending money": [
            *paid(),
            Book(direction=Direction.OUT).request(amount=1),
        ],
        "a second payout of the same money": [
            *payout(amount=800),
            Book(direction=Direction.OUT).request(amount=51),
        ],
    }.items()
]

HISTORIES = [*SEQ, *LIFECYCLE, *STATE, *SUMS, *FACTS, *SHARES, *REQUESTS, *SUSPENSE, *PAYOUTS]
