"""What the reader may do: read the views, with the tools that analysts have."""

import clickhouse_connect
import httpx
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from schemas.clickhouse.catalogue import VIEWS
from tests.contract.clickhouse_http.reader_world import World, ask


@pytest.mark.parametrize(
    ("statement", "options", "expected"),
    [
        ("SELECT net_minor, net FROM seller_revenue", {}, "900\t9\n"),
        ("SELECT net FROM purser.seller_revenue FORMAT JSONEachRow", {}, '{"net":9}\n'),
        ("SELECT net_minor FROM seller_revenue;", {"default_format": "CSV"}, "900\n"),
        ("select net_minor from seller_revenue -- file", {}, "900\n"),
        ("SELECT 'file(''/etc/passwd'')' /* file */ AS x", {}, "file(\\'/etc/passwd\\')\n"),
        ("SELECT '; SET ROLE x', 'ä€'", {}, "; SET ROLE x\tä€\n"),
        ("SELECT {x:String}, {n:UInt8}", {"param_x": "it's\\n", "param_n": "7"}, "it\\'s\\n\t7\n"),
        ("SELECT net_minor FROM {t:Identifier}", {"param_t": "seller_revenue"}, "900\n"),
        ("WITH x AS (SELECT net_minor AS n FROM seller_revenue) SELECT n FROM x", {}, "900\n"),
        ("(SELECT 1) UNION DISTINCT (SELECT 1)", {}, "1\n"),
        ("FROM seller_revenue SELECT net_minor", {}, "900\n"),
        ("SELECT sum(number) FROM numbers(5)", {}, "10\n"),
        ("SELECT arrayJoin([1, 2])", {}, "1\n2\n"),
        ("SELECT c2 FROM VALUES(('a', 1), ('b', 1 + 1))", {}, "1\n2\n"),
        ("SELECT toStartOfMonth(day) AS m, sum(net) FROM seller_revenue GROUP BY m", {}, None),
        ("SELECT getSetting('max_threads') SETTINGS max_threads = 1", {}, "1\n"),
        ("SELECT getSetting('max_threads')", {"max_threads": "1"}, "1\n"),
        ("SELECT 1 FROM (SELECT 2 SETTINGS max_threads = 1) AS q WHERE 3 = 3", {}, "1\n"),
        ("SELECT count() FROM payouts SETTINGS final, max_threads = 1", {}, "0\n"),
        ("SELECT [1, 2] AS a, 3 AS b SETTINGS extremes = 0 FORMAT CSV", {}, '"[1,2]",3\n'),
        ("SELECT name FROM system.settings WHERE name = 'max_threads'", {}, "max_threads\n"),
        ("SELECT 1", {"max_execution_time": "5", "max_result_rows": "10"}, "1\n"),
        ("SELECT 1 FORMAT CSV SETTINGS format_csv_delimiter = ';'", {}, "1\n"),
        ("SELECT 1 AS x FORMAT JSONCompactEachRow", {"session_id": "mine"}, "[1]\n"),
        ("SELECT currentDatabase(), currentRoles()", {}, "purser\t['purser_analyst']\n"),
        ("SELECT currentDatabase()", {"database": "system"}, "system\n"),
        ("EXISTS VIEW seller_revenue", {}, "1\n"),
        ("SHOW CREATE VIEW seller_revenue", {}, None),
        ("DESCRIBE seller_revenue", {}, None),
        ("EXPLAIN SELECT * FROM seller_revenue", {}, None),
        ("EXPLAIN SYNTAX SELECT 1", {}, None),
        ("SHOW SETTINGS LIKE 'max_threads'", {}, None),
        ("SHOW CHANGED SETTINGS LIKE '%'", {"max_threads": "1"}, None),
        ("SET max_threads = 1", {}, ""),
        ("USE purser", {}, ""),
    ],
)
def test_what_the_reader_may_do(
    reader: httpx.Client, statement: str, options: dict[str, str], expected: str | None
) -> None:
    answer = ask(reader, statement, **options)
    assert answer == expected if expected is not None else answer


def test_the_reader_is_shown_the_views_only(reader: httpx.Client) -> None:
    views = sorted(VIEWS)
    for statement in (
        "SHOW TABLES",
        "SELECT name FROM system.tables WHERE database = 'purser'",
        "SELECT DISTINCT table FROM system.columns WHERE database = 'purser'",
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'purser'",
    ):
        assert sorted(ask(reader, statement).split()) == views


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_can_be_read_and_explains_itself(reader: httpx.Client, view: str) -> None:
    ask(reader, f"SELECT * FROM {view}")
    named = f"SELECT name, comment FROM system.columns WHERE table = '{view}' ORDER BY position"
    described = [line.split("\t") for line in ask(reader, named).splitlines()]
    assert [name for name, _ in described] == [column.name for column in VIEWS[view].columns]
    assert all(comment for _, comment in described)


def test_clickhouse_connect_works_as_the_reader(world: World) -> None:
    with clickhouse_connect.get_client(dsn=world.server.reader_url) as client:
        found = client.query(
            "SELECT seller_id, net FROM seller_revenue WHERE seller_id = {seller:String}",
            parameters={"seller": "seller-1"},
            settings={"max_threads": 1, "max_execution_time": 10},
        )
        assert [tuple(map(str, row)) for row in found.result_rows] == [("seller-1", "9.0000")]
        assert client.command("SELECT count() FROM payment_events") == 0
        assert client.query_arrow("SELECT net_minor FROM seller_revenue").num_rows == 1
        with client.query_row_block_stream("SELECT number FROM numbers(100000)") as stream:
            assert sum(len(block) for block in stream) == 100_000
        with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
            client.command("DROP TABLE other")
        with pytest.raises(DatabaseError, match="ACCESS_DENIED"):
            client.insert("seller_revenue", [["x"]], column_names=["seller_id"])


def test_the_admin_is_bound_by_nothing_but_what_names_files(world: World) -> None:
    with world.admin() as admin:
        assert ask(admin, "SELECT count() FROM purser.other") == "1\n"
        assert ask(admin, "SELECT count() > 0 FROM system.processes") == "1\n"
        assert ask(admin, "SELECT count() > 100 FROM system.server_settings") == "1\n"
        ask(admin, "SELECT 1", additional_result_filter="1")
        for setting in ("format_template_row", "output_format_schema", "format_schema"):
            response = admin.post("/", params={setting: "x"}, content="SELECT 1")
            assert response.headers.get("X-ClickHouse-Exception-Code") == "452", response.text
