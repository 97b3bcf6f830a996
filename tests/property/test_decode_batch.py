"""The fast way of a batch against the judge of a single record: the same rows, the same errors."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DecodeError
from schemas.events import Event, WireEvent
from schemas.lifecycle import EventType
from schemas.views import DEAD_LETTERS, rows_of
from streams import decode as decode_module
from streams.decode import Record, decode
from streams.fold import FOLDED_TABLES, fold, fold_batch
from tests.events import envelope, key_of, pay_in, payout, raw_record, record, records
from tests.strategies import histories

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)
CREATED = pay_in(EventType.CREATED, amount_minor=5, order_amount_minor=5)

# Ways of writing the same, or nearly: the judge takes some of them.
TIMES = [
    "2026-01-05T12:00:00Z",
    "2026-01-05T12:00:00.1Z",
    "2026-01-05T12:00:00.1234567Z",
    "2026-01-05 12:00:00.123Z",
    "2026-01-05t12:00:00z",
    "2026-01-05T12:00Z",
    "2026-01-05T12Z",
    "2026-01-05T12:00+00:00:00Z",
    "2026-01-05T23:30:00-01:00",
    "2026-01-05T12:00:00+00:00",
    "2026-01-05T12:00:00",
    "2026-01-05",
    "2026-01-05Z",
    "2026-02-29T12:00:00Z",
    "2026-01-05T24:00:00Z",
    "2026-01-05T12:00:60Z",
    "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z",
    "2149-06-05T23:59:59.999999Z",
    "2149-06-06T00:00:00Z",
    "0000-01-05T12:00:00Z",
    "9999-12-31T23:59:59.999999Z",
    " 2026-01-05T12:00:00Z",
    "2026-01-05T12:00:00Z\n",
    "\ud800026-01-05T12:00:00Z",
    "",
]
IDS = [
    str(CREATED.payment_id),
    str(CREATED.payment_id).upper(),
    CREATED.payment_id.hex,
    f"{{{CREATED.payment_id}}}",
    f"urn:uuid:{CREATED.payment_id}",
    str(CREATED.payment_id) + "\n",
    str(CREATED.payment_id)[:-1],
    str(CREATED.payment_id)[:-1] + "g",
    str(CREATED.payment_id)[:-1] + "0",
    "",
]
KEYS = [
    *(json.dumps({"payment_id": text}).encode() for text in IDS),
    *(b'{"payment_id":"%b"}' % text.encode() for text in IDS),
    *(b'{"payment_id":"%b","payment_id":"x"}' % text.encode() for text in IDS),
    *(b'{"payment_id":"%b"}\n' % text.encode() for text in IDS),
    *(b"{}", b'""', b"null", b"\xff"),
]
INTEGERS = [0, 1, 5, 6, -1, -5, -6, 2**31, 10**15, 10**15 + 1, 2**63 - 1, 2**63, 2**64, 5.0]
WORDS = ["captured", "created", "refunded", "paid", "requested", "open", "none", "in", "out", ""]
CAPTURE = pay_in(EventType.CAPTURED, amount_minor=6, commission_minor=1, captured_minor=6)
REFUND = pay_in(EventType.REFUNDED, amount_minor=6, commission_minor=1, available_delta_minor=-5)
REQUEST = payout(EventType.REQUESTED, amount_minor=5, available_delta_minor=-5)
STRAY = pay_in(EventType.STRAY_CAPTURED, amount_minor=5, suspense_minor=5)
HONOURED = pay_in(EventType.HONOURED, amount_minor=5, suspense_minor=-5, captured_minor=5)
DISPUTE = pay_in(EventType.DISPUTE_OPENED, amount_minor=5, suspense_minor=-6)
WON = pay_in(EventType.DISPUTE_WON, suspense_minor=6)
EVENTS = [CREATED, CAPTURE, REFUND, REQUEST, STRAY, HONOURED, DISPUTE, WON]


def values_of(column: str) -> list[Any]:
    """What to put into a column: much of it might be let through."""
    if column in ("occurred_at", "recorded_at"):
        return [*TIMES, None, 1]
    if column == "payment_id":
        return [*IDS, None]
    if column.endswith("_minor") or column in ("seq", "schema_version"):
        return [*INTEGERS, None, "1"]
    if column in ("event_type", "status", "fulfilment", "dispute", "direction"):
        return [*WORDS, None]
    return ["", "x", "EUR", "\x00", "é", None, 1]


CHANGES = [(column, value) for column in Event.__struct_fields__ for value in values_of(column)]


def altered(
    event: Event, changes: list[tuple[str, Any]], key: bytes | None = None, **fields: Any
) -> Record:
    """The event's record with other columns, or as another key has it."""
    value = envelope(event, **fields)
    value["after"] |= dict(changes)
    # Text that is not Unicode is what a wrong producer may write.
    encoded = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return raw_record(encoded, key=key or key_of(event.payment_id))


def assert_taken_as_the_judge_does(source: list[Record]) -> None:
    """The batch has the rows of each record that `decode` lets pass, and its error otherwise."""
    expected: dict[str, list[Any]] = {table.name: [] for table in FOLDED_TABLES}
    errors = []
    for one in source:
        try:
            made = fold(decode(one))
        except DecodeError as error:
            errors.append((one.offset, error.reason, str(error)))
        else:
            for table in FOLDED_TABLES:
                expected[table.name] += rows_of(table, made[table])
    batch = fold_batch(source, consumer="views", parked_at=PARKED_AT)
    found = {table.name: rows_of(table, batch.columns[table]) for table in FOLDED_TABLES}
    assert found["payment_events"] == expected["payment_events"]
    assert found["ledger_entries"] == expected["ledger_entries"]
    # Of an order's states a batch keeps one, which the tests of the fold look at.
    for name in ("buyer_orders", "payouts"):
        assert set(found[name]) <= set(expected[name])
        assert bool(found[name]) is bool(expected[name])
    dead = rows_of(DEAD_LETTERS, batch.columns[DEAD_LETTERS])
    assert [(row[2], row[3], row[4]) for row in dead] == errors


@pytest.mark.parametrize("column", Event.__struct_fields__)
def test_each_value_that_a_column_may_have_is_taken_as_the_judge_does(column: str) -> None:
    for event in EVENTS:
        for value in values_of(column):
            assert_taken_as_the_judge_does([altered(event, [(column, value)])])


def test_each_key_and_each_operation_is_taken_as_the_judge_does() -> None:
    for key in KEYS:
        assert_taken_as_the_judge_does([altered(CAPTURE, [], key)])
    for op in ("c", "r", "u", "d", "", None, 1):
        assert_taken_as_the_judge_does([altered(CAPTURE, [], op=op)])
    for source in ({}, {"ts_ms": 5}, {"ts_ms": -1}, {"ts_ms": 5, "txId": 2**32}, None):
        assert_taken_as_the_judge_does([altered(CAPTURE, [], source=source)])
    assert_taken_as_the_judge_does([record(CAPTURE, after=None)])
    assert_taken_as_the_judge_does([raw_record(None), raw_record(b""), raw_record(b"\xff")])


@given(
    st.lists(
        st.builds(
            altered,
            st.sampled_from(EVENTS) | histories(payments_max=1).flatmap(st.sampled_from),
            st.lists(st.sampled_from(CHANGES), max_size=2),
        ),
        max_size=6,
    )
)
def test_a_batch_takes_each_of_its_records_as_the_judge_does(source: list[Record]) -> None:
    numbered = [one._replace(offset=offset) for offset, one in enumerate(source)]
    assert_taken_as_the_judge_does(numbered)


@given(histories())
def test_what_debezium_writes_is_never_looked_at_record_by_record(history: list[Event]) -> None:
    """Or the speed would be gone, and nothing else would tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode_module, "decode", None)
        patch.setattr(decode_module, "contradiction", None)
        batch = fold_batch(records(history), consumer="views", parked_at=PARKED_AT)
    assert batch.event_count == len(history)


def test_a_field_that_comes_twice_counts_as_the_judge_counts_it() -> None:
    twice = record(CAPTURE)
    assert twice.value is not None
    value = twice.value.replace(b'"seq":', b'"seq":7,"seq":')
    assert value != twice.value
    assert_taken_as_the_judge_does([twice._replace(value=value)])


def test_an_event_on_the_wire_has_the_fields_and_the_limits_of_the_event() -> None:
    as_text = {"payment_id", "occurred_at", "recorded_at"}
    wire, event = (
        {field.name: (field.type, field.required) for field in msgspec.structs.fields(kind)}
        for kind in (WireEvent, Event)
    )
    assert list(wire) == list(event)
    assert {name for name in wire if wire[name] != event[name]} == as_text
    assert all(wire[name] == (str, True) for name in as_text)
