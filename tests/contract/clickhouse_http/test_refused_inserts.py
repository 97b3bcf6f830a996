"""An insert that the table refuses while it stores the rows is an error, whatever its size."""

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
