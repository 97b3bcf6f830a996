"""Envelopes that the real connector wrote, of every schema version, folded by today's code."""

import hashlib
import json
from collections import Counter
from typing import Any

import pytest

from schemas.events import COLUMNS, SCHEMA_VERSION
from schemas.views import BUYER_ORDERS, LEDGER_ENTRIES, PAYMENT_EVENTS
from streams.decode import decode
from tests.golden.files import (
    FOLDER,
    KINDS,
    Rows,
    envelopes_file,
    folded,
    read_envelopes,
    read_expected,
    rows_by_table,
)
from tests.versions import NEWEST, upgrade

VERSIONS = range(1, SCHEMA_VERSION + 1)

DIGESTS = {1: "35dcf54bec607860eebba88496a4cc72745219241ec48fa7af361a5b185e7d7f"}
"""SHA-256 of each version's envelopes: what was recorded is never edited."""

TO_DO = "if that is on purpose run `python -m tests.golden.expect` and read what it changed"


def test_every_version_has_its_file_and_nothing_else_has() -> None:
    named = {envelopes_file(version).name for version in VERSIONS}
    assert {path.name for path in FOLDER.glob("v*.jsonl")} == named | {
        f"v{version}.rows.jsonl" for version in VERSIONS
    }
    assert DIGESTS.keys() == set(VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_recorded_envelopes_are_never_edited(version: int) -> None:
    digest = hashlib.sha256(envelopes_file(version).read_bytes()).hexdigest()
    assert digest == DIGESTS[version], f"restore {envelopes_file(version).name}"


@pytest.mark.parametrize("version", VERSIONS)
def test_they_fold_to_the_rows_they_always_did(version: int) -> None:
    batch = folded(version)
    assert [letter.error for letter in batch.dead_letters] == []
    found, expected = rows_by_table(batch), read_expected(version)
    assert found.keys() == expected.keys()
    for table, rows in found.items():
        # In which order they lie is the table's business: its key may change.
        assert _sorted(rows) == _sorted(expected[table]), (
            f"{table} of version {version} differs; {TO_DO}"
        )


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=json.dumps)


@pytest.mark.parametrize("version", VERSIONS)
def test_payment_events_has_the_very_values_of_the_envelopes(version: int) -> None:
    rows = rows_by_table(folded(version))[PAYMENT_EVENTS.name]
    stored = {(row["payment_id"], row["seq"]): row for row in rows}
    records = read_envelopes(version)
    assert len(records) == len(stored)
    for record in records:
        after = json.loads(record.value or b"")["after"]
        row = stored[after["payment_id"], after["seq"]]
        for column in COLUMNS:
            # A column that is younger than the record reads as PostgreSQL shows it: empty.
            assert _text(row[column]) == _text(after.get(column)), column


def _text(value: object) -> str:
    """A value as text, times to the microsecond; the views keep null as an empty text."""
    text = "" if value is None else str(value)
    return text.replace("+00:00", "Z").replace(".000000Z", "Z")


def test_the_newest_version_has_every_event_type_of_both_directions() -> None:
    events = [decode(record).event for record in read_envelopes(SCHEMA_VERSION)]
    assert {(str(event.direction), str(event.event_type)) for event in events} == KINDS


def test_the_newest_version_shows_what_may_be_peculiar_about_a_record() -> None:
    decoded = [decode(record) for record in read_envelopes(SCHEMA_VERSION)]
    assert {one.op for one in decoded} == {"c", "r"}
    assert len({one.event.currency for one in decoded}) >= 5
    assert len({one.partition for one in decoded}) > 1
    assert max(Counter((one.partition, one.txid) for one in decoded).values()) >= 3
    events = [one.event for one in decoded]
    assert {event.psp_reference is None for event in events} == {True, False}
    assert {event.details == "{}" for event in events} == {True, False}
    captures = Counter(event.order_id for event in events if event.event_type == "captured")
    assert max(captures.values()) >= 2
    refunds = [event for event in events if event.event_type == "refunded"]
    assert {event.available_delta_minor < 0 for event in refunds} == {True, False}


def test_old_envelopes_upcast_twice_fold_to_what_they_mean_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = rows_by_table(folded(1))
    upgrade(monkeypatch)
    batch = folded(1)
    assert batch.dead_letters == ()
    assert {decode(record).event.schema_version for record in read_envelopes(1)} == {NEWEST}
    after = rows_by_table(batch)
    # What PostgreSQL holds stays what it is, version and all; verify compares the two.
    assert after[PAYMENT_EVENTS.name] == before[PAYMENT_EVENTS.name]
    # What follows from it is what it means by now.
    orders = after[BUYER_ORDERS.name]
    methods = Counter(row["method"] for row in before[BUYER_ORDERS.name])
    assert methods["card"] > 0
    assert Counter(row["method"] for row in orders) == Counter(
        {"credit_card" if name == "card" else name: n for name, n in methods.items()}
    )
    assert _sum(before, "platform_logistics") != 0
    assert _sum(after, "platform_logistics") == 0
    assert _sum(after, "platform_commission") == _sum(before, "platform_commission") + _sum(
        before, "platform_logistics"
    )


def _sum(rows: Rows, account: str) -> int:
    entries = rows[LEDGER_ENTRIES.name]
    amounts = (row["amount_minor"] for row in entries if row["account_type"] == account)
    return sum(amounts)
