"""The fast way of a batch against the judge of a single record: the same rows, the same errors."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.envelope import WireEvent
from schemas.errors import DecodeError
from schemas.events import Event
from schemas.lifecycle import EventType
from schemas.views import DEAD_LETTERS, rows_of
from streams.decode import Record, decode
from streams.fold import FOLDED_TABLES, fold, fold_batch
from tests.events import envelope, key_of, pay_in, raw_record
from tests.strategies import histories

PARKED_AT = datetime(2026, 2, 1, tzinfo=UTC)
CREATED = pay_in(EventType.CREATED, amount_minor=5, order_amount_minor=5)

# Ways of writing the same, or nearly: the judge takes some of them.
TIMES = st.sampled_from(
    [
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
)
IDS = st.sampled_from(
    [
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
)
KEYS = st.one_of(
    IDS.map(lambda text: json.dumps({"payment_id": text}).encode()),
    IDS.map(lambda text: json.dumps({"payment_id": text}, separators=(",", ":")).encode()),
    IDS.map(lambda text: b'{"payment_id":"' + text.encode() + b'","payment_id":"x"}'),
    IDS.map(lambda text: b'{"payment_id":"' + text.encode() + b'"}\n'),
    st.sampled_from([None, b"", b"{}", b'""', key_of(CREATED.payment_id)]),
)
INTEGERS = st.sampled_from(
    [0, 1, 5, 6, -1, 2**31, 10**15, 10**15 + 1, 2**63 - 1, 2**63, 2**64, 5.0]
)
COLUMNS = [field.name for field in msgspec.structs.fields(Event)]


def changes_of(column: str) -> st.SearchStrategy[Any]:
    """What to put into a column: mostly something that might be let through."""
    if column in ("occurred_at", "recorded_at"):
        return TIMES
    if column == "payment_id":
        return IDS
    if column.endswith("_minor") or column in ("seq", "schema_version"):
        return INTEGERS | st.none() | st.just("1")
    if column in ("event_type", "status", "fulfilment", "dispute", "direction"):
        return st.sampled_from(
            ["captured", "created", "paid", "open", "none", "in", "out", "", None]
        )
    return st.sampled_from(["", "x", "EUR", "\x00", "é", None, 1])


@st.composite
def altered(draw: st.DrawFn) -> Record:
    """A record of some event, in which something may be other than Debezium writes it."""
    event = draw(st.just(CREATED) | histories(payments_max=1, steps_max=6).flatmap(st.sampled_from))
    value = envelope(event, op=draw(st.sampled_from(["c", "c", "r", "u", "x", None, 1])))
    for _ in range(draw(st.integers(0, 2))):
        column = draw(st.sampled_from(COLUMNS))
        value["after"][column] = draw(changes_of(column))
    key = draw(st.just(key_of(event.payment_id)) | KEYS)
    text = json.dumps(value)
    if draw(st.booleans()):
        text = text.replace('"seq"', '"seq": 7, "seq"')  # the last one counts
    encoded = text.encode("utf-8", "surrogatepass")
    return raw_record(encoded)._replace(key=key, offset=draw(st.integers(0, 2**40)))


@settings(max_examples=500)
@given(st.lists(altered(), max_size=4))
@example([])
def test_a_batch_takes_and_refuses_what_the_judge_of_one_record_does(source: list[Record]) -> None:
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
    for table_name in ("buyer_orders", "payouts"):
        assert set(found[table_name]) <= set(expected[table_name])
        assert bool(found[table_name]) is bool(expected[table_name])
    dead = rows_of(DEAD_LETTERS, batch.columns[DEAD_LETTERS])
    assert [(row[2], row[3], row[4]) for row in dead] == errors


def test_an_event_on_the_wire_has_the_fields_and_the_limits_of_the_event() -> None:
    as_text = {"payment_id", "occurred_at", "recorded_at"}
    wire, event = (
        {field.name: (field.type, field.required) for field in msgspec.structs.fields(kind)}
        for kind in (WireEvent, Event)
    )
    assert list(wire) == list(event)
    assert {name for name in wire if wire[name] != event[name]} == as_text
    assert all(wire[name] == (str, True) for name in as_text)
