"""The steps over the sink in memory: what is written when, parked, noted, and counted."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from schemas.columns import instant
from schemas.errors import WriteRefused
from schemas.lifecycle import EventType
from schemas.views import (
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PIPELINE_PROGRESS,
    SELLER_REVENUE,
    Columns,
    DeadLetterRow,
    Table,
)
from sinks.memory import MemorySink
from streams.decode import Record
from streams.views.coalescer import Flush
from streams.views.metrics import ViewsMetrics
from streams.views.parking import (
    DeadLetterFlood,
    FloodDetector,
    FloodLimits,
    dead_letter_headers,
    dead_letter_key,
)
from streams.views.steps import ViewSteps
from tests.events import COMMITTED_AT_MS, pay_in, raw_record, record

NOW = instant(COMMITTED_AT_MS) + timedelta(milliseconds=80)
CAPTURED = pay_in(
    EventType.CAPTURED, amount_minor=1_000, commission_minor=100, order_amount_minor=1_000
)


class RecordingSink(MemorySink):
    """Remembers what was called, and refuses one row if told so."""

    def __init__(self, refused_seq: int | None = None) -> None:
        super().__init__()
        self.calls: list[str] = []
        self._refused_seq = refused_seq

    def write(self, batch: Mapping[Table, Columns]) -> None:
        self.calls += sorted(table.name for table, columns in batch.items() if columns)
        events = batch.get(PAYMENT_EVENTS)
        if events and self._refused_seq in events[1]:
            raise WriteRefused("no")
        super().write(batch)

    def note_minutes(self, minutes: Iterable[datetime]) -> None:
        self.calls.append("note")
        super().note_minutes(minutes)


class Sender:
    """Remembers what was sent."""

    def __init__(self) -> None:
        self.sent: list[DeadLetterRow] = []

    async def send(self, rows: tuple[DeadLetterRow, ...]) -> None:
        self.sent += rows


def steps(sink: MemorySink, sender: Sender | None = None) -> ViewSteps:
    return ViewSteps(
        sink=sink,
        dead_letters=sender or Sender(),
        guard=FloodDetector(FloodLimits(share_max=0.5, records_min=3)),
        metrics=ViewsMetrics(),
        consumer="views",
        now=lambda: NOW,
    )


def flush(*records: Record) -> Flush:
    return Flush(records=list(records), batches=())


def run(subject: ViewSteps, *records: Record) -> None:
    folded = subject.fold(flush(*records))
    receipt = subject.write(folded)
    asyncio.run(subject.park(folded))
    subject.settle([receipt])


def test_the_progress_is_written_after_the_notes() -> None:
    sink = RecordingSink()
    run(steps(sink), record(CAPTURED, offset=7))
    assert sink.calls[-2:] == ["note", "pipeline_progress"]
    assert set(sink.calls[:-2]) == {"buyer_orders", "ledger_entries", "payment_events"}
    [progress] = sink.rows(PIPELINE_PROGRESS)
    assert progress[:4] == ("views", "purser.public.payments", 0, 7)
    assert len(sink.rows(SELLER_REVENUE)) == 1


def test_many_flushes_are_settled_at_once() -> None:
    sink = RecordingSink()
    subject = steps(sink)
    receipts = [
        subject.write(subject.fold(flush(record(CAPTURED, partition=part, offset=offset))))
        for part, offset in ((0, 5), (1, 3), (0, 6))
    ]
    subject.settle(receipts)
    assert sink.calls.count("note") == 1
    assert [row[2:4] for row in sink.rows(PIPELINE_PROGRESS)] == [(0, 6), (1, 3)]


def test_a_flush_that_moves_no_money_notes_nothing() -> None:
    sink = RecordingSink()
    run(steps(sink), record(pay_in(EventType.SHIPPED, seq=3)))
    assert "note" not in sink.calls
    assert len(sink.rows(PIPELINE_PROGRESS)) == 1


def test_a_bad_record_goes_to_table_and_topic_and_its_neighbours_flow() -> None:
    sink, sender = RecordingSink(), Sender()
    subject = steps(sink, sender)
    run(subject, record(CAPTURED, offset=1), raw_record(b"nonsense", offset=2))
    assert len(sink.rows(PAYMENT_EVENTS)) == len(sink.rows(DEAD_LETTERS)) == 1
    [row] = sender.sent
    assert (row.kafka_offset, row.raw_value, row.parked_at) == (2, b"nonsense", NOW)
    value = subject.metrics.registry.get_sample_value
    assert value("purser_views_dead_letters_total", {"reason": "malformed_record"}) == 1
    assert value("purser_views_records_total") == 2
    assert value("purser_views_events_total") == 1


def test_freshness_is_from_the_commit_to_the_rows_being_in() -> None:
    subject = steps(RecordingSink())
    run(subject, record(CAPTURED))
    value = subject.metrics.registry.get_sample_value
    assert value("purser_views_freshness_seconds_sum") == pytest.approx(0.080)
    assert value("purser_views_flush_rows_sum") == 1


@pytest.mark.parametrize("refused_seq", [1, 2, 9, 10])
def test_a_refused_row_is_named(refused_seq: int) -> None:
    subject = steps(RecordingSink(refused_seq))
    folded = subject.fold(
        flush(*(record(pay_in(EventType.SHIPPED, seq=seq), offset=seq) for seq in range(1, 11)))
    )
    with pytest.raises(
        WriteRefused, match=f"no; the row of payment_events.*'seq': '{refused_seq}'"
    ):
        subject.write(folded)


def test_writing_again_after_a_refusal_changes_no_row() -> None:
    sink = RecordingSink(refused_seq=2)
    subject = steps(sink)
    folded = subject.fold(flush(record(CAPTURED), record(pay_in(EventType.SHIPPED, seq=2))))
    with pytest.raises(WriteRefused):
        subject.write(folded)
    assert [row[1] for row in sink.rows(PAYMENT_EVENTS)] == [CAPTURED.seq]


def bad(offset: int) -> Record:
    return raw_record(b"{}", offset=offset)


def good(offset: int) -> Record:
    return record(CAPTURED, offset=offset)


@pytest.mark.parametrize(
    ("records", "is_flood"),
    [
        ("bb", False),
        ("bbb", True),
        ("gbgbgb", False),
        ("gbgbbb", True),
        ("gggggggggg", False),
        ("gggggggbbb", False),
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_more_than_the_share_and_the_minimum_is_a_flood(
    records: str, is_flood: bool, together: bool
) -> None:
    subject = steps(RecordingSink())
    made = [bad(n) if kind == "b" else good(n) for n, kind in enumerate(records)]
    flushes = [flush(*made)] if together else [flush(one) for one in made]

    def fold_all() -> None:
        for one in flushes:
            subject.fold(one)

    if is_flood:
        with pytest.raises(DeadLetterFlood, match="not parked; look at"):
            fold_all()
    else:
        fold_all()


def test_the_flood_guard_forgets_what_is_long_ago() -> None:
    guard = FloodDetector(FloodLimits(share_max=0.5, records_min=3))
    guard.check(2, 2, "x")
    guard.check(1_000, 0, "")
    guard.check(4, 4, "x")
    with pytest.raises(DeadLetterFlood, match="600 of the last 1000 records"):
        guard.check(1_000, 600, "x")


def test_a_dead_letter_says_where_it_comes_from_and_has_always_the_same_key() -> None:
    sender = Sender()
    for _ in range(2):
        run(steps(MemorySink(), sender), raw_record(b"nonsense", key=b"k", partition=3, offset=9))
    first, again = sender.sent
    assert dead_letter_key(first) == dead_letter_key(again) == b"purser.public.payments/3/9"
    headers = dict(dead_letter_headers(first))
    assert headers["source_key"] == b"k"
    assert headers["source_partition"] == b"3"
    assert headers["reason"] == b"malformed_record"


def test_only_the_tables_that_the_worker_keeps_are_written() -> None:
    sink = RecordingSink()
    run(replace(steps(sink), tables={PAYMENT_EVENTS}), record(CAPTURED, offset=7))
    assert sink.calls == ["payment_events", "pipeline_progress"]
    run(replace(steps(sink), tables={LEDGER_ENTRIES}), record(CAPTURED, offset=8))
    assert sink.calls[2:] == ["ledger_entries", "note", "pipeline_progress"]
