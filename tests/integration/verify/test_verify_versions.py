"""Rows of three schema versions side by side: equal, though old rows mean something else by now."""

import msgspec
import pytest

import operations.verify.old_rows
from operations.verify import Report, Verdict
from tests.integration.postgres.rows import Row
from tests.integration.verify.world import World, append, finding, marketplace
from tests.versions import MEANING, NEWEST, UPCASTERS, upgrade

pytestmark = pytest.mark.integration

PAYMENTS = 24
METHODS = {1: "card", 2: "credit_card", 3: "credit_card"}


@pytest.fixture
def mixed_world(new_world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """Payments of every version, appended before anybody upgraded, and folded after it."""
    transactions = marketplace(payments=PAYMENTS, seed=11)
    for number, rows in enumerate(transactions):
        for row in rows:
            _of_version(row, number % NEWEST + 1)
    append(new_world.database.writer, transactions)
    upgrade(monkeypatch)
    new_world.pump.pump()
    return new_world


def _of_version(row: Row, version: int) -> None:
    row["schema_version"] = version
    if row["direction"] == "in":
        row["method"] = METHODS[version]
    fact = {"reason": "returned"} if version == 1 else {"cause": "returned"}
    row["details"] = msgspec.json.encode(msgspec.json.decode(row["details"]) | fact).decode()


def _diverged(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.DIVERGED}


def test_old_rows_verify_equal_after_an_upgrade(mixed_world: World) -> None:
    report = mixed_world.verify()
    assert report.exit_status == 0, report.to_json()
    # As PostgreSQL holds them ...
    stored = mixed_world.client.query(
        "SELECT DISTINCT schema_version, method FROM payment_events_raw FINAL"
        " WHERE direction = 'in' ORDER BY schema_version"
    ).result_rows
    assert stored == list(METHODS.items())
    causes = mixed_world.one(
        "SELECT countIf(JSONHas(details, 'cause')) FROM payment_events_raw FINAL"
        " WHERE schema_version = 1"
    )
    assert causes == 0
    # ... and as they are meant.
    assert mixed_world.one("SELECT arraySort(groupUniqArray(method)) FROM buyer_orders") == [
        "credit_card"
    ]
    logistics = mixed_world.client.query(
        "SELECT schema_version, countIf(account_type = 'platform_logistics') > 0"
        " FROM payment_events_raw AS e FINAL JOIN ledger_entries_raw AS l FINAL"
        " ON e.payment_id = l.payment_id AND e.seq = l.seq"
        " GROUP BY schema_version ORDER BY schema_version"
    ).result_rows
    assert [bool(has) for _, has in logistics] == [False, False, True]


def test_verify_asks_what_a_row_means_by_words_of_its_own(
    mixed_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upcaster, or its SQL, that is wrong shows in the views that follow from it."""
    monkeypatch.setattr(operations.verify.old_rows, "MEANING", {"method": MEANING["method"]})
    report = mixed_world.verify()
    assert _diverged(report) == {"ledger_entries"}
    assert "platform_logistics" in str(finding(report, "ledger_entries").columns)
    fees = {name: sql for name, sql in MEANING.items() if name != "method"}
    monkeypatch.setattr(operations.verify.old_rows, "MEANING", fees)
    report = mixed_world.verify()
    assert _diverged(report) == {"buyer_orders"}
    found = finding(report, "buyer_orders")
    assert found.columns["method"] == ("card", "credit_card")


def test_views_that_were_folded_before_an_upgrade_differ_until_they_are_replayed(
    new_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(new_world.database.writer, marketplace(payments=6, seed=12))
    new_world.pump.pump()
    assert new_world.verify().exit_status == 0
    upgrade(monkeypatch)
    assert _diverged(new_world.verify()) == {"ledger_entries", "buyer_orders"}
    new_world.clear()
    new_world.pump.pump()
    report = new_world.verify()
    assert report.exit_status == 0, report.to_json()


def test_a_row_whose_upcaster_fails_is_parked_and_missed(
    new_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert UPCASTERS.keys() == {1, 2}
    upgrade(monkeypatch, {1: lambda row: {"x": row["no such column"]}}, {})
    append(new_world.database.writer, marketplace(payments=1, seed=13)[:1])
    with pytest.raises(AssertionError, match="schema_version 1: its upcaster failed"):
        new_world.pump.pump()
    assert new_world.verify(timeout=1.0).exit_status == 2  # nothing arrived: late, not equal
