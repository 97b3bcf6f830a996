"""Proof that verify can fail: views broken behind the pipeline's back, one way after another."""

from typing import Any

import psycopg
import pytest

from operations.verify import Report, Verdict
from tests.integration.verify.world import World, append, finding, marketplace

pytestmark = pytest.mark.integration

# One event with postings, in the middle of its payment.
CAPTURE = (
    "(payment_id, seq) IN (SELECT payment_id, seq FROM payment_events_raw"
    " WHERE event_type = 'captured' ORDER BY payment_id, seq LIMIT 1)"
)
LEG = "seller_pending"


def _capture(world: World) -> tuple[str, int]:
    rows = world.client.query(
        f"SELECT toString(payment_id), seq FROM payment_events_raw FINAL WHERE {CAPTURE}"
    ).result_rows
    payment_id, seq = rows[0]
    return payment_id, seq


def _key(world: World) -> str:
    payment_id, seq = _capture(world)
    return f"payment_id = '{payment_id}' AND seq = {seq}"


def _where(world: World) -> dict[str, Any]:
    payment_id, seq = _capture(world)
    return {"payment_id": payment_id, "seq": seq}


def _verdicts(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.DIVERGED}


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("amount_minor", "amount_minor + 1"),
        ("commission_minor", "commission_minor - 1"),
        ("seller_id", "'seller-of-somebody-else'"),
        ("buyer_id", "'buyer-of-somebody-else'"),
        ("buyer_id", "''"),
        ("psp_reference", "if(psp_reference = '', 'pi_2', '')"),
        ("event_type", "'shipped'"),
        ("status", "'failed'"),
        ("currency", "if(currency = 'EUR', 'USD', 'EUR')"),
        ("details", "replaceOne(details, ':', ': ')"),
        ("details", "''"),
        ("occurred_at", "occurred_at + INTERVAL 1 MICROSECOND"),
        ("occurred_at", "occurred_at + INTERVAL 1 DAY"),
        ("occurred_at", "occurred_at + INTERVAL 20 YEAR"),
        ("recorded_at", "recorded_at - INTERVAL 1 MICROSECOND"),
        ("idempotency_key", "concat(idempotency_key, ' ')"),
        ("pending_minor", "pending_minor + 1"),
        ("authorized_minor", "authorized_minor + 1"),
        ("suspense_minor", "suspense_minor - 1"),
        ("schema_version", "schema_version + 1"),
    ],
)
def test_a_changed_column_is_named_with_both_values(world: World, column: str, change: str) -> None:
    key = _key(world)
    before = world.one(f"SELECT toString({column}) FROM payment_events_raw FINAL WHERE {key}")
    where = _where(world)
    world.replace("payment_events", f"{change} AS {column}", key)
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "payment_events")
    assert (found.problem, dict(found.where)) == ("different", where)
    assert list(found.columns) == [column]
    expected, actual = found.columns[column]
    assert expected != actual
    assert (expected or "") == before


def test_a_removed_event_is_named(world: World) -> None:
    where = _where(world)
    world.remove("payment_events", _key(world))
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "payment_events")
    assert (found.problem, dict(found.where)) == ("missing", where)
    assert "the same payment has arrived" in found.note
    gap = finding(report, "sequences_clickhouse")
    assert gap.where["payment_id"] == where["payment_id"]
    assert gap.columns["missing_seq"] == ("[]", f"[{where['seq']}]")


def test_an_event_that_is_provably_lost_is_not_waited_for_until_the_end(world: World) -> None:
    world.remove("payment_events", _key(world))
    report = world.verify(timeout=600.0)
    assert report.exit_status == 1
    assert report.seconds < 120


def test_the_last_event_of_all_is_missed_though_nothing_followed_it(world: World) -> None:
    partition, offset, payment_id, seq = world.client.query(
        "SELECT kafka_partition, kafka_offset, toString(payment_id), seq FROM payment_events_raw"
        " ORDER BY kafka_offset DESC LIMIT 1"
    ).result_rows[0]
    world.remove("payment_events", f"kafka_partition = {partition} AND kafka_offset = {offset}")
    report = world.verify()
    assert report.exit_status == 1, report.to_json()
    found = finding(report, "payment_events")
    assert (found.problem, dict(found.where)) == (
        "missing",
        {"payment_id": payment_id, "seq": seq},
    )


def test_a_whole_payment_that_is_gone_is_missed(world: World) -> None:
    payment_id, _ = _capture(world)
    for view in ("payment_events", "ledger_entries", "buyer_orders"):
        world.remove(view, f"payment_id = '{payment_id}'")
    # Later traffic, committed clearly later: what came before it must be there.
    world.run(
        "INSERT INTO payment_events_raw SELECT * REPLACE"
        " (committed_at + INTERVAL 1 HOUR AS committed_at) FROM payment_events_raw FINAL"
    )
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "payment_events")
    assert (found.problem, found.where["payment_id"]) == ("missing", payment_id)
    assert "seller_revenue" in _verdicts(report)


def test_a_parked_event_is_missing_and_found_among_the_dead_letters(world: World) -> None:
    payment_id, seq = _capture(world)
    where = _where(world)
    world.run(
        "INSERT INTO dead_letters_raw"
        " SELECT 'purser.public.payments', kafka_partition, kafka_offset,"
        " 'malformed_record', 'broken', concat('{\"payment_id\":\"', toString(payment_id), '\"}'),"
        " concat('{\"after\":{\"seq\":', toString(seq), '}}'), false, recorded_at, 'purser-views',"
        f" recorded_at FROM payment_events_raw FINAL WHERE {_key(world)}"
    )
    # Parked: neither it nor any later event of the payment is in the views.
    world.remove("payment_events", f"payment_id = '{payment_id}' AND seq >= {seq}")
    report = world.verify()
    assert report.exit_status == 1
    assert report.dead_letters == 1
    found = next(
        found
        for check in report.checks
        if check.name == "payment_events"
        for found in check.findings
        if found.where == where
    )
    assert found.problem == "missing"
    assert "malformed_record" in found.note


def test_an_event_that_the_source_does_not_have_is_extra(world: World) -> None:
    other = "00000000-0000-4000-8000-000000000001"
    world.replace("payment_events", f"toUUID('{other}') AS payment_id", _key(world))
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "payment_events")
    assert (found.problem, found.where["payment_id"]) == ("extra", other)


def test_a_row_for_a_row_swapped_is_seen_though_counts_and_sums_agree(world: World) -> None:
    (first, second) = world.client.query(
        "SELECT toString(payment_id), seq, idempotency_key FROM payment_events_raw FINAL"
        " WHERE event_type = 'created' ORDER BY payment_id LIMIT 2 BY seq LIMIT 2"
    ).result_rows
    world.replace("payment_events", "'key-x' AS idempotency_key", f"payment_id = '{first[0]}'")
    world.replace("payment_events", "'key-y' AS idempotency_key", f"payment_id = '{second[0]}'")
    report = world.verify()
    assert report.exit_status == 1
    assert finding(report, "payment_events").columns["idempotency_key"][1] in ("key-x", "key-y")


def test_only_some_rows_are_shown_and_the_rest_is_counted(world: World) -> None:
    world.replace("payment_events", "'nobody' AS seller_id", "1")
    report = world.verify(rows=3)
    events = next(check for check in report.checks if check.name == "payment_events")
    assert events.differences == report.postgres_events
    assert len(events.findings) == 3
    assert events.more == events.differences - 3


# -- the ledger


def test_a_posting_that_is_gone_unbalances_its_event(world: World) -> None:
    where = _where(world)
    world.remove("ledger_entries", f"{_key(world)} AND account_type = '{LEG}'")
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "ledger_entries")
    assert dict(found.where) == where
    expected, actual = found.columns["postings"]
    assert LEG in str(expected)
    assert LEG not in str(actual)
    assert finding(report, "postings_balance").where["seq"] == where["seq"]
    assert _verdicts(report) == {
        *("ledger_entries", "postings_balance"),
        *("seller_revenue", "account_days", "account_balances"),
    }


def test_a_posting_twice_under_another_leg_is_seen(world: World) -> None:
    where = _where(world)
    world.replace("ledger_entries", "leg + 100 AS leg", f"{_key(world)} AND account_type = '{LEG}'")
    report = world.verify()
    assert report.exit_status == 1
    assert dict(finding(report, "ledger_entries").where) == where
    assert finding(report, "postings_balance").problem == "unbalanced"


@pytest.mark.parametrize(
    "change",
    [
        "'another-seller' AS account_id",
        "'seller_available' AS account_type",
        "day + 1 AS day",
        "'shipped' AS event_type",
        "if(currency = 'EUR', 'USD', 'EUR') AS currency",
    ],
)
def test_a_posting_moved_elsewhere_is_seen_though_it_balances(world: World, change: str) -> None:
    where = _where(world)
    world.move("ledger_entries", change, f"{_key(world)} AND account_type = '{LEG}'")
    report = world.verify()
    assert report.exit_status == 1
    assert dict(finding(report, "ledger_entries").where) == where


AT_THE_PSP = [
    ("stray_captured", "suspense"),
    ("stray_refunded", "psp_receivable"),
    ("honoured", "suspense"),
    ("dispute_opened", "psp_receivable"),
    ("dispute_opened", "psp_disputed"),
    ("dispute_opened", "suspense"),
    ("dispute_won", "psp_disputed"),
    ("dispute_won", "suspense"),
    ("dispute_lost", "psp_disputed"),
    ("dispute_reversed", "psp_receivable"),
    ("dispute_reversed", "suspense"),
    ("refund_returned", "suspense"),
    ("stray_disputed", "psp_receivable"),
    ("stray_dispute_won", "suspense"),
]


@pytest.mark.parametrize(("event_type", "account"), AT_THE_PSP)
def test_what_is_in_dispute_or_in_suspense_is_proven(
    world: World, event_type: str, account: str
) -> None:
    """On another account it would balance as well."""
    leg = f"event_type = '{event_type}' AND account_type = '{account}'"
    payment_id, seq, amount = world.client.query(
        "SELECT toString(payment_id), seq, amount_minor FROM ledger_entries_raw FINAL"
        f" WHERE {leg} ORDER BY 1, 2 LIMIT 1"
    ).result_rows[0]
    where = f"payment_id = '{payment_id}' AND seq = {seq} AND {leg}"
    world.move("ledger_entries", "'bank' AS account_type", where)
    report = world.verify()
    assert report.exit_status == 1
    found = finding(report, "ledger_entries")
    assert dict(found.where) == {"payment_id": payment_id, "seq": seq}
    expected, actual = found.columns["postings"]
    assert f"{account}:stripe {amount} " in str(expected)
    assert f"bank:stripe {amount} " in str(actual)
    assert _verdicts(report) == {"ledger_entries"}


def test_two_cents_wrong_that_cancel_each_other_are_seen(world: World) -> None:
    where = _where(world)
    world.replace(
        "ledger_entries",
        "amount_minor + if(account_type = 'psp_receivable', 1, -1) AS amount_minor",
        f"{_key(world)} AND account_type IN ('psp_receivable', '{LEG}')",
    )
    report = world.verify()
    assert dict(finding(report, "ledger_entries").where) == where
    assert "postings_balance" not in _verdicts(report)


def test_postings_of_an_event_that_never_was_are_extra(world: World) -> None:
    other = "00000000-0000-4000-8000-000000000002"
    world.replace("ledger_entries", f"toUUID('{other}') AS payment_id", _key(world))
    found = finding(world.verify(), "ledger_entries")
    assert (found.problem, found.where["payment_id"]) == ("extra", other)


# -- orders, payouts


def _order(world: World) -> str:
    payment_id, order_id = world.client.query(
        "SELECT toString(payment_id), order_id FROM buyer_orders_raw FINAL WHERE seq > 3"
        " ORDER BY 1, 2 LIMIT 1"
    ).result_rows[0]
    return f"payment_id = '{payment_id}' AND order_id = '{order_id}'"


@pytest.mark.parametrize(
    "change",
    [
        "'failed' AS status",
        "refunded_minor + 1 AS refunded_minor",
        "updated_at + INTERVAL 1 MICROSECOND AS updated_at",
        "'other' AS seller_id",
    ],
)
def test_an_order_in_a_wrong_state_is_seen(world: World, change: str) -> None:
    world.replace("buyer_orders", change, _order(world))
    report = world.verify()
    found = finding(report, "buyer_orders")
    assert (found.problem, list(found.columns)) == ("different", [change.split()[-1]])
    assert _verdicts(report) == {"buyer_orders"}


def test_an_order_that_missed_its_last_event_is_seen(world: World) -> None:
    world.move("buyer_orders", "toUInt32(1) AS seq", _order(world))
    assert finding(world.verify(), "buyer_orders").problem == "stale"


def test_an_order_that_claims_a_later_event_is_seen(world: World) -> None:
    world.replace("buyer_orders", "seq + 100 AS seq", _order(world))
    assert finding(world.verify(), "buyer_orders").problem == "different"


def test_an_order_that_is_gone_and_one_of_two_buyers_are_seen(world: World) -> None:
    order = _order(world)
    world.replace("buyer_orders", "'somebody' AS buyer_id", order)
    assert finding(world.verify(), "buyer_orders").columns["rows"] == (1, 2)
    world.remove("buyer_orders", order)
    assert finding(world.verify(), "buyer_orders").problem == "missing"


def test_a_payout_in_a_wrong_state_is_seen(world: World) -> None:
    world.replace("payouts", "'failed' AS status", "1")
    report = world.verify()
    assert finding(report, "payouts").columns == {"status": ("paid", "failed")}
    assert _verdicts(report) == {"payouts"}


def test_refunds_above_captures_are_seen(world: World) -> None:
    world.replace("payment_events", "amount_minor * 100 AS amount_minor", "event_type = 'refunded'")
    found = finding(world.verify(), "refunds_within_captures")
    assert "refunded_minor" in found.columns


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ("amount_minor - 1 AS amount_minor", "event_type = 'authorized'"),
        ("authorized_minor + 1 AS authorized_minor", "order_id = 'order-late'"),
        (
            "amount_minor + (event_type = 'captured') AS amount_minor,"
            " captured_minor + (captured_minor > 0) AS captured_minor",
            "order_id = 'order-above'",
        ),
    ],
    ids=["another amount authorized", "another sum", "captured above it"],
)
def test_authorizations_are_proven(world: World, change: str, where: str) -> None:
    world.replace("payment_events", change, where)
    found = finding(world.verify(), "refunds_within_captures")
    assert "authorized_minor" in found.columns


# -- PostgreSQL itself


def test_a_gap_in_the_source_is_seen(new_world: World) -> None:
    append(new_world.database.writer, marketplace(payments=4, seed=1))
    new_world.pump.pump()
    payment_id, seq = _capture(new_world)
    with psycopg.connect(new_world.database.superuser) as session:
        # Only who owns the table can take its guards away.
        session.execute("ALTER TABLE payments DISABLE TRIGGER ALL")
        session.execute(
            "DELETE FROM payments WHERE payment_id = %s AND seq = %s", [payment_id, seq]
        )
    report = new_world.verify()
    assert report.exit_status == 1
    assert finding(report, "sequences_postgres").where == {"payment_id": payment_id}
    assert finding(report, "payment_events").problem == "extra"
