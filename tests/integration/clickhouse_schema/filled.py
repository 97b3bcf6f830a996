"""A database that has some of everything, some of it twice, and a seller worked out by hand."""

from datetime import timedelta
from random import Random
from typing import Any
from uuid import UUID

from operations.dead_letters import DeadLetters
from operations.dead_letters.audit import RedriveOutcome, RedriveRow
from schemas.lifecycle import EventType as E
from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from schemas.views import RECONCILIATION_LOG, ReconciliationRow, columns_of
from sinks.clickhouse import ClickHouseSink
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from tests.events import NOON, PAYMENT_ID, pay_in, payout, raw_record, records
from tests.strategies import history


def fill(url: str) -> None:
    """Migrate the database and write every row of it twice."""
    migrate(url)
    sink = ClickHouseSink(ClickHouseSettings.load(url))
    events = [
        *history(Random(7), payments=30, payouts=8, steps=20),
        *a_known_seller(),
    ]
    source = [*records(events), raw_record(b"{", partition=1, offset=10**6)]
    for _ in range(2):
        batch = fold_batch(source, consumer=VIEWS_CONSUMER, parked_at=NOON)
        assert len(batch.dead_letters) == 1
        sink.write(batch.columns)
        sink.note_minutes(batch.minutes)
    with DeadLetters(ClickHouseSettings.load(url)) as letters:
        letters.note([a_redrive()] * 2)
    sink.write({RECONCILIATION_LOG: columns_of([a_case(1, "open", 90), a_case(2, "open", 70)])})
    sink.close()


def a_case(version: int, resolution_status: str, actual_minor: int) -> ReconciliationRow:
    return ReconciliationRow(
        case_id="case-1",
        version=version,
        provider="stripe",
        provider_reference="txn_1",
        category="amount_differs",
        payment_id=PAYMENT_ID,
        order_id="order-1",
        seller_id="seller-1",
        currency="EUR",
        expected_minor=100,
        actual_minor=actual_minor,
        resolution_status=resolution_status,
        resolved_by="",
        note="",
        found_at=NOON,
        updated_at=NOON,
    )


def a_redrive() -> RedriveRow:
    return RedriveRow(
        topic=PAYMENTS_TOPIC,
        partition=1,
        kafka_offset=7,
        redriven_at=NOON,
        redriven_by="ann@desk",
        parked_at=NOON,
        outcome=RedriveOutcome.REDRIVEN,
        reason="",
        error="",
        payment_id=PAYMENT_ID,
        seq=1,
        row_count=5,
    )


def a_known_seller() -> list[Any]:
    """Two days of seller-k: 8,500 captured for it, 6,000 released, 500 of them refunded; payouts
    of 1,000 requested, 2,000 paid, 400 failed and 300 returned."""
    of = {"seller_id": "seller-k", "payment_id": UUID(int=77), "order_id": "order-k"}
    later = {"occurred_at": NOON + timedelta(days=1)}
    events = [
        pay_in(E.CAPTURED, seq=1, amount_minor=10_000, commission_minor=1_500, **of),
        pay_in(E.RELEASED, seq=2, amount_minor=6_000, available_delta_minor=6_000, **of),
        pay_in(
            E.REFUNDED, seq=3, amount_minor=600, commission_minor=100,
            available_delta_minor=-500, **of, **later,
        ),
    ]  # fmt: skip
    steps: list[tuple[int, list[tuple[E, int]]]] = [
        (1_000, [(E.REQUESTED, -1)]),
        (2_000, [(E.REQUESTED, -1), (E.SUBMITTED, 0), (E.PAID, 0)]),
        (400, [(E.REQUESTED, -1), (E.FAILED, +1)]),
        (300, [(E.REQUESTED, -1), (E.SUBMITTED, 0), (E.PAID, 0), (E.RETURNED, +1)]),
    ]
    for number, (amount, happened) in enumerate(steps, start=100):
        events += [
            payout(
                event_type,
                seq=seq,
                payment_id=UUID(int=number),
                seller_id="seller-k",
                amount_minor=amount,
                available_delta_minor=sign * amount,
            )
            for seq, (event_type, sign) in enumerate(happened, start=1)
        ]
    return events
