"""What the reader must not do: write, see raw tables, files or others, by any way that we know."""

import gzip
import threading
from typing import Any

import httpx
import pytest

from stack.clickhouse_http.blocks import BlockEncoder
from tests.contract.clickhouse_http.reader_world import ROW, World, ask

DENIED = {"497", "164", "358"}
"""ACCESS_DENIED, READONLY, INTO_OUTFILE_NOT_ALLOWED."""

WRITES = (
    "INSERT INTO ledger_entries_raw VALUES " + ROW,
    "INSERT INTO seller_revenue VALUES " + ROW,
    "INSERT INTO ledger_entries_raw SELECT * FROM ledger_entries_raw",
    "WITH x AS (SELECT 1) INSERT INTO other SELECT * FROM x",
    "INSERT INTO other FORMAT JSONEachRow {}",
    "INSERT INTO FUNCTION file('/tmp/x', 'CSV', 'a String') SELECT 'x'",
    "CREATE TABLE t (a Int8) ENGINE = Memory",
    "CREATE TEMPORARY TABLE t (a Int8)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE FUNCTION f AS x -> file(x)",
    "CREATE DATABASE d",
    "CREATE DATABASE d ENGINE = Filesystem('/')",
    "CREATE NAMED COLLECTION c AS a = 1",
    "DROP TABLE other",
    "DROP VIEW seller_revenue",
    "TRUNCATE TABLE other",
    "ALTER TABLE other DELETE WHERE 1",
    "ALTER TABLE other UPDATE a = '' WHERE 1",
    "DELETE FROM other WHERE 1",
    "UPDATE other SET a = '' WHERE 1",
    "OPTIMIZE TABLE other",
    "RENAME TABLE other TO another",
    "EXCHANGE TABLES other AND ledger_entries_raw",
    "DETACH TABLE other",
    "ATTACH TABLE other",
    "UNDROP TABLE other",
    "BACKUP TABLE other TO Disk('default', 'x')",
    "RESTORE TABLE other FROM Disk('default', 'x')",
    "SYSTEM STOP MERGES",
    "SYSTEM FLUSH LOGS",
    "KILL QUERY WHERE 1",
    "KILL MUTATION WHERE 1",
    "CHECK TABLE other",
    "BEGIN TRANSACTION",
    "DROP TABLE other PARALLEL WITH DROP TABLE ledger_entries_raw",
)
RIGHTS = (
    "SET ROLE purser_admin",
    "SET ROLE ALL",
    "SET ROLE DEFAULT",
    "SET DEFAULT ROLE purser_admin TO default",
    "SET/**/ROLE purser_admin",
    "set role purser_admin",
    "GRANT purser_admin TO default",
    "GRANT ALL ON *.* TO purser_analyst",
    "REVOKE purser_analyst FROM default",
    "CREATE USER u",
    "CREATE ROLE r",
    "ALTER USER default IDENTIFIED BY 'x'",
    "EXECUTE AS default SELECT 1",
    "SHOW USERS",
    "SHOW ACCESS",
    "SHOW CREATE USER default",
    "SHOW CREATE ROLE purser_admin",
    "SELECT getServerSetting('max_server_memory_usage')",
    "SET readonly = 0",
    "SELECT 1 SETTINGS readonly = 0",
)
RAW_TABLES = (
    "SELECT * FROM other",
    "SELECT * FROM ledger_entries_raw",
    "SELECT count() FROM ledger_entries_raw",
    "SELECT * FROM purser.ledger_entries_raw FINAL",
    'SELECT * FROM `purser`."ledger_entries_raw"',
    "SELECT * FROM recent_entries_raw",
    "SELECT * FROM totals_raw",
    "SELECT * FROM totals_unrolled",
    "SELECT * FROM recent_entries_copy",
    "SELECT * FROM schema_migrations",
    "SELECT * FROM (SELECT * FROM other)",
    "SELECT (SELECT any(a) FROM other)",
    "SELECT 1 WHERE '' IN (SELECT a FROM other)",
    "SELECT '' IN other",
    "WITH x AS (SELECT * FROM other) SELECT * FROM x",
    "SELECT 1 UNION ALL SELECT amount_minor FROM ledger_entries_raw",
    "SELECT * FROM seller_revenue JOIN other ON 1 = 1",
    "SELECT * FROM view(SELECT * FROM other)",
    "SELECT * FROM VALUES(((SELECT any(a) FROM other),), ('x',))",
    "SELECT * FROM viewIfPermitted(SELECT * FROM other ELSE null('a String'))",
    "SELECT * FROM viewExplain('EXPLAIN', '', (SELECT * FROM other))",
    "SELECT * FROM loop(other)",
    "SELECT * FROM mergeTreeIndex(purser, other)",
    "SELECT * FROM mergeTreeProjection(purser, other, p)",
    "SELECT * FROM mergeTreeAnalyzeIndexes(purser, other)",
    "SELECT * FROM cluster('default', purser, other)",
    "SELECT * FROM clusterAllReplicas('default', purser.other)",
    "SELECT * FROM remote('127.0.0.1:PORT', purser.other)",
    "SELECT * FROM dictionary(other)",
    "EXPLAIN SELECT * FROM other",
    "EXPLAIN PIPELINE SELECT * FROM other",
    "EXPLAIN ESTIMATE SELECT * FROM other",
    "EXPLAIN QUERY TREE SELECT * FROM other",
    "SHOW CREATE TABLE ledger_entries_raw",
    "SHOW CREATE TABLE other",
    "DESCRIBE ledger_entries_raw",
    "EXISTS TABLE other",
    "SELECT * FROM system.users",
    "SELECT * FROM system.grants",
)
FILES = (
    "SELECT file('SECRET')",
    "SELECT FILE('SECRET')",
    "SELECT \"file\"('SECRET')",
    "SELECT `file`('SECRET')",
    "SELECT `fi\\x6ce`('SECRET')",
    "SELECT \u201cfile\u201d('SECRET')",
    "SELECT file /* a comment */ ('SECRET')",
    "SELECT file -- a comment\n('SECRET')",
    "SELECT arrayMap(file, ['SECRET'])",
    "SELECT * FROM VALUES((file('SECRET'), 1), ('x', 2))",
    "SELECT * FROM VALUES('a String ALIAS file(''SECRET'')', ('x'))",
    "SELECT arrayMap(x -> file(x), ['SECRET'])",
    "SELECT * APPLY file FROM (SELECT 'SECRET' AS a)",
    "SELECT * APPLY(x -> file(x)) FROM (SELECT 'SECRET' AS a)",
    # Quotes within quotes: a gate that paired them wrongly would not see the word between.
    "SELECT 1 AS `x'`, file('SECRET') AS `y'`",
    "SELECT 1 AS \"x'\", file('SECRET') AS \"y'\"",
    "SELECT $a$ ' $a$, file('SECRET'), $a$ ' $a$",
    "SELECT '\\'', file('SECRET'), '\\''",
    "SELECT '''', file('SECRET'), ''''",
    "WITH file('SECRET') AS f SELECT f",
    "SELECT 1 WHERE file('SECRET') != ''",
    "SELECT 1 ORDER BY file('SECRET')",
    "SELECT * FROM seller_revenue WHERE seller_id = file('SECRET')",
    "EXPLAIN SYNTAX SELECT file('SECRET')",
    "EXPLAIN SELECT * FROM file('SECRET')",
    "DESCRIBE TABLE file('SECRET', 'LineAsString')",
    "DESCRIBE (SELECT file('SECRET'))",
    "SELECT * FROM file('SECRET', 'LineAsString')",
    "SELECT * FROM fileCluster('default', 'SECRET', 'LineAsString')",
    "SELECT * FROM filesystem('SECRET')",
    "SELECT * FROM sqlite('SECRET', 't')",
    "SELECT * FROM executable('cat', 'LineAsString', 'a String')",
    "SELECT * FROM icebergLocal('SECRET')",
    "SELECT * FROM deltaLakeLocal('SECRET')",
    "SELECT * FROM paimonLocal('SECRET')",
    "SELECT * FROM python(x)",
    "SELECT * FROM Python(x)",
    "SELECT * FROM arrowstream(x)",
    "SELECT * FROM eval('SELECT file(''SECRET'')')",
    "SELECT * FROM fuzzQuery('SELECT 1')",
    "SELECT * FROM input('a String')",
    "SELECT * FROM default.`SECRET`",
    "SELECT 1 INTO OUTFILE '/tmp/x'",
    "SELECT 1 INTO/**/OUTFILE '/tmp/x'",
    "SELECT 1 INTO OUTFILE '/tmp/x' TRUNCATE FORMAT CSV",
    "INSERT INTO other FROM INFILE 'SECRET' FORMAT LineAsString",
    "SELECT 1 FORMAT Template SETTINGS format_template_row = 'SECRET'",
    "SELECT 1 FORMAT Template SETTINGS format_template_resultset = 'SECRET'",
    "SELECT 1 FORMAT CapnProto SETTINGS format_schema = 'SECRET:X'",
    "SELECT 1 FORMAT Protobuf SETTINGS output_format_schema = '/tmp/x'",
    # Settings that hold SQL.
    "SELECT 1 SETTINGS additional_result_filter = 'file(''SECRET'') != '''''",
    "SELECT 1 SETTINGS max_threads = 1, additional_result_filter = 'file(''SECRET'') != '''''",
    "SELECT 1 SETTINGS format = 'CSV', filter = 'file(''SECRET'') != '''''",
    "SELECT * FROM (SELECT 1 SETTINGS `filter` = 'file(''SECRET'') != ''''')",
    "SELECT 1 FORMAT CSV SETTINGS \"select\" = 'file(''SECRET'')'",
    "SELECT 1 UNION ALL SELECT 1 SETTINGS additional_table_filters = {'t': 'file(''SECRET'')'}",
    "SELECT 1 SETTINGS max_threads = 1 UNION ALL SELECT 1 SETTINGS filter = '1'",
    # What could be taken for a name before SETTINGS.
    "SELECT 1 AS settings SETTINGS filter = '1'",
    "SELECT 1 AS `AS` SETTINGS filter = '1'",
    "SELECT 1 AS SHOW SETTINGS filter = '1'",
    "SELECT 1 AS changed SETTINGS filter = '1'",
    "SELECT 1. SETTINGS filter = '1'",
    "SELECT 1 AS `x.` SETTINGS filter = '1'",
    "SHOW TABLES SETTINGS filter = '1'",
    "SHOW SETTINGS LIKE 'x' SETTINGS filter = '1'",
    "SELECT 1 FROM system.settings SETTINGS filter = '1'",
    "SELECT 1 SETTINGS max_threads.x = 1",
    # A setting without a value is switched on.
    "SELECT 1 SETTINGS allow_introspection_functions",
    "SELECT 1 SETTINGS max_threads = 1, allow_introspection_functions",
    "SELECT 1 SETTINGS extremes, allow_introspection_functions, max_threads = 1",
    "SELECT * FROM (SELECT 1 SETTINGS extremes, allow_ddl) SETTINGS max_threads = 1",
    "SET enable_json_ast_dialect",
    "SET additional_result_filter = '1'",
    "SET dialect = 'kusto'",
    "SET max_threads = 1, dialect = 'prql'",
    "SELECT 1 SETTINGS dialect = 'polyglot'",
    "SELECT 1 SETTINGS compatibility = '20.1'",
    "SELECT arrayMap({f:Identifier}, ['SECRET']) SETTINGS param_f = 'file'",
    "SELECT aiGenerate('x')",
    "SELECT arrayMap(aiGenerate, ['x'])",
)
NETWORK = (
    "SELECT * FROM url('http://127.0.0.1:PORT/x.csv')",
    "SELECT * FROM url('http://127.0.0.1:PORT/x', 'CSV', 'a String')",
    "DESCRIBE TABLE url('http://127.0.0.1:PORT/x.csv')",
    "EXPLAIN SELECT * FROM url('http://127.0.0.1:PORT/x.csv')",
    "SELECT * FROM urlCluster('default', 'http://127.0.0.1:PORT/x.csv')",
    "SELECT * FROM s3('http://127.0.0.1:PORT/b/x.csv')",
    "DESCRIBE TABLE s3('http://127.0.0.1:PORT/b/x.csv')",
    "SELECT * FROM remote('127.0.0.1:PORT', system.one)",
    "DESCRIBE TABLE remote('127.0.0.1:PORT', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:PORT', system.one)",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:PORT/x')",
    "SELECT * FROM mysql('127.0.0.1:PORT', 'd', 't', 'u', 'p')",
    "DESCRIBE TABLE mysql('127.0.0.1:PORT', 'd', 't', 'u', 'p')",
    "SELECT * FROM postgresql('127.0.0.1:PORT', 'd', 't', 'u', 'p')",
    "SELECT * FROM mongodb('127.0.0.1:PORT', 'd', 't', 'u', 'p', 'a String')",
    "SELECT * FROM redis('127.0.0.1:PORT', 'k', 'k String')",
    "SELECT * FROM jdbc('jdbc:x', 't')",
    "SELECT * FROM odbc('x', 't')",
    "SELECT * FROM bigquery('x')",
    "SELECT * FROM azureBlobStorage('http://127.0.0.1:PORT/', 'c', 'x')",
)


@pytest.mark.parametrize(
    "statement",
    [*WRITES, *RIGHTS, *RAW_TABLES, *FILES, *NETWORK],
    ids=lambda statement: statement[:70],
)
def test_it_is_refused(world: World, reader: httpx.Client, statement: str) -> None:
    response = reader.post("/", content=world.filled(statement))
    assert response.headers.get("X-ClickHouse-Exception-Code") in DENIED, response.text
    assert world.secret not in response.text
    assert not world.listener.calls


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO purser.other VALUES ('x')",
        "SELECT * FROM purser.other",
        "SELECT file('SECRET')",
        "SELECT * FROM default.`SECRET`",
        "SELECT * FROM url('http://127.0.0.1:PORT/x.csv')",
        "SET ROLE purser_admin",
        "KILL QUERY WHERE 1",
    ],
)
def test_no_way_of_asking_gives_more(world: World, reader: httpx.Client, statement: str) -> None:
    text = world.filled(statement)
    ways: list[dict[str, Any]] = [
        {"params": {"session_id": "s"}, "content": text},
        {"params": {"session_id": "s"}, "content": text},  # a session that exists
        {"params": {"database": "system"}, "content": text},
        {"params": {"database": "default"}, "content": text},
        {"params": {"readonly": "0"}, "content": text},
        {"params": {"query": text}, "content": b""},
        {"params": {"query": "/* "}, "content": f" */ {text}"},
        {"files": {"query": (None, text)}},
        {"headers": {"X-ClickHouse-Format": "JSON"}, "content": text},
        {"headers": {"Content-Encoding": "gzip"}, "content": gzip.compress(text.encode())},
        {"params": {"decompress": "1"}, "content": BlockEncoder().compress(text.encode())},
        {"params": {"compress": "1", "client_protocol_version": "54460"}, "content": text},
        {"params": {"query_id": "*/ SELECT 1"}, "content": text},
        {"content": f"\ufeff\u00a0{text}".encode()},
    ]
    for way in ways:
        response = reader.post("/", **way)
        code = response.headers.get("X-ClickHouse-Exception-Code")
        # The first half of a statement in two is judged by itself, and is none.
        halves = way.get("params") == {"query": "/* "}
        assert code in DENIED or (halves and code == "62"), (way, response.text)
        assert world.secret not in response.text
    response = reader.get("/", params={"query": text})
    assert response.headers.get("X-ClickHouse-Exception-Code") in DENIED, response.text
    assert not world.listener.calls


@pytest.mark.parametrize(
    "options",
    [
        {"role": "purser_admin"},
        {"role": "purser_analyst"},
        {"dialect": "kusto"},
        {"filter": "file('SECRET') != ''"},
        {"select": "file('SECRET')"},
        {"additional_result_filter": "file('SECRET') != ''"},
        {"format_schema": "SECRET"},
        {"default_format": "Protobuf", "output_format_schema": "/tmp/x"},
        {"default_format": "Template", "format_template_row": "SECRET"},
        {"profile": "default"},
        {"implicit_table_at_top_level": "purser.other"},
        {"url_base": "http://127.0.0.1:PORT"},
        {"allow_introspection_functions": "1"},
    ],
    ids=str,
)
def test_no_setting_beside_the_statement_gives_more(
    world: World, reader: httpx.Client, options: dict[str, str]
) -> None:
    options = {name: world.filled(value) for name, value in options.items()}
    response = reader.post("/", params=options, content="SELECT 1 AS x")
    assert response.headers.get("X-ClickHouse-Exception-Code") in DENIED, response.text
    assert world.secret not in response.text


@pytest.mark.parametrize(
    "value", ["file", "FILE", "system.file", "a`b", "a b", "", "fi\\x6ce", "'x'", "a.b)--"]
)
def test_a_parameter_cannot_bring_a_function_in(
    world: World, reader: httpx.Client, value: str
) -> None:
    statement = world.filled("SELECT arrayMap({f:Identifier}, ['SECRET'])")
    for text in (statement, statement.replace("f:", " f /**/ :\n")):
        response = reader.post("/", params={"param_f": value}, content=text)
        assert response.headers.get("X-ClickHouse-Exception-Code") in DENIED, response.text
        assert world.secret not in response.text


@pytest.mark.parametrize(
    "content",
    [
        b"SELECT 1; SELECT 2",
        b"SELECT 1; SET ROLE purser_admin",
        b"SELECT 1;\nDROP TABLE other",
        b"\xff\xfe\x00SELECT 1",
        b"SELECT '\xff'",
        b"SELECT 1 \x00, file('/etc/hostname')",
        b"SELECT 1\x00; DROP TABLE other",
        bytes(range(256)),
        b"",
        b"SELECT",
        b"seller_revenue",
        b"| take 1",
        b"SELECT '" + b"x" * 300_000 + b"'",
        b"SELECT " + b"(" * 5_000 + b"1" + b")" * 5_000,
    ],
    ids=lambda content: repr(content[:30]),
)
def test_what_is_no_statement_is_an_error_and_harms_nobody(
    reader: httpx.Client, content: bytes
) -> None:
    response = reader.post("/", content=content)
    code = response.headers.get("X-ClickHouse-Exception-Code")
    assert code in {"62", "306", "497"}, response.text
    assert "formatQuery" not in response.text  # it is the reader's statement that is wrong
    assert ask(reader, "SELECT count() FROM seller_revenue") == "1\n"


def test_a_form_with_tables_is_refused(reader: httpx.Client) -> None:
    response = reader.post(
        "/",
        params={"query": "SELECT * FROM t", "t_structure": "a String"},
        files={"t": ("t", b"x\n")},
    )
    assert response.headers.get("X-ClickHouse-Exception-Code") == "164"


def test_statements_of_others_cannot_be_seen(world: World, reader: httpx.Client) -> None:
    statement = "SELECT sleepEachRow(1), 'mine alone' FROM numbers(3) SETTINGS max_block_size = 1"

    def run() -> None:
        with world.admin() as admin:
            ask(admin, statement)

    running = threading.Thread(target=run)
    running.start()
    with world.admin() as admin:
        seen = "SELECT count() FROM system.processes WHERE position(query, 'mine ' || 'alone') > 0"
        while running.is_alive() and ask(admin, seen) == "0\n":
            pass
    assert running.is_alive()
    assert ask(reader, "SELECT count() FROM system.processes") == "0\n"
    assert ask(reader, "SHOW PROCESSLIST") == ""
    running.join()
