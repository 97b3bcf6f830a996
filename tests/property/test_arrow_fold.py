"""Large batches are folded in pieces: the same rows, whatever is in which piece."""

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import ArrowColumn
from schemas.errors import WriteRefused
from schemas.events import Event
from schemas.lifecycle import EventType
from schemas.views import (
    BUYER_ORDERS,
    PAYMENT_EVENTS,
    PAYOUTS,
    TABLES,
    Columns,
    Table,
    rows_of,
)
from sinks.memory import MemorySink
from streams import arrow_fold
from streams.arrow_fold import fold_to_arrow
from streams.fold import FoldedBatch, fold_batch
from tests.events import pay_in, raw_record, record, records
from tests.strategies import histories

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)


def in_pieces(source: list[Any], size: int) -> FoldedBatch:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_fold, "PIECE_RECORDS", size)
        return fold_to_arrow(source, consumer="views", parked_at=PARKED_AT)


def rows(columns: Mapping[Table, Columns]) -> dict[str, Counter[Any]]:
    """Rows of each table, in no order."""
    return {
        table.name: Counter(map(tuple, rows_of(table, columns.get(table, ()))))
        for table in TABLES.values()
    }


@given(histories(), st.integers(1, 5), st.data())
def test_pieces_make_the_rows_of_the_whole(
    history: list[Event], size: int, data: st.DataObject
) -> None:
    source = [*records(history), raw_record(b"not an event", partition=1, offset=10_000)]
    source = data.draw(st.permutations(source))
    whole = fold_batch(source, consumer="views", parked_at=PARKED_AT)
    pieces = in_pieces(source, size)
    assert pieces.minutes == whole.minutes
    assert pieces.event_count == whole.event_count
    assert Counter(pieces.dead_letters) == Counter(whole.dead_letters)
    expected, found = rows(whole.columns), rows(pieces.columns)
    for table in (BUYER_ORDERS, PAYOUTS):  # one state of each in a piece, not in the whole
        assert found[table.name].keys() >= expected[table.name].keys()
        del expected[table.name], found[table.name]
    assert found == expected
    stores = MemorySink(), MemorySink()
    for store, batch in zip(stores, (whole, pieces), strict=True):
        store.write(batch.columns)
    for table in TABLES.values():
        assert stores[0].rows(table) == stores[1].rows(table)


def test_many_records_are_packed_and_few_are_not() -> None:
    source = [record(pay_in(EventType.CREATED, seq=n + 1, amount_minor=5)) for n in range(5)]
    assert all(isinstance(one, ArrowColumn) for one in in_pieces(source, 4).columns[PAYMENT_EVENTS])
    assert not any(
        isinstance(one, ArrowColumn) for one in in_pieces(source, 5).columns[PAYMENT_EVENTS]
    )


def test_packed_columns_can_be_cut_and_read_one_by_one() -> None:
    source = [record(pay_in(EventType.CREATED, seq=n + 1, amount_minor=5)) for n in range(5)]
    whole = fold_batch(source, consumer="views", parked_at=PARKED_AT).columns[PAYMENT_EVENTS]
    for plain, column in zip(whole, in_pieces(source, 2).columns[PAYMENT_EVENTS], strict=True):
        assert [column[index] for index in range(5)] == list(plain)
        assert list(column[1:3]) == list(plain[1:3])
        assert list(column) == list(plain)


def test_what_cannot_be_packed_is_left_to_whoever_writes_it() -> None:
    source = [record(pay_in(EventType.CREATED, seq=n + 1, amount_minor=5)) for n in range(5)]

    def refuse(*_: Any) -> Columns:
        raise WriteRefused("no")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrow_fold, "arrow_columns", refuse)
        assert rows(in_pieces(source, 2).columns) == rows(
            fold_batch(source, consumer="views", parked_at=PARKED_AT).columns
        )
