"""Records in columns, from each client's own kind of record."""

from datetime import UTC, datetime

from aiokafka.structs import ConsumerRecord

from schemas.lifecycle import EventType
from schemas.views import LEDGER_ENTRIES, PAYMENT_EVENTS
from streams.decode import Record
from streams.fold import fold_batch
from streams.records import records_of, records_of_messages
from tests.events import pay_in, raw_record, record

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)
SOURCE = [
    record(pay_in(EventType.CAPTURED, amount_minor=5), partition=2, offset=7),
    raw_record(None, partition=1, offset=9),
]


class Message:
    """What confluent_kafka hands out, as far as we look."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def topic(self) -> str:
        return self._record.topic

    def partition(self) -> int:
        return self._record.partition

    def offset(self) -> int:
        return self._record.offset

    def timestamp(self) -> tuple[int, int]:
        return 1, self._record.timestamp

    def key(self) -> bytes | None:
        return self._record.key

    def value(self) -> bytes | None:
        return self._record.value


def test_records_are_the_same_from_whichever_client() -> None:
    of_aiokafka = [
        ConsumerRecord(
            *one[:3], one.timestamp, 0, one.key, one.value, None, 0, len(one.value or b""), ()
        )
        for one in SOURCE
    ]
    for records in (
        records_of(SOURCE),
        records_of(iter(SOURCE)),
        records_of(of_aiokafka),
        records_of_messages([Message(one) for one in SOURCE]),
    ):
        assert list(records) == SOURCE
        assert records_of(records) is records


def test_no_records_are_no_rows() -> None:
    for records in (records_of([]), records_of_messages([])):
        assert not len(records)
        assert fold_batch(records, consumer="views", parked_at=PARKED_AT).row_count == 0


def test_a_batch_is_folded_into_the_tables_asked_for() -> None:
    whole = fold_batch(SOURCE, consumer="views", parked_at=PARKED_AT)
    assert whole.minutes
    for table in (PAYMENT_EVENTS, LEDGER_ENTRIES):
        part = fold_batch(SOURCE, consumer="views", parked_at=PARKED_AT, tables={table})
        assert set(whole.columns) - set(part.columns) == {
            other for other in whole.columns if other.name in ("buyer_orders", "payouts")
        } | ({PAYMENT_EVENTS, LEDGER_ENTRIES} - {table})
        assert list(map(list, part.columns[table])) == list(map(list, whole.columns[table]))
        assert part.minutes == (whole.minutes if table is LEDGER_ENTRIES else frozenset())
        assert part.dead_letters == whole.dead_letters


def test_pieces_are_all_the_records_in_order() -> None:
    records = records_of(
        [raw_record(b"%d" % offset, partition=1, offset=offset) for offset in range(7)]
    )
    for size in (1, 3, 7, 8):
        pieces = list(records.pieces(size))
        assert [len(piece) for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
        assert [record for piece in pieces for record in piece] == list(records)
    assert list(records_of([]).pieces(3)) == []
