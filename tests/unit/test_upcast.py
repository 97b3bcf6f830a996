"""Rows of older schema versions: what they mean today, what is stored, and what may go wrong."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.errors import (
    BrokenInvariant,
    DecodeError,
    MalformedRecord,
    NewerSchema,
    SchemaVersionError,
    UnexpectedChange,
    UnknownEvent,
)
from schemas.events import COLUMNS, SCHEMA_VERSION, StoredEvent
from schemas.lifecycle import EventType as E
from schemas.upcast import UPCASTERS, Row, check_complete, upcast
from schemas.views import PAYMENT_EVENTS, rows_of
from streams.decode import Record, decode
from streams.fold import fold_batch
from tests.events import NOON, envelope, pay_in, raw_record
from tests.versions import NEWEST, second, third, upgrade

CAPTURE = pay_in(
    E.CAPTURED,
    amount_minor=100,
    commission_minor=10,
    logistics_fee_minor=5,
    details='{"reason": "x"}',
)


def stored(version: int, **columns: Any) -> Record:
    """The capture's record as a writer of this version left it; `...` removes a column."""
    value = envelope(CAPTURE)
    row = value["after"] | {"schema_version": version} | columns
    value["after"] = {name: text for name, text in row.items() if text is not ...}
    return raw_record(json.dumps(value).encode())


@pytest.fixture
def upgraded(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(monkeypatch)


def test_every_older_version_has_an_upcaster_and_no_other_has() -> None:
    check_complete(UPCASTERS, SCHEMA_VERSION)
    check_complete({}, 1)
    check_complete({1: second, 2: third}, 3)
    for upcasters, newest, named in (
        ({2: third}, 3, r"without an upcaster: \[1\]"),
        ({1: second, 2: third}, 2, r"without a version: \[2\]"),
        ({0: second, 1: second}, 2, r"without a version: \[0\]"),
    ):
        with pytest.raises(SchemaVersionError, match=named):
            check_complete(upcasters, newest)


def test_a_stored_event_has_the_columns_of_an_event() -> None:
    assert set(StoredEvent.__struct_fields__) == set(COLUMNS)


@pytest.mark.usefixtures("upgraded")
def test_older_rows_are_upcast_version_by_version() -> None:
    event = decode(stored(1)).event
    assert (event.method, event.details) == ("credit_card", '{"cause": "x"}')
    assert (event.commission_minor, event.logistics_fee_minor) == (15, 0)
    assert event.schema_version == NEWEST
    event = decode(stored(2)).event
    assert (event.method, event.details) == ("card", '{"reason": "x"}')
    assert (event.commission_minor, event.logistics_fee_minor) == (15, 0)
    assert event.schema_version == NEWEST
    # A row of our own version stays as it is, though an upcaster would have something to do.
    found = decode(stored(NEWEST))
    assert (found.event.method, found.event.commission_minor) == ("card", 10)
    assert found.stored is None


@pytest.mark.usefixtures("upgraded")
@pytest.mark.parametrize("version", [1, 2])
def test_payment_events_holds_an_older_row_as_postgresql_does(version: int) -> None:
    found = fold_batch([stored(version)], consumer="test", parked_at=NOON)
    assert not found.dead_letters
    (row,) = rows_of(PAYMENT_EVENTS, found.columns[PAYMENT_EVENTS])
    columns = dict(zip(PAYMENT_EVENTS.columns, row, strict=True))
    for name in COLUMNS:
        expected = version if name == "schema_version" else getattr(CAPTURE, name)
        assert columns[name] == expected, name


@pytest.mark.usefixtures("upgraded")
def test_the_stored_row_is_in_utc_too() -> None:
    found = decode(stored(1, occurred_at="2026-01-01T00:30:00+02:00"))
    assert found.stored is not None
    assert found.stored.occurred_at.isoformat() == "2025-12-31T22:30:00+00:00"


def test_words_that_are_no_longer_ours_stay_in_the_stored_row(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def renamed(row: Row) -> Row:
        return row | {"event_type": row["event_type"].removeprefix("was_")}

    upgrade(monkeypatch, {1: renamed})
    found = decode(stored(1, event_type="was_captured"))
    assert found.event.event_type is E.CAPTURED
    assert found.stored is not None
    assert found.stored.event_type == "was_captured"
    with pytest.raises(UnknownEvent, match="event_type: 'gifted'"):
        decode(stored(1, event_type="gifted"))


@pytest.mark.usefixtures("upgraded")
@pytest.mark.parametrize(
    ("bad", "kind", "text"),
    [
        (stored(1, event_type="gifted"), UnknownEvent, "event_type: 'gifted'"),
        (stored(1, seq="one"), MalformedRecord, "seq"),
        (stored(1, seq=...), MalformedRecord, "seq"),
        (stored(2, occurred_at="yesterday"), MalformedRecord, "occurred_at"),
        (stored(NEWEST + 1), NewerSchema, f"newer than {NEWEST}"),
        (stored(2, commission_minor=101), BrokenInvariant, "commission_minor"),
        (raw_record(b'{"op":"u","source":{},"after":{"schema_version":1}}'), UnexpectedChange, "u"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_older_rows_that_are_wrong_are_told_as_any_other(
    bad: Record, kind: type[DecodeError], text: str
) -> None:
    with pytest.raises(kind, match=text):
        decode(bad)


def _raises(error: Exception) -> Callable[[Row], Row]:
    def upcaster(_row: Row) -> Row:
        raise error

    return upcaster


@pytest.mark.parametrize(
    ("upcaster", "text"),
    [
        (_raises(KeyError("no such column")), "schema_version 1: .*KeyError: 'no such column'"),
        (_raises(AssertionError("two\nlines")), "AssertionError: two lines"),
        (_raises(RecursionError()), "RecursionError"),
        (_raises(ZeroDivisionError()), "ZeroDivisionError"),
        (lambda row: None, "returned NoneType, not a row"),
        (lambda row: row | {"seq": 2}, "seq: an upcaster may not change it"),
        (lambda row: row | {"occurred_at": "2026"}, "occurred_at: an upcaster may not"),
        (lambda row: {}, "payment_id, seq, occurred_at, recorded_at: an upcaster may not"),
        # Its output does not fit: the column is named.
        (lambda row: row | {"amount_minor": "many"}, r"amount_minor.*correct the upcaster"),
        (lambda row: row | {"amount_minor": -1}, r"amount_minor.*correct the upcaster"),
        (lambda row: row | {"amount_minor": object()}, r"amount_minor.*correct the upcaster"),
        (lambda row: row | {"details": {"a": 1}}, r"details.*correct the upcaster"),
        (lambda row: {k: v for k, v in row.items() if k != "method"}, "`method`"),
    ],
)
def test_an_upcaster_that_fails_parks_the_row_and_its_neighbours_go_on(
    monkeypatch: pytest.MonkeyPatch, upcaster: Callable[[Row], Row], text: str
) -> None:
    upgrade(monkeypatch, {1: upcaster})
    with pytest.raises(MalformedRecord, match=text) as caught:
        decode(stored(1))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith("correct the upcaster, then redrive")
    folded = fold_batch([stored(2), stored(1), stored(2)], consumer="views", parked_at=NOON)
    assert (folded.event_count, len(folded.dead_letters)) == (2, 1)


def test_an_upcaster_of_the_second_step_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade(monkeypatch, {1: second, 2: _raises(ValueError("x"))})
    with pytest.raises(MalformedRecord, match="schema_version 2: its upcaster failed"):
        decode(stored(1))


@pytest.mark.usefixtures("upgraded")
def test_a_row_is_not_changed_by_its_upcast() -> None:
    row = envelope(CAPTURE)["after"]
    before = dict(row)
    assert upcast(row, 1) != before
    assert row == before
