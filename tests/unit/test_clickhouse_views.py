"""The views' SQL, their page and their rows are one: the catalogue, the generated, the tables."""

import ast
import re

import pytest

from docs.generate import VIEWS_PAGE, views_page
from operations.dead_letters.audit import DEAD_LETTER_REDRIVES
from schemas.clickhouse.catalogue import VIEWS
from schemas.clickhouse.generate import FILE, minor_units_sql, views_sql
from schemas.clickhouse.totals_views import ACCOUNT_BALANCES, ACCOUNT_DAYS, SELLER_BALANCES
from schemas.clickhouse.view import MAJOR, Amount, View
from schemas.money import CURRENCY_EXPONENTS
from schemas.views import RECENT_ENTRIES, SELLER_REVENUE, TABLES, TOTALS, Table

TABLES_OF_VIEWS = (*TABLES.values(), DEAD_LETTER_REDRIVES)
COMPUTED = (SELLER_REVENUE, SELLER_BALANCES, ACCOUNT_DAYS, ACCOUNT_BALANCES)
AMOUNTS = [
    (view, content)
    for view in VIEWS.values()
    for content in view.contents
    if isinstance(content, Amount)
]


def test_the_migration_is_the_generated_one() -> None:
    assert FILE.read_text(encoding="utf-8") == views_sql(), "run `make generate`"


def test_the_page_has_the_generated_columns_of_every_view() -> None:
    page = VIEWS_PAGE.read_text(encoding="utf-8")
    assert page == views_page(page), "run `make generate`"
    assert re.findall(r"^<!-- columns of (\w+):", page, re.MULTILINE) == list(VIEWS)


def test_every_table_has_its_view_under_the_plain_name() -> None:
    names = {table.name for table in TABLES_OF_VIEWS}
    computed = {view.name for view in COMPUTED}
    assert not names & computed
    assert names | computed == set(VIEWS)
    assert {table.raw for table in TABLES_OF_VIEWS} == {f"{name}_raw" for name in names}
    assert all(table.stored_in == (table.raw,) for table in TABLES_OF_VIEWS)


def test_sellers_revenue_has_no_table_that_could_be_written() -> None:
    assert SELLER_REVENUE.name not in TABLES
    assert SELLER_REVENUE.stored_in == (RECENT_ENTRIES, TOTALS)
    with pytest.raises(AssertionError, match="seller_revenue is computed; nothing writes its rows"):
        assert SELLER_REVENUE.raw


@pytest.mark.parametrize("table", TABLES_OF_VIEWS, ids=lambda table: str(table.name))
def test_a_view_shows_every_column_of_its_table_in_order(table: Table) -> None:
    view = VIEWS[table.name]
    stored = tuple(column.name for column in view.columns if not column.expression)
    assert stored == table.columns
    assert view.key == table.key


def test_rows_of_sellers_revenue_have_every_column_of_the_view_in_minor_units() -> None:
    view = VIEWS[SELLER_REVENUE.name]
    shown = tuple(column.name for column in view.columns if column.type != MAJOR)
    assert shown == SELLER_REVENUE.columns
    assert view.key == SELLER_REVENUE.key


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: str(view.name))
def test_every_amount_has_both_forms_and_a_currency(view: View) -> None:
    names = [column.name for column in view.columns]
    minor = [name for name in names if name.endswith("_minor")]
    for name in minor:
        assert names[names.index(name) + 1] == name.removesuffix("_minor")
    assert not minor or "currency" in names
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: str(view.name))
def test_every_column_says_what_it_is_and_in_which_unit(view: View) -> None:
    assert view.shows.endswith(".")
    for column in view.columns:
        assert column.meaning
        assert ";\n" not in column.meaning  # where a migration is split into statements
        if column.type.startswith("Decimal"):
            assert "in major units of currency" in column.meaning
        if column.name.endswith("_minor"):
            assert "in minor units of currency" in column.meaning
        if column.type.startswith("DateTime"):
            assert "UTC" in column.meaning


def test_the_units_of_every_currency_are_those_of_the_table() -> None:
    found = re.fullmatch(r"transform\(currency, (\[.*\]), (\[.*\]), (\d+)\)", minor_units_sql())
    assert found is not None
    units = dict(zip(ast.literal_eval(found[1]), ast.literal_eval(found[2]), strict=True))
    usual = int(found[3])
    assert usual not in units.values()
    assert {code: units.get(code, usual) for code in CURRENCY_EXPONENTS} == {
        code: 10**exponent for code, exponent in CURRENCY_EXPONENTS.items()
    }
    assert set(units) <= set(CURRENCY_EXPONENTS)


def test_no_currency_has_more_digits_than_the_decimals_hold() -> None:
    assert max(CURRENCY_EXPONENTS.values()) <= 4  # Decimal(38, 4)


@pytest.mark.parametrize("view", VIEWS.values(), ids=lambda view: str(view.name))
def test_the_sql_of_a_view_with_amounts_uses_that_one_expression(view: View) -> None:
    [sql] = re.findall(rf"CREATE OR REPLACE VIEW {view.name}\n.*?;\n", views_sql(), re.DOTALL)
    assert sql.count("transform(") == sql.count(minor_units_sql()) == view.has_amounts
    amounts = [amount for other, amount in AMOUNTS if other is view]
    assert sql.count("/ minor_units AS ") == len(amounts)
