"""Rows that are wrong by themselves, and the constraint that refuses each."""

from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.lifecycle import EventType as E
from schemas.money import MAX_AMOUNT_MINOR
from tests.integration.postgres.histories import (
    Case,
    created,
    history,
    one_more,
    paid,
    payout,
    second_order_of_payout,
    story,
)
from tests.integration.postgres.rows import Book

NOT_NULL = "23502"
OUT_OF_RANGE = "22003"

TOO_LONG = "x" * (MAX_ID_LENGTH + 1)
ODD_IDS = {"empty": "", "with a space": "a b", "not ASCII": "zoë", "too long": TOO_LONG}

CHECKS = [
    *(
        Case(
            name=f"{field} {odd}",
            rows=created(**{field: value}),
            why=f"payments_{field}",
        )
        for field in ("buyer_id", "order_id", "seller_id")
        for odd, value in ODD_IDS.items()
    ),
    *(
        Case(
            name=f"{field} {value[:5]!r} of {len(value)}",
            rows=created(**{field: value}),
            why=f"payments_{field}",
        )
        for field, limit in {
            "psp": 64,
            "psp_reference": 255,
            "method": 64,
            "idempotency_key": MAX_IDEMPOTENCY_KEY_LENGTH,
        }.items()
        for value in ("", "a b", "\n", "x" * (limit + 1))
    ),
    *(
        Case(
            name=f"currency {value!r}",
            rows=created(currency=value),
            why="payments_currency",
        )
        for value in ("eur", "EURO", "EU", "", "ÄUR", "EUR\n", "XYZ", "XXX", "XAU", "USN")
    ),
    Case(
        name="a withdrawn currency",
        rows=created(currency="HRK", occurred_at="2023-02-01 00:00:00+00"),
        why="payments_currency",
    ),
    *(
        Case(
            name=f"schema_version {value}",
            rows=created(schema_version=value),
            why="payments_schema_version",
        )
        for value in (0, 32_768)
    ),
    *(
        Case(
            name=f"details {value[:10]}",
            rows=created(details=value),
            why="payments_details",
        )
        for value in ("[]", '"text"', "null", '{"a": "' + "x" * 70_000 + '"}')
    ),
    *(
        Case(
            name=f"occurred_at {value}",
            rows=created(occurred_at=value),
            why="payments_occurred_at",
        )
        for value in ("1969-12-31 23:59:59+00", "2100-01-01 00:00:00+00", "infinity", "-infinity")
    ),
    Case(name="a buyer-less order", rows=created(buyer_id=None), why="payments_buyer_id"),
    Case(
        name="a payout with a buyer",
        rows=payout(last={"buyer_id": "buyer-1"}),
        why="payments_buyer_id",
    ),
    Case(
        name="a payout's order is another",
        rows=payout(last={"order_id": "order-1"}),
        why="payments_order_id",
    ),
    Case(
        name="a second order of a payout", rows=second_order_of_payout(), why="payments_order_id"
    ),
    Case(
        name="an order above the largest amount",
        rows=[
            Book().create(amount=MAX_AMOUNT_MINOR + 1)
        ],
        why="payments_amount_minor",
    ),
    *(
        Case(name=name, rows=rows, why="payments_amount_of_event")
        for name, rows in {
            "an order of nothing": [Book().create(amount=0, commission=0, logistics=0)],
            "an order of less than nothing": [
                Book().create(amount=-1, commission=0, logistics=0)
            ],
            "a capture of nothing": history((E.CAPTURED, 0)),
            "a release of nothing": history((E.CAPTURED, 500), (E.RELEASED, 0)),
            "a shipment with an amount": paid(E.SHIPPED, last={"amount_minor": 1}),
            "a failure with an amount": history((E.FAILED, 1)),
            "an attempt with an amount": history((E.ATTEMPTED, 1)),
            "an authorization of nothing": history((E.AUTHORIZED, 0)),
            "a capture requested of nothing": history(
                (E.AUTHORIZED, None), (E.CAPTURE_REQUESTED, 0)
            ),
            "a stray of nothing": history((E.STRAY_CAPTURED, 0)),
            "a stray of less than nothing": history((E.STRAY_REFUNDED, -1)),
            "honoured with nothing": history((E.EXPIRED, None), (E.HONOURED, 0)),
            "a dispute of nothing": history((E.CAPTURED, None), (E.DISPUTE_OPENED, 0)),
            "a dispute of less than nothing": history((E.CAPTURED, None), (E.DISPUTE_OPENED, -1)),
            "a payout of nothing": payout(amount=0),
            "a payout of less than nothing": payout(amount=-1),
        }.items()
    ),
    Case(
        name="a commission below zero",
        rows=[Book().create(commission=-1)],
        why="payments_commission_minor",
    ),
    Case(
        name="a logistics fee below zero",
        rows=[Book().create(logistics=-1)],
        why="payments_logistics_fee_minor",
    ),
    Case(
        name="shares above the amount",
        rows=[Book().create(amount=149)],
        why="payments_shares_within_amount",
    ),
    *(
        Case(
            name=f"{field} of {name}",
            rows=one_more(rows, field, +1),
            why="payments_shares_of_event",
        )
        for field in ("commission_minor", "logistics_fee_minor")
        for name, rows in {
            "authorized": history((E.AUTHORIZED, None)),
            "released": history((E.CAPTURED, None), (E.RELEASED, 300)),
            "requested": payout(),
        }.items()
    ),
    *(
        Case(name=f"{field} {value!r} of {name}", rows=rows, why=f"payments_{field}")
        for field in ("psp", "method")
        for value in ("a b", "x" * 65)
        for name, rows in {
            "an attempt": story((E.ATTEMPTED, {field: value})),
            "a stray": story((E.FAILED, {}), (E.STRAY_CAPTURED, {field: value})),
            "a second stray": story(
                (E.FAILED, {}),
                (E.STRAY_CAPTURED, {"psp": "adyen"}),
                (E.STRAY_REFUNDED, {field: value}),
            ),
        }.items()
    ),
    *(
        Case(name=name, rows=rows, why="payments_authorized_minor")
        for name, rows in {
            "an authorization above the order": history((E.AUTHORIZED, 1001)),
            "an authorization again, above the order": history(
                (E.AUTHORIZED, 600), (E.UNKNOWN, None), (E.AUTHORIZED, 1001)
            ),
        }.items()
    ),
    *(
        Case(name=name, rows=rows, why="payments_captures_within_authorization")
        for name, rows in {
            "a capture above the authorization": history((E.AUTHORIZED, 600), (E.CAPTURED, 601)),
            "a second capture above the authorization": history(
                (E.AUTHORIZED, 600), (E.CAPTURED, 300), (E.CAPTURED, 301)
            ),
        }.items()
    ),
    Case(
        name="a capture above the order",
        rows=history((E.CAPTURED, 600), (E.CAPTURED, 401)),
        why="payments_captures_within_order",
    ),
    *(
        Case(name=name, rows=rows, why="payments_refunds_within_captures")
        for name, rows in {
            "a refund above the capture": history(
                (E.CAPTURED, 600), (E.RELEASED, 510), (E.REFUNDED, 601)
            ),
            "a second refund above the capture": history(
                (E.CAPTURED, 600), (E.REFUNDED, 300), (E.REFUNDED, 301)
            ),
            "a refund asked above the capture": history(
                (E.CAPTURED, 600), (E.REFUND_REQUESTED, 601)
            ),
            "a refund of what another one reserved": history(
                (E.CAPTURED, 600), (E.REFUND_REQUESTED, 300), (E.REFUNDED, 301)
            ),
            "a dispute of what was refunded": history(
                (E.CAPTURED, 600), (E.REFUNDED, 300), (E.DISPUTE_OPENED, 301)
            ),
        }.items()
    ),
    Case(
        name="a refund failed that nobody asked for",
        rows=paid(E.REFUND_FAILED),
        why="payments_reserved_minor",
    ),
    Case(
        name="a release of more than is pending",
        rows=history((E.CAPTURED, None), (E.RELEASED, 851)),
        why="payments_pending_minor",
    ),
]  # fmt: skip

NULLS = [
    Case(
        name=f"{field} is null",
        rows=created(**{field: None}),
        why=NOT_NULL,
        field=field,
    )
    for field in (
        "payment_id",
        "order_id",
        "seller_id",
        "currency",
        "psp",
        "method",
        "idempotency_key",
        "schema_version",
        "details",
        "occurred_at",
    )
] + [
    Case(name="seq is null", rows=created(seq=None), why="PU002", field="seq"),
    Case(
        name="amount_minor is null",
        rows=created(amount_minor=None, order_amount_minor=None),
        why=NOT_NULL,
        field="amount_minor",
    ),
    Case(
        name="commission_minor is null",
        rows=created(commission_minor=None),
        why=NOT_NULL,
        field="commission_minor",
    ),
    Case(
        name="logistics_fee_minor is null",
        rows=created(logistics_fee_minor=None),
        why=NOT_NULL,
        field="logistics_fee_minor",
    ),
    Case(
        name="an amount of 2^63",
        rows=created(amount_minor=2**63),
        why=OUT_OF_RANGE,
    ),
    Case(
        name="shares that overflow",
        rows=created(commission_minor=-(2**63), logistics_fee_minor=-(2**63)),
        why=OUT_OF_RANGE,
    ),
]

ROWS = [*CHECKS, *NULLS]
