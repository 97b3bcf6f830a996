"""The digest of a table: what changes it, what does not, and that no two columns run together."""

from typing import NamedTuple

import pytest
from clickhouse_connect.driver.client import Client

from operations.replay.digest import row_hash_sql
from schemas.views import RECONCILIATION_LOG, Table

pytestmark = pytest.mark.integration


class TwoTexts(NamedTuple):
    first: str
    second: str


TWO_TEXTS = Table(name="two_texts", row_type=TwoTexts, key=("first",))


def row_hash(server: Client, first: str, second: str) -> int:
    row = "SELECT {first:String} AS first, {second:String} AS second"
    answer = server.query(
        f"SELECT {row_hash_sql(TWO_TEXTS)} FROM ({row})",
        parameters={"first": first, "second": second},
    )
    return int(answer.result_rows[0][0])


def test_the_same_row_has_the_same_hash(server: Client) -> None:
    assert row_hash(server, "a", "b") == row_hash(server, "a", "b") > 0


@pytest.mark.parametrize(
    "other", [("b", "a"), ("ab", ""), ("", "ab"), ("a", "B"), ("a", "b "), ("a", "")]
)
def test_another_row_has_another_hash(server: Client, other: tuple[str, str]) -> None:
    assert row_hash(server, *other) != row_hash(server, "a", "b")


def test_a_table_whose_rows_may_hold_nulls_has_no_digest() -> None:
    # A null would make the hash of the whole row null, and a sum leaves nulls out.
    with pytest.raises(AssertionError, match="payment_id"):
        row_hash_sql(RECONCILIATION_LOG)
