"""Proof that wrong totals are found: those that were rolled up, and those read from entries."""

from collections.abc import Mapping

import pytest

from operations.verify import Report, Verdict
from schemas.views import RECENT_ENTRIES, TOTALS
from tests.integration.verify.world import World, finding

pytestmark = pytest.mark.integration

DAYS, MONTHS = (f"kind = 'total' AND level = '{level}'" for level in ("day", "month"))
OF_LEVEL = {DAYS: "account_days", MONTHS: "account_balances"}
"""A total of a level -> the check that proves it, of an account that is no seller's."""


def _verdicts(report: Report) -> set[str]:
    return {check.name for check in report.checks if check.verdict is Verdict.DIVERGED}


def _problems(report: Report, check: str) -> Mapping[str, str]:
    """What is wrong in a check, by the account that the keys begin with."""
    [result] = [result for result in report.checks if result.name == check]
    assert result.verdict is Verdict.DIVERGED, report.to_json()
    return {str(next(iter(found.where.values()))): found.problem for found in result.findings}


def _one(world: World, where: str, column: str = "seller_entry_count") -> str:
    """Condition: the first total of these whose column is not zero."""
    account_id, currency, day = world.client.query(
        f"SELECT account_id, currency, day FROM {TOTALS} FINAL WHERE {where} AND {column} != 0"
        " ORDER BY 1, 2, 3 LIMIT 1"
    ).result_rows[0]
    key = f"account_id = '{account_id}' AND currency = '{currency}' AND day = '{day}'"
    return f"{where} AND {key}"


def test_totals_that_are_rolled_up_are_equal(rolled_world: World) -> None:
    levels = rolled_world.one(
        f"SELECT groupUniqArray(toString(level)) FROM {TOTALS} WHERE kind = 'total'"
    )
    assert set(levels) == {"day", "month"}
    assert rolled_world.one("SELECT count() FROM totals_unrolled") == 0
    report = rolled_world.verify()
    assert report.exit_status == 0, report.to_json()


@pytest.mark.parametrize(
    ("change", "columns", "others"),
    [
        ("gross_minor + 1", ["gross_minor", "net_minor"], set()),
        ("refunds_minor + 1", ["refunds_minor", "net_minor"], set()),
        ("platform_commission_minor + 1", ["commission_minor", "net_minor"], {"account_days"}),
        (
            "seller_pending_minor + 1",
            ["pending_delta_minor"],
            # The balances are read from the month, whose total is right.
            {"account_days", "seller_balances"},
        ),
        ("capture_count + 1", ["capture_count"], set()),
    ],
)
def test_a_wrong_total_is_seen(
    rolled_world: World, change: str, columns: list[str], others: set[str]
) -> None:
    rolled_world.replace("totals", f"{change} AS {change.split()[0]}", _one(rolled_world, DAYS))
    report = rolled_world.verify()
    assert report.exit_status == 1
    found = finding(report, "seller_revenue")
    assert (found.problem, list(found.columns)) == ("different", columns)
    assert _verdicts(report) == {"seller_revenue", *others}


def test_a_stale_total_is_seen(rolled_world: World) -> None:
    rolled_world.move(
        "totals",
        "gross_minor - 1 AS gross_minor, seller_entry_count - 1 AS seller_entry_count",
        _one(rolled_world, DAYS),
    )
    found = finding(rolled_world.verify(), "seller_revenue")
    assert (found.problem, set(found.columns)) == (
        "stale",
        {"gross_minor", "net_minor", "entry_count"},
    )


def test_a_total_that_is_gone_and_one_that_nobody_earned_are_seen(rolled_world: World) -> None:
    rolled_world.move("totals", "'nobody' AS account_id", _one(rolled_world, DAYS))
    problems = _problems(rolled_world.verify(), "seller_revenue")
    assert problems["nobody"] == "extra"
    assert sorted(problems.values()) == ["extra", "missing"]


def test_totals_that_are_all_gone_are_missing(rolled_world: World) -> None:
    """Rolled up, it says, and there is nothing."""
    rolled_world.run(f"ALTER TABLE {TOTALS} DELETE WHERE kind = 'total'")
    assert set(_problems(rolled_world.verify(), "seller_revenue").values()) == {"missing"}


# -- accounts


@pytest.mark.parametrize(
    ("change", "and_also", "problem"),
    [
        ("psp_receivable_minor + 1", "1", "different"),
        # Zero is left out of the view: of the provider's accounts this one alone, or all of them.
        ("toInt128(0)", "suspense_minor != 0", "different"),
        ("toInt128(0)", "psp_disputed_minor = 0 AND suspense_minor = 0", "missing"),
    ],
)
def test_a_wrong_sum_of_a_providers_day_is_seen(
    rolled_world: World, change: str, and_also: str, problem: str
) -> None:
    where = _one(
        rolled_world, f"{DAYS} AND account_id = 'stripe' AND {and_also}", "psp_receivable_minor"
    )
    right, count = rolled_world.client.query(
        f"SELECT psp_receivable_minor, version FROM {TOTALS} FINAL WHERE {where}"
    ).result_rows[0]
    rolled_world.replace("totals", f"{change} AS psp_receivable_minor", where)
    report = rolled_world.verify()
    assert report.exit_status == 1
    found = finding(report, "account_days")
    assert (found.problem, found.where["account_id"]) == (problem, "stripe")
    wrong = right + 1 if "+ 1" in change else 0
    unseen = {"entry_count": (count, 0)} if problem == "missing" else {}
    assert found.columns == {"psp_receivable_minor": (right, wrong), **unseen}
    assert _verdicts(report) == {"account_days"}


def test_a_sum_that_should_be_zero_is_seen(rolled_world: World) -> None:
    """The payout was requested and paid on one day, so that nothing is in transit."""
    paid = "account_id = 'tipalti' OR account_type = 'payout_in_transit'"
    shown = rolled_world.client.query(f"SELECT account_type FROM account_days WHERE {paid}")
    assert [row[0] for row in shown.result_rows] == ["bank"]
    where = _one(rolled_world, DAYS, "bank_minor")
    rolled_world.replace("totals", "toInt128(-5) AS payout_in_transit_minor", where)
    report = rolled_world.verify()
    found = finding(report, "account_days")
    assert found.columns == {"payout_in_transit_minor": (0, -5)}
    assert _verdicts(report) == {"account_days"}


def test_an_id_whose_sums_are_all_zero_is_no_difference(rolled_world: World) -> None:
    """It has no row, and nobody knows how many entries were seen."""
    rolled_world.run(
        "INSERT INTO ledger_entries_raw (account_type, account_id, currency, day, payment_id, seq,"
        " leg, event_type, amount_minor, recorded_minute)"
        " SELECT 'bank', 'nowhere', 'EUR', '2024-03-01', generateUUIDv4(), 1, 0, 'paid',"
        " if(number = 0, 5, -5), toDateTime('2024-04-01 10:00:00', 'UTC') FROM numbers(2)"
    )
    report = rolled_world.verify()
    assert _verdicts(report) == {"ledger_entries", "postings_balance"}


@pytest.mark.parametrize("account", ["psp_receivable", "seller_available"])
def test_a_wrong_balance_of_an_account_is_seen(rolled_world: World, account: str) -> None:
    column = f"{account}_minor"
    where = _one(rolled_world, MONTHS, column)
    rolled_world.replace("totals", f"{column} + 1 AS {column}", where)
    report = rolled_world.verify()
    assert report.exit_status == 1
    found = finding(report, "account_balances")
    assert (found.problem, list(found.columns)) == ("different", [column])
    right, wrong = (int(str(value)) for value in found.columns[column])
    assert wrong == right + 1
    of_sellers = {"seller_balances"} if account == "seller_available" else set()
    assert _verdicts(report) == {"account_balances", *of_sellers}


@pytest.mark.parametrize(("level", "check"), OF_LEVEL.items())
def test_a_stale_sum_of_an_account_is_seen(rolled_world: World, level: str, check: str) -> None:
    rolled_world.move(
        "totals",
        "psp_receivable_minor - 1 AS psp_receivable_minor, version - 1 AS version",
        _one(rolled_world, f"{level} AND account_id = 'stripe'", "psp_receivable_minor"),
    )
    report = rolled_world.verify()
    found = finding(report, check)
    assert (found.problem, set(found.columns)) == (
        "stale",
        {"psp_receivable_minor", "entry_count"},
    )
    assert _verdicts(report) == {check}


@pytest.mark.parametrize(("level", "check"), OF_LEVEL.items())
def test_an_account_that_is_gone_and_one_of_nobody_are_seen(
    rolled_world: World, level: str, check: str
) -> None:
    where = _one(rolled_world, f"{level} AND account_id = 'stripe'", "psp_receivable_minor")
    rolled_world.move("totals", "'nobody' AS account_id", where)
    report = rolled_world.verify()
    assert _problems(report, check) == {"nobody": "extra", "stripe": "missing"}
    assert _verdicts(report) == {check}


# -- what is not rolled up


@pytest.mark.parametrize(
    ("account_type", "check"),
    [("seller_pending", "seller_revenue"), ("psp_receivable", "account_days")],
)
def test_recent_entries_that_are_lost_are_seen(world: World, account_type: str, check: str) -> None:
    """Entries of minutes that are not rolled up are read from the copy."""
    payment_id, seq, account_id = world.client.query(
        "SELECT toString(payment_id), seq, account_id FROM ledger_entries"
        f" WHERE event_type = 'captured' AND account_type = '{account_type}' ORDER BY ALL LIMIT 1"
    ).result_rows[0]
    world.run(
        f"ALTER TABLE {RECENT_ENTRIES} DELETE WHERE account_type = '{account_type}'"
        f" AND payment_id = '{payment_id}' AND seq = {seq}"
    )
    report = world.verify()
    assert _problems(report, check) == {account_id: "stale"}
    # The balances have seen what the days have, and those are proven to be wrong.
    [balances] = [result for result in report.checks if result.name == "account_balances"]
    assert balances.verdict is Verdict.UNDECIDED


def test_a_recent_entry_that_is_not_in_the_ledger_is_seen(world: World) -> None:
    world.run(
        f"INSERT INTO {RECENT_ENTRIES} SELECT * REPLACE ('nobody' AS account_id)"
        f" FROM {RECENT_ENTRIES} FINAL WHERE account_type = 'psp_receivable'"
        " ORDER BY ALL LIMIT 1"
    )
    assert _problems(world.verify(), "account_days") == {"nobody": "extra"}
