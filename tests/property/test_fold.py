"""What must hold for the fold whatever happened, and however it arrives."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.accounts import AccountType
from schemas.errors import DecodeError
from schemas.events import Event
from schemas.lifecycle import Direction, Dispute, EventType
from schemas.views import (
    BUYER_ORDERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    TABLES,
    RevenueKey,
    SellerRevenueRow,
    Table,
)
from sinks.memory import MemorySink
from streams.decode import Decoded, Record, decode
from streams.fold import fold, fold_batch, postings
from tests.events import envelope, key_of, raw_record, record, records
from tests.strategies import histories

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)
Rows = dict[Table, list[Any]]


def views(batches: Iterable[Sequence[Record]]) -> Rows:
    """Every table's final rows after these batches, the minutes noted after each of them."""
    sink = MemorySink()
    for batch in batches:
        folded = fold_batch(batch, consumer="views", parked_at=PARKED_AT)
        sink.write(folded.columns)
        sink.note_minutes(folded.minutes)
    return {table: sink.rows(table) for table in (*TABLES.values(), SELLER_REVENUE)}


@st.composite
def deliveries(draw: st.DrawFn, source: list[Record]) -> list[list[Record]]:
    """The records in any order, some of them again, in batches of any size."""
    again = draw(st.lists(st.sampled_from(source), max_size=6))
    arrived = draw(st.permutations([*source, *again]))
    cuts = sorted(draw(st.lists(st.integers(0, len(arrived)), max_size=5)))
    edges = zip([0, *cuts], [*cuts, len(arrived)], strict=True)
    return [list(arrived[start:end]) for start, end in edges]


@given(data=st.data())
def test_any_order_any_batching_and_any_duplicates_give_the_same_views(data: st.DataObject) -> None:
    source = records(data.draw(histories()))
    bad = raw_record(b"not an event", partition=1, offset=10_000)
    expected = views([[*source, bad]])
    assert expected[PAYMENT_EVENTS]
    assert views(data.draw(deliveries([*source, bad]))) == expected


@given(data=st.data())
def test_an_event_emitted_again_under_a_later_offset_changes_only_its_place(
    data: st.DataObject,
) -> None:
    source = records(data.draw(histories()))
    again = [one._replace(offset=one.offset + 100_000) for one in source]
    expected, found = views([source]), views([source, data.draw(st.permutations(again))])
    moved = (PAYMENT_EVENTS, PIPELINE_PROGRESS)
    for table in expected:
        if table not in moved:
            assert found[table] == expected[table]
    offset = PAYMENT_EVENTS.columns.index("kafka_offset")
    assert [row[:offset] for row in found[PAYMENT_EVENTS]] == [
        row[:offset] for row in expected[PAYMENT_EVENTS]
    ]


@given(histories())
def test_a_batch_is_what_its_events_are_one_by_one(history: list[Event]) -> None:
    source = records(history)
    folded = fold_batch(source, consumer="views", parked_at=PARKED_AT)
    assert not folded.dead_letters
    one_by_one = MemorySink()
    for one in source:
        one_by_one.write(fold(decode(one)))
    at_once = MemorySink()
    at_once.write(folded.columns)
    for table in (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS):
        assert at_once.rows(table) == one_by_one.rows(table)


@given(histories())
def test_postings_balance_in_every_event(history: list[Event]) -> None:
    for event in history:
        legs = postings(event)
        assert sum(leg.amount_minor for leg in legs) == 0
        assert all(leg.amount_minor for leg in legs)
        assert len({leg.account_type for leg in legs}) == len(legs)


@given(histories())
def test_accounts_are_the_running_sums_of_the_events(history: list[Event]) -> None:
    balances: Counter[tuple[str, AccountType]] = Counter()
    last: dict[str, Event] = {}
    for event in history:
        last[event.order_id] = event
        for leg in postings(event):
            balances[event.order_id, leg.account_type] += leg.amount_minor
    for order_id, event in last.items():
        if event.direction is Direction.IN:
            own = [e for e in history if e.order_id == order_id]
            held = event.captured_minor - event.refunded_minor
            suspense = sum(e.suspense_minor for e in own)
            opened = [e.amount_minor for e in own if e.event_type is EventType.DISPUTE_OPENED]
            disputed = opened[-1] if event.dispute is Dispute.OPEN else 0
            owed = held - disputed + suspense
            assert balances[order_id, AccountType.PSP_RECEIVABLE] == owed
            assert balances[order_id, AccountType.PSP_DISPUTED] == disputed
            assert -balances[order_id, AccountType.SUSPENSE] == suspense
            assert -balances[order_id, AccountType.SELLER_PENDING] == event.pending_minor
        deltas = sum(e.available_delta_minor for e in history if e.order_id == order_id)
        assert -balances[order_id, AccountType.SELLER_AVAILABLE] == deltas


@given(histories())
def test_revenue_is_what_the_events_say(history: list[Event]) -> None:
    expected: defaultdict[RevenueKey, Counter[str]] = defaultdict(Counter)
    for event in history:
        key = RevenueKey(event.seller_id, event.currency, event.occurred_at.date())
        sums = expected[key]
        sums["available_delta_minor"] += event.available_delta_minor
        name = {
            EventType.CAPTURED: "gross_minor",
            EventType.HONOURED: "gross_minor",
            EventType.REFUNDED: "refunds_minor",
            EventType.DISPUTE_LOST: "chargebacks_minor",
            EventType.DISPUTE_REVERSED: "chargebacks_minor",
        }.get(event.event_type)
        if name is not None:
            is_back = event.event_type is EventType.DISPUTE_REVERSED
            sign = 1 if name == "gross_minor" or is_back else -1
            sums[name] += -event.amount_minor if is_back else event.amount_minor
            sums["commission_minor"] += sign * event.commission_minor
            sums["logistics_fee_minor"] += sign * event.logistics_fee_minor
            # A dispute that was all in suspense takes nothing from a seller.
            sums["events"] += event.amount_minor > 0 and not is_back
    for row in (SellerRevenueRow(*row) for row in views([records(history)])[SELLER_REVENUE]):
        sums = expected.pop(RevenueKey(row.seller_id, row.currency, row.day))
        assert row.capture_count + row.refund_count + row.chargeback_count == sums.pop("events", 0)
        for name, value in sums.items():
            assert getattr(row, name) == value, name
        net = row.gross_minor - row.refunds_minor - row.chargebacks_minor
        assert row.net_minor == net - row.commission_minor - row.logistics_fee_minor
    assert not any(sums.total() for sums in expected.values())


@given(histories())
def test_buyer_orders_are_the_last_events(history: list[Event]) -> None:
    last = {
        (event.buyer_id, event.order_id, event.payment_id): event
        for event in history
        if event.direction is Direction.IN
    }
    rows = views([records(history)])[BUYER_ORDERS]
    assert len(rows) == len(last)
    for row in rows:
        event = last[row.buyer_id, row.order_id, row.payment_id]
        assert (
            row.seq,
            row.status,
            row.captured_minor,
            row.refunded_minor,
            row.reserved_minor,
        ) == (
            event.seq,
            event.status,
            event.captured_minor,
            event.refunded_minor,
            event.reserved_minor,
        )


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["captured", "c", "2026-01-05T12:00:00Z", "2026-01-05T12:00:00", 2**63, -1]),
    lambda children: (
        st.lists(children, max_size=2) | st.dictionaries(st.text(max_size=4), children, max_size=2)
    ),
    max_leaves=4,
)


def judge(value: bytes | None, key: bytes) -> Decoded | DecodeError:
    """What decode makes of it; whatever decodes must fold."""
    one = raw_record(value, key=key)
    folded = fold_batch([one], consumer="views", parked_at=PARKED_AT)
    assert folded.event_count + len(folded.dead_letters) == 1
    try:
        found = decode(one)
    except DecodeError as error:
        [dead] = folded.dead_letters
        assert (dead.raw_value, dead.reason, dead.error) == (value or b"", error.reason, str(error))
        return error
    fold(found)
    return found


@given(st.none() | st.binary(max_size=200), st.binary(max_size=60))
def test_garbage_is_a_decode_error(value: bytes | None, key: bytes) -> None:
    assert isinstance(judge(value, key), DecodeError)


@settings(max_examples=300)
@given(data=st.data())
def test_an_envelope_with_anything_in_it_decodes_or_is_a_decode_error(data: st.DataObject) -> None:
    event = data.draw(
        st.sampled_from(data.draw(histories(payments_max=1, payouts_max=1, steps_max=6)))
    )
    value = envelope(event)
    for _ in range(data.draw(st.integers(1, 3))):
        holder = data.draw(st.sampled_from(["after", "source", "top"]))
        target = value if holder == "top" else value[holder]
        if isinstance(target, dict) and target:
            target[data.draw(st.sampled_from(sorted(target)))] = data.draw(JSON_VALUES)
    judge(json.dumps(value).encode(), key_of(event.payment_id))


@given(data=st.data())
def test_a_damaged_record_decodes_or_is_a_decode_error(data: st.DataObject) -> None:
    event = data.draw(st.sampled_from(data.draw(histories(payments_max=1, steps_max=6))))
    value = bytearray(record(event).value or b"")
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(value)) | st.just(len(value)))
    judge(bytes(value[:end]), key_of(event.payment_id))


def test_the_histories_drawn_here_reach_every_event_that_moves_money() -> None:
    seen: set[tuple[Direction, EventType]] = set()

    # The same examples in every run: whether they reach it must not be left to chance.
    @settings(max_examples=300, database=None, derandomize=True)
    @given(histories())
    def draw(history: list[Event]) -> None:
        seen.update((event.direction, event.event_type) for event in history if postings(event))

    draw()
    assert seen == {
        (Direction.IN, EventType.CAPTURED),
        (Direction.IN, EventType.RELEASED),
        (Direction.IN, EventType.REFUNDED),
        (Direction.IN, EventType.DISPUTE_OPENED),
        (Direction.IN, EventType.DISPUTE_WON),
        (Direction.IN, EventType.DISPUTE_LOST),
        (Direction.IN, EventType.STRAY_CAPTURED),
        (Direction.IN, EventType.STRAY_REFUNDED),
        (Direction.IN, EventType.REFUND_RETURNED),
        (Direction.IN, EventType.STRAY_DISPUTED),
        (Direction.IN, EventType.STRAY_DISPUTE_WON),
        (Direction.IN, EventType.DISPUTE_REVERSED),
        (Direction.IN, EventType.HONOURED),
        (Direction.OUT, EventType.REQUESTED),
        (Direction.OUT, EventType.PAID),
        (Direction.OUT, EventType.FAILED),
        (Direction.OUT, EventType.CANCELLED),
        (Direction.OUT, EventType.RETURNED),
    }
