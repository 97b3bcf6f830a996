"""The SQL files and the words they are made from say the same."""

import re
from pathlib import Path

import pytest

from docs.generate import LIFECYCLE_PAGE, PAYMENTS_PAGE, lifecycle_page, payments_page
from schemas import topics
from schemas.events import COLUMNS
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.money import MAX_AMOUNT_MINOR
from schemas.postgres.generate import FOLDER, GUARDS_FILE, guards_sql
from schemas.postgres.guard_codes import GuardCode
from schemas.postgres.guard_shares import FEW_ROWS
from schemas.postgres.migrations import Migration, load
from schemas.postgres.row_rules import ROW, ROW_RULES

ROOT = Path(__file__).resolve().parents[2]
ALL_SQL = "\n".join(migration.sql for migration in load())
TABLE = next(migration.sql for migration in load() if migration.name == "0001_payments")


def test_the_guards_are_the_generated_ones() -> None:
    committed = (FOLDER / GUARDS_FILE).read_text(encoding="utf-8")
    assert committed == guards_sql(), "run python -m schemas.postgres.generate"


def test_the_columns_are_those_of_the_event() -> None:
    body = TABLE[TABLE.index("CREATE TABLE public.payments (") : TABLE.index("PRIMARY KEY")]
    columns = re.findall(r"^    (\w+) +(?:uuid|integer|bigint|text|jsonb|timestamptz) ", body, re.M)
    added = re.findall(r"ALTER TABLE public\.payments ADD COLUMN (\w+)", ALL_SQL)
    assert sorted([*columns, *added]) == sorted(COLUMNS)


def test_limits_are_those_of_the_words() -> None:
    rules = {name: rule.condition for name, rule in ROW_RULES.items()}
    assert f"amount_minor <= {MAX_AMOUNT_MINOR}" in rules["payments_amount_minor"]
    for column in ("buyer_id", "order_id", "seller_id"):
        limit = f"octet_length({ROW}{column}) BETWEEN 1 AND {MAX_ID_LENGTH}"
        assert limit in rules[f"payments_{column}"]
    assert f"BETWEEN 1 AND {MAX_IDEMPOTENCY_KEY_LENGTH}" in rules["payments_idempotency_key"]


def test_the_index_of_long_payments_has_the_rows_that_the_guards_look_for_in_it() -> None:
    assert f"ON public.payments (payment_id, order_id, seq) WHERE seq > {FEW_ROWS};" in TABLE


def test_every_rule_for_a_row_is_checked_and_told() -> None:
    assert {rule.column for rule in ROW_RULES.values()} <= set(COLUMNS)
    text = " ".join(guards_sql().split())
    assert set(re.findall(r"broken := '(\w+)'", text)) == set(ROW_RULES)
    for rule in ROW_RULES.values():
        # In the guard, and where the broken rule is looked for.
        for row in ("NEW.", "happened."):
            assert " ".join(rule.condition.replace(ROW, row).split()) in text


def test_what_first_rows_share_is_checked_on_first_rows_only() -> None:
    every, first = re.search(
        r"-- 7\. The row by itself.*?IF \((.*?)\) IS FALSE.*?IF \((.*?)\) IS FALSE",
        guards_sql(),
        re.S,
    ).groups()  # type: ignore[union-attr]  # it is there
    for rule in ROW_RULES.values():
        condition = " ".join(rule.condition.replace(ROW, "NEW.").split())
        checked = [condition in " ".join(part.split()) for part in (every, first)]
        assert checked == [not rule.first_only, rule.first_only], rule


def test_every_code_is_raised_and_explained() -> None:
    raised = set(re.findall(r"'(PU\d{3})'", guards_sql()))
    assert raised == set(GuardCode)
    assert all(code.meaning for code in GuardCode)


def test_names_are_those_that_others_use() -> None:
    assert f"CREATE TABLE {topics.PAYMENTS_TABLE} (" in ALL_SQL
    assert f"CREATE TABLE {topics.HEARTBEAT_TABLE} (" in ALL_SQL
    assert f"CREATE PUBLICATION {topics.PUBLICATION} " in ALL_SQL


def test_migrations_are_numbered_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "0001_one.sql").write_text("SELECT 1;")
    (tmp_path / "0002_two.sql").write_text("SELECT 2;")
    assert [migration.name for migration in load(tmp_path)] == ["0001_one", "0002_two"]
    (tmp_path / "0004_four.sql").write_text("SELECT 4;")
    with pytest.raises(ValueError, match=r"0004_four\.sql"):
        load(tmp_path)


def test_a_migration_without_a_number_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match=r"one\.sql"):
        load(tmp_path)


def test_a_checksum_is_of_the_text() -> None:
    one = Migration.of("0001_one", "SELECT 1;")
    assert one.checksum == Migration.of("0001_other", "SELECT 1;").checksum
    assert one.checksum != Migration.of("0001_one", "SELECT 2;").checksum


def test_the_reference_page_has_every_column_and_the_generated_tables() -> None:
    page = PAYMENTS_PAGE.read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| `(\w+)` \| (?:uuid|integer|bigint|text|jsonb|timestamptz) \|", page, re.M
    )
    assert tuple(rows) == COLUMNS
    assert page == payments_page(page), "run python -m docs.generate"
    assert re.findall(r"^\| `(PU\d{3})` \|", page, re.M) == list(GuardCode)
    assert set(re.findall(r"^\| `(payments_\w+)` \|", page, re.M)) == set(ROW_RULES)


def test_the_lifecycle_page_is_the_generated_one() -> None:
    committed = LIFECYCLE_PAGE.read_text(encoding="utf-8")
    assert committed == lifecycle_page(), "run python -m docs.generate"
