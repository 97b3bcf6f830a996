"""What every sink promises, and a fold can rely on."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from schemas.events import Event
from schemas.lifecycle import EventType as E
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    PIPELINE_PROGRESS,
    RECONCILIATION_LOG,
    SELLER_REVENUE,
    TABLES,
    DeadLetterRow,
    LedgerEntryRow,
    ProgressRow,
    ReconciliationRow,
    Table,
    columns_of,
)
from sinks.memory import MemorySink
from streams.fold import fold_batch
from tests.contract.sinks.conftest import AGES, NASTY, Store, folded, recorded, write
from tests.events import NOON, pay_in, payout, record, records
from tests.strategies import histories

LAST_INSTANT = datetime(2149, 6, 5, 23, 59, 59, 999_999, tzinfo=UTC)
AT_MS = datetime(2026, 1, 5, 12, 0, 0, 123_000, tzinfo=UTC)  # columns of milliseconds
FIRST_INSTANT = datetime(1970, 1, 1, tzinfo=UTC)
LAST_MINUTE = datetime(2106, 2, 7, 6, 28, tzinfo=UTC)


def extreme_rows() -> dict[Table, list[tuple[Any, ...]]]:
    """Two rows of each table that go to the ends of what its columns hold."""
    uuids = (UUID(int=0), UUID("ffffffff-ffff-4fff-bfff-fffffffffffe"))
    largest, smallest = 2**63 - 1, -(2**63)
    event = pay_in(
        E.CAPTURED,
        payment_id=uuids[1],
        seq=2**31 - 1,
        amount_minor=10**15,
        captured_minor=largest,
        seller_id=NASTY,
        order_id=NASTY,
        buyer_id=NASTY,
        details='{"ключ": "\\u0000"}',
        occurred_at=LAST_INSTANT,
        recorded_at=FIRST_INSTANT,
    )
    asked = payout(
        E.REQUESTED,
        payment_id=uuids[0],
        amount_minor=1,
        available_delta_minor=-1,
        occurred_at=FIRST_INSTANT,
        psp_reference=None,
    )
    batch = fold_batch(
        [record(event, partition=2**31 - 1, offset=2**62), record(asked, offset=0)],
        consumer=NASTY,
        parked_at=NOON,
    )
    rows = {table: list(zip(*columns, strict=True)) for table, columns in batch.columns.items()}
    rows[LEDGER_ENTRIES] += [
        LedgerEntryRow("bank", NASTY, "EUR", day, uuids[0], 1, 9, "paid", amount, minute)
        for day, amount, minute in (
            (date(1970, 1, 1), smallest, LAST_MINUTE),
            (date(2149, 6, 6), largest, FIRST_INSTANT),
        )
    ]
    rows[DEAD_LETTERS] = [
        DeadLetterRow(
            "t", 0, offset, "x", NASTY, raw, raw, not raw, FIRST_INSTANT, "views", LAST_INSTANT
        )
        for offset, raw in ((0, b""), (2**62, bytes(range(256))))
    ]
    rows[RECONCILIATION_LOG] = [
        ReconciliationRow(
            case, 2**62, "stripe", "po_1", "missing", payment_id, "", "", "EUR", smallest, largest,
            "open", "", NASTY, FIRST_INSTANT, LAST_INSTANT,
        )
        for case, payment_id in (("a", None), ("b", uuids[1]))
    ]  # fmt: skip
    return rows


def test_rows_come_back_as_they_were_written(store: Store) -> None:
    rows = extreme_rows()
    assert frozenset(rows) == frozenset(TABLES.values())
    store.sink.write({table: columns_of(values) for table, values in rows.items()})
    for table, values in rows.items():
        assert values
        found = store.rows(table)
        assert sorted(map(repr, map(plain, found))) == sorted(map(repr, map(plain, values)))


def plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without enumerations and row types, which a database does not give back."""
    return tuple(str(value) if isinstance(value, str) else value for value in row)


def test_nothing_to_write_is_nothing_written(store: Store) -> None:
    store.sink.write({})
    store.sink.write(folded().columns)
    store.sink.note_minutes([])
    assert all(not store.rows(table) for table in (*TABLES.values(), SELLER_REVENUE))


def test_rows_written_again_are_there_once(store: Store) -> None:
    events = [
        pay_in(E.CREATED, seq=1, amount_minor=900, commission_minor=90),
        pay_in(E.CAPTURED, seq=2, amount_minor=900, commission_minor=90),
        payout(E.REQUESTED, payment_id=UUID(int=5), amount_minor=1, available_delta_minor=-1),
    ]
    for _ in range(3):
        batch = write(store.sink, *events)
        store.sink.note_minutes(batch.minutes)
    for table in (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS, SELLER_REVENUE):
        expected = {PAYMENT_EVENTS: 3, LEDGER_ENTRIES: 5}.get(table, 1)
        assert len(store.rows(table)) == expected, table.name


VERSIONS: list[tuple[Table, list[tuple[Any, ...]]]] = [
    (
        BUYER_ORDERS,
        [
            tuple(columns[0] for columns in folded(event).columns[BUYER_ORDERS])
            for event in (
                pay_in(E.CREATED, seq=1, amount_minor=9),
                pay_in(E.AUTHORIZED, seq=2, amount_minor=9),
                pay_in(E.CAPTURED, seq=10, amount_minor=9, captured_minor=9),
            )
        ],
    ),
    (
        PAYOUTS,
        [
            tuple(columns[0] for columns in folded(event).columns[PAYOUTS])
            for event in (
                payout(E.REQUESTED, seq=1, amount_minor=9, available_delta_minor=-9),
                payout(E.SUBMITTED, seq=2, amount_minor=9),
                payout(E.PAID, seq=3, amount_minor=9),
            )
        ],
    ),
    (
        PIPELINE_PROGRESS,
        [ProgressRow("views", "t", 1, offset, AT_MS) for offset in (9, 10, 2**40)],
    ),
    (
        PAYMENT_EVENTS,
        [
            tuple(
                columns[0]
                for columns in fold_batch(
                    [record(pay_in(E.SHIPPED), offset=offset)], consumer="v", parked_at=NOON
                ).columns[PAYMENT_EVENTS]
            )
            for offset in (9, 10, 11)
        ],
    ),
    (
        DEAD_LETTERS,
        [
            DeadLetterRow("t", 0, 1, "x", "", b"", b"", True, AT_MS, "v", NOON + timedelta(hours=n))
            for n in range(3)
        ],
    ),
]


@pytest.mark.parametrize(("table", "versions"), VERSIONS, ids=[table.name for table, _ in VERSIONS])
def test_the_highest_version_stays_whatever_the_order(
    store: Store, table: Table, versions: list[tuple[Any, ...]]
) -> None:
    lowest, middle, highest = versions
    for batch in ([middle], [highest, lowest], [middle], [lowest, middle]):
        store.sink.write({table: columns_of(batch)})
    assert store.rows(table) == [highest]


def test_a_sink_serves_many_threads(store: Store) -> None:
    with ThreadPoolExecutor(6) as threads:
        running = [
            threads.submit(write, store.sink, pay_in(E.SHIPPED, seq=seq)) for seq in range(1, 19)
        ]
        for one in running:
            one.result()
    assert [row[1] for row in store.rows(PAYMENT_EVENTS)] == list(range(1, 19))


EXAMPLES = itertools.count()


@settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_views_do_not_depend_on_batching_order_or_duplicates(
    store: Store, data: st.DataObject
) -> None:
    # Examples share one store, and are told apart by ids.
    number = next(EXAMPLES)
    age = data.draw(st.sampled_from([*AGES.values()]))
    history = [
        renumbered(event, number)
        for event in recorded(data.draw(histories(payments_max=3, steps_max=8)), age)
    ]
    arrived = data.draw(st.permutations([*records(history), *records(history)[:3]]))
    middle = data.draw(st.integers(0, len(arrived)))
    expected = MemorySink()
    whole = folded(*history)
    expected.write(whole.columns)
    expected.note_minutes(whole.minutes)
    for part in (arrived[:middle], arrived[middle:]):
        batch = fold_batch(part, consumer="views", parked_at=NOON)
        store.sink.write(batch.columns)
        store.sink.note_minutes(batch.minutes)
    for table in (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS, SELLER_REVENUE):
        of_this = [row for row in store.rows(table) if of_example(table, row, number)]
        assert of_this == [row for row in expected.rows(table) if of_example(table, row, number)]


def renumbered(event: Event, number: int) -> Event:
    """The same event of ids that no other example has."""
    payment_id = UUID(int=event.payment_id.int ^ (number << 20))
    changes: dict[str, Any] = {"payment_id": payment_id, "seller_id": f"{event.seller_id}-{number}"}
    if event.buyer_id is None:
        changes["order_id"] = str(payment_id)
    return replace(event, **changes)


def of_example(table: Table, row: tuple[Any, ...], number: int) -> bool:
    """Rows that are kept by seller tell which example they are from; PSPs' accounts do not."""
    place = table.columns.index("account_id" if table is LEDGER_ENTRIES else "seller_id")
    return str(row[place]).endswith(f"-{number}")
