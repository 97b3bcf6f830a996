"""An insert that the table refuses while it stores the rows is an error, whatever its size."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.contract.clickhouse_http.conftest import Target

REFUSED = -1


@pytest.fixture
def guarded(target: Target) -> Iterator[tuple[httpx.Client, str]]:
    """A table that takes positive numbers only."""
    with target.http() as http:
        columns = "n Int32, CONSTRAINT positive CHECK n > 0"
        http.post("/", content=f"CREATE TABLE guarded ({columns}) ENGINE = MergeTree ORDER BY n")
        yield http, "guarded"
        http.post("/", content="DROP TABLE guarded")


@pytest.mark.parametrize("good", [0, 1, 100_000, 3_000_000])
@pytest.mark.parametrize("inline", [False, True])
def test_insert_that_a_constraint_refuses_is_an_error(
    guarded: tuple[httpx.Client, str], good: int, inline: bool
) -> None:
    http, table = guarded
    statement = f"INSERT INTO {table} FORMAT TSV"
    rows = b"".join(b"%d\n" % number for number in [*range(1, good + 1), REFUSED])
    if inline:
        answer = http.post("/", content=statement.encode() + b"\n" + rows)
    else:
        answer = http.post("/", params={"query": statement}, content=rows)
    assert answer.status_code >= 400
    assert answer.headers["X-ClickHouse-Exception-Code"] == "469"
    assert "VIOLATED_CONSTRAINT" in answer.text


REFUSALS = [
    # what the table is, what is created beside it, the insert's settings, the error's code
    ("(n Int32, m Int32 DEFAULT throwIf(n = 3))", "", "", "395"),
    ("(n Int32)", "SELECT throwIf(n = 3) AS m FROM {table}", "", "395"),
    ("(n Int32)", "SELECT intDiv(1, n - 3) AS m FROM {table}", "", "153"),
    ("(n Int32) PARTITION BY n", "", "max_partitions_per_insert_block = 1", "252"),
    ("(n Int32, m Int32 DEFAULT sleepEachRow(1))", "", "max_execution_time = 0.3", "159"),
    ("(n Int32, m String DEFAULT repeat('x', 1000000))", "", "max_memory_usage = 2000000", "241"),
]


@pytest.mark.parametrize(("table_is", "view_is", "settings", "code"), REFUSALS)
def test_insert_that_fails_while_it_is_stored_is_an_error(
    http: httpx.Client, table_is: str, view_is: str, settings: str, code: str
) -> None:
    table = f"refusing_{uuid.uuid4().hex[:12]}"
    columns, _, rest = table_is.partition(") PARTITION")
    partition = f"PARTITION{rest}" if rest else ""
    columns = columns.removesuffix(")") + ")"
    create = f"CREATE TABLE {table} {columns} ENGINE = MergeTree {partition} ORDER BY n"
    http.post("/", content=create).raise_for_status()
    if view_is:
        view = f"CREATE MATERIALIZED VIEW {table}_view ENGINE = MergeTree ORDER BY m AS "
        http.post("/", content=view + view_is.format(table=table)).raise_for_status()
    try:
        clause = f"SETTINGS {settings}" if settings else ""
        statement = f"INSERT INTO {table} (n) {clause} FORMAT TSV\n1\n2\n3\n"
        answer = http.post("/", content=statement)
        assert answer.headers.get("X-ClickHouse-Exception-Code") == code, answer.text
        if view_is:
            assert http.post("/", content=f"SELECT count() FROM {table}_view").text == "0\n"
        else:
            assert http.post("/", content=f"SELECT count() FROM {table}").text == "0\n"
    finally:
        if view_is:
            http.post("/", content=f"DROP VIEW {table}_view").raise_for_status()
        http.post("/", content=f"DROP TABLE {table}").raise_for_status()
