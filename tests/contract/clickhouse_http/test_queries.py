"""Queries: statements, formats, parameters, settings, compression, streaming."""

import gzip
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import lz4.frame
import pytest
import zstandard
from clickhouse_connect.driver.exceptions import StreamFailureError
from clickhouse_connect.driver.external import ExternalData

from .conftest import Target

DECOMPRESS = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "lz4": lz4.frame.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


@pytest.mark.parametrize("path", ["/ping", "/", "/replicas_status"])
def test_health_needs_no_password(target: Target, path: str) -> None:
    response = httpx.get(target.url + path)
    assert (response.status_code, response.text) == (200, "Ok.\n")


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("SELECT 1 + 1", None),
        (None, "SELECT 1 + 1"),
        ("SELECT 1", "+ 1"),
        (None, "SELECT 1 + 1;\n-- the end"),
        (None, "/* a comment; with a semicolon */ SELECT 1 + 1 ;; "),
        (None, "(SELECT 1 + 1)"),
        (None, "WITH 1 AS one SELECT one + one"),
        (None, "SELECT length('a;b') - 1 -- ' an odd quote"),
    ],
)
def test_statement_may_stand_in_the_query_string_in_the_body_or_in_both(
    http: httpx.Client, query: str | None, body: str | None
) -> None:
    response = http.post("/", params={"query": query} if query else None, content=body)
    assert (response.status_code, response.text) == (200, "2\n")


def test_get_request_answers(http: httpx.Client) -> None:
    assert http.get("/", params={"query": "SELECT 'x'"}).text == "x\n"


def test_get_request_changes_nothing(http: httpx.Client, table: str) -> None:
    response = http.get("/", params={"query": f"TRUNCATE TABLE {table}"})
    assert response.headers["X-ClickHouse-Exception-Code"] == "164"


@pytest.mark.parametrize(
    ("statement", "options", "headers", "expected"),
    [
        ("SELECT 1 AS a", {}, {}, "1\n"),
        ("SELECT 1 AS a FORMAT CSVWithNames", {}, {}, '"a"\n1\n'),
        ("SELECT 1 AS a", {"default_format": "JSONEachRow"}, {}, '{"a":1}\n'),
        ("SELECT 1 AS a", {}, {"X-ClickHouse-Format": "JSONEachRow"}, '{"a":1}\n'),
        ("SELECT 1 AS a FORMAT Values", {"default_format": "JSON"}, {}, "(1)"),
        ("SELECT 1 AS a FORMAT CSV SETTINGS max_threads = 1", {}, {}, "1\n"),
        ("SELECT 1 AS a SETTINGS max_threads = 1 FORMAT CSV", {}, {}, "1\n"),
        ("SELECT 1 AS format FORMAT CSV", {}, {}, "1\n"),
        ("SELECT 'FORMAT CSV'", {}, {}, "FORMAT CSV\n"),
        ("SHOW TABLES LIKE 'no such table'", {}, {}, ""),
        ("EXISTS TABLE no_such_table", {}, {}, "0\n"),
        ("DESCRIBE (SELECT 1 AS a)", {"default_format": "CSV"}, {}, '"a","UInt8","","","","",""\n'),
    ],
)
def test_format_is_the_statements_or_the_headers_or_the_default(
    http: httpx.Client,
    statement: str,
    options: dict[str, str],
    headers: dict[str, str],
    expected: str,
) -> None:
    response = http.post("/", params=options, headers=headers, content=statement)
    assert response.text == expected


def test_answer_tells_its_format_and_type(http: httpx.Client) -> None:
    response = http.post("/", content="SELECT 1 AS a FORMAT JSON")
    assert response.headers["X-ClickHouse-Format"] == "JSON"
    assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
    assert response.headers["X-ClickHouse-Timezone"] == "UTC"
    assert response.json()["data"] == [{"a": 1}]


@pytest.mark.parametrize("encoding", sorted(DECOMPRESS))
@pytest.mark.parametrize("rows", [1, 300_000])
def test_answer_is_compressed_as_accepted(http: httpx.Client, encoding: str, rows: int) -> None:
    options = {"enable_http_compression": "1"}
    statement = f"SELECT number FROM numbers({rows})"
    with http.stream(
        "POST", "/", params=options, headers={"Accept-Encoding": encoding}, content=statement
    ) as response:
        raw = b"".join(response.iter_raw())
    assert response.headers["Content-Encoding"] == encoding
    assert DECOMPRESS[encoding](raw) == b"".join(b"%d\n" % number for number in range(rows))


def test_answer_is_plain_when_nothing_is_accepted(http: httpx.Client) -> None:
    response = http.post("/", headers={"Accept-Encoding": "identity"}, content="SELECT 1")
    assert "Content-Encoding" not in response.headers


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_client_reads_many_blocks_in_every_compression(
    target: Target, compress: str | bool
) -> None:
    client = target.client(compress=compress)
    with client.query_column_block_stream("SELECT number FROM numbers(500000)") as stream:
        assert sum(sum(block[0]) for block in stream) == sum(range(500_000))
    client.close()


PARAMETERS = [
    ("String", "plain", "plain"),
    ("String", "a\\tb\\\\c\\n", "a\tb\\c\n"),
    ("String", "it's 'quoted' \"text\"", "it's 'quoted' \"text\""),
    ("String", "日本 – ü", "日本 – ü"),
    ("String", "'; DROP TABLE t; --", "'; DROP TABLE t; --"),
    ("Nullable(String)", "\\N", None),
    ("Int64", "-9223372036854775808", -9223372036854775808),
    ("UInt64", "18446744073709551615", 18446744073709551615),
    ("Decimal(18, 2)", "12345.67", 12345.67),
    ("Array(String)", "['a','b\\'c']", ["a", "b'c"]),
    ("Array(UInt8)", "[1,2,3]", [1, 2, 3]),
    ("Map(String, UInt8)", "{'a':1}", {"a": 1}),
    ("Date", "2024-02-29", "2024-02-29"),
    ("DateTime64(3, 'UTC')", "2024-02-29 12:34:56.789", "2024-02-29 12:34:56.789"),
    ("UUID", "61f0c404-5cb3-11e7-907b-a6006ad3dba0", "61f0c404-5cb3-11e7-907b-a6006ad3dba0"),
    ("Bool", "true", True),
]


@pytest.mark.parametrize(("kind", "text", "expected"), PARAMETERS)
def test_parameters_are_typed(http: httpx.Client, kind: str, text: str, expected: object) -> None:
    options = {"param_x": text, "output_format_json_quote_64bit_integers": "0"}
    statement = f"SELECT {{x:{kind}}} AS x FORMAT JSONEachRow"
    response = http.post("/", params=options, content=statement)
    assert response.status_code == 200, response.text
    assert response.json()["x"] == expected


def test_parameter_may_be_an_identifier(http: httpx.Client, table: str) -> None:
    options = {"param_table": table, "param_column": "a"}
    statement = "SELECT sum({column:Identifier}) FROM {table:Identifier}"
    assert http.post("/", params=options, content=statement).text == "0\n"


@pytest.mark.parametrize("name", ["id$x", "$1", "a$$b", "13_"])
def test_parameter_names_may_hold_dollars(client: Any, name: str) -> None:
    statement = f"SELECT {{{name}:UInt32}} + 1"
    assert client.query(statement, parameters={name: 41}).result_rows == [(42,)]


@pytest.mark.parametrize(
    ("kind", "text", "code"),
    [("UInt8", "x", "457"), ("String", "raw\ttab", "457")],
)
def test_parameter_of_the_wrong_type_is_refused(
    http: httpx.Client, kind: str, text: str, code: str
) -> None:
    response = http.post("/", params={"param_x": text}, content=f"SELECT {{x:{kind}}}")
    assert response.headers["X-ClickHouse-Exception-Code"] == code
    assert "query parameter 'x'" in response.text


def test_missing_parameter_is_refused_even_after_it_was_given(http: httpx.Client) -> None:
    assert http.post("/", params={"param_x": "7"}, content="SELECT {x:UInt8}").text == "7\n"
    response = http.post("/", content="SELECT {x:UInt8}")
    assert response.headers["X-ClickHouse-Exception-Code"] == "456"


def test_client_binds_parameters(client: Any) -> None:
    parameters = {"text": "o'clock\t\\", "numbers": [3, 4], "none": None}
    statement = "SELECT {text:String}, {numbers:Array(UInt8)}, {none:Nullable(String)}"
    rows = client.query(statement, parameters=parameters).result_rows
    assert rows == [("o'clock\t\\", [3, 4], None)]


def test_setting_applies_to_its_request_alone(http: httpx.Client) -> None:
    statement = "SELECT getSetting('max_block_size')"
    before = http.post("/", content=statement).text
    assert http.post("/", params={"max_block_size": "777"}, content=statement).text == "777\n"
    assert http.post("/", content=statement).text == before


def test_settings_of_concurrent_requests_do_not_mix(target: Target) -> None:
    barrier = threading.Barrier(8)

    def ask(number: int) -> list[str]:
        answers = []
        with target.http() as http:
            for turn in range(15):
                barrier.wait(timeout=60)
                size = 1000 + number * 100 + turn
                statement = "SELECT getSetting('max_block_size'), sleepEachRow(0.01)"
                response = http.post("/", params={"max_block_size": str(size)}, content=statement)
                answers.append(response.text)
                assert response.text == f"{size}\t0\n"
        return answers

    with ThreadPoolExecutor(8) as threads:
        assert all(len(answers) == 15 for answers in threads.map(ask, range(8)))


def test_setting_values_cannot_break_out_of_their_quotes(http: httpx.Client, table: str) -> None:
    value = f"x', max_threads = 1; DROP TABLE {table}; --\\"
    statement = "SELECT getSetting('log_comment')"
    assert (
        http.post("/", params={"log_comment": value}, content=statement + " FORMAT RawBLOB").text
        == value
    )
    assert http.post("/", content=f"EXISTS TABLE {table}").text == "1\n"


@pytest.mark.parametrize("name", ["no_such_setting", "x = 1, y", "max_threads'"])
def test_unknown_setting_is_refused(http: httpx.Client, name: str) -> None:
    response = http.post("/", params={name: "1"}, content="SELECT 1")
    assert response.headers["X-ClickHouse-Exception-Code"] == "115"
    assert response.status_code == 404


def test_readonly_request_may_read_and_not_write(http: httpx.Client, table: str) -> None:
    options = {"readonly": "1"}
    assert http.post("/", params=options, content=f"SELECT count() FROM {table}").text == "0\n"
    for statement in (
        f"INSERT INTO {table} VALUES (1, 'x')",
        f"DROP TABLE {table}",
        "SET max_threads = 1",
        "SELECT 1 SETTINGS max_threads = 1",
    ):
        response = http.post("/", params=options, content=statement)
        assert response.headers.get("X-ClickHouse-Exception-Code") == "164", statement
    assert http.post("/", content=f"SELECT count() FROM {table}").text == "0\n"


def test_database_is_the_parameter_or_the_header(target: Target) -> None:
    with target.http(params={}) as http:
        statement = "SELECT currentDatabase()"
        assert http.post("/", content=statement).text == "default\n"
        by_query = http.post("/", params={"database": "system"}, content=statement)
        by_header = http.post("/", headers={"X-ClickHouse-Database": "system"}, content=statement)
        assert (by_query.text, by_header.text) == ("system\n", "system\n")


def test_query_id_is_echoed_or_made(http: httpx.Client) -> None:
    given = http.post("/", params={"query_id": "mine-1"}, content="SELECT 1")
    assert given.headers["X-ClickHouse-Query-Id"] == "mine-1"
    made = [http.post("/", content="SELECT 1").headers["X-ClickHouse-Query-Id"] for _ in range(2)]
    assert made[0] != made[1]


def test_query_id_cannot_smuggle_a_header(http: httpx.Client) -> None:
    response = http.post("/", params={"query_id": "x\r\nX-Smuggled: 1"}, content="SELECT 1")
    assert "X-Smuggled" not in response.headers


def test_long_query_strings_are_read(http: httpx.Client) -> None:
    text = "x" * 60_000
    options = {"query": "SELECT length({x:String})", "param_x": text}
    assert http.post("/", params=options).text == "60000\n"


def test_summary_counts_what_was_read(client: Any, table: str) -> None:
    client.insert(table, [[number, "x"] for number in range(1000)], column_names=["a", "b"])
    summary = client.query(f"SELECT sum(a) FROM {table}").summary
    assert int(summary["read_rows"]) == 1000


@pytest.mark.parametrize("wait", ["0", "1"])
def test_large_answer_arrives_whole(http: httpx.Client, wait: str) -> None:
    options = {"wait_end_of_query": wait}
    statement = "SELECT number FROM numbers(2000000) FORMAT RowBinary"
    digest = 0
    size = 0
    with http.stream("POST", "/", params=options, content=statement) as response:
        for chunk in response.iter_bytes():
            size += len(chunk)
            digest = zlib.crc32(chunk, digest)
    expected = b"".join(number.to_bytes(8, "little") for number in range(2_000_000))
    assert (size, digest) == (16_000_000, zlib.crc32(expected))


def test_error_before_the_answer_has_its_status(http: httpx.Client) -> None:
    response = http.post("/", content="SELECT throwIf(number = 5) FROM numbers(10)")
    assert response.headers["X-ClickHouse-Exception-Code"] == "395"
    assert response.status_code == 500


def test_error_within_a_waited_answer_has_its_status(http: httpx.Client) -> None:
    statement = "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)"
    response = http.post("/", params={"wait_end_of_query": "1"}, content=statement)
    assert response.headers["X-ClickHouse-Exception-Code"] == "395"
    assert response.status_code == 500


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd", "lz4"])
def test_error_within_a_streamed_answer_is_tagged_and_breaks_it(
    http: httpx.Client, encoding: str
) -> None:
    statement = "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)"
    received = bytearray()
    with http.stream(
        "POST", "/", headers={"Accept-Encoding": encoding}, content=statement
    ) as response:
        assert response.status_code == 200
        tag = response.headers["X-ClickHouse-Exception-Tag"].encode()
        with pytest.raises(httpx.RemoteProtocolError):
            for chunk in response.iter_raw():
                received += chunk
    if encoding == "gzip":
        plain = zlib.decompressobj(31).decompress(received)
    elif encoding == "zstd":
        plain = zstandard.ZstdDecompressor().decompressobj().decompress(bytes(received))
    elif encoding == "lz4":
        plain = lz4.frame.LZ4FrameDecompressor().decompress(bytes(received))
    else:
        plain = bytes(received)
    assert plain.startswith(b"0\t0\n1\t0\n")
    block = plain[plain.index(b"\r\n__exception__\r\n" + tag + b"\r\n") :]
    assert b"Code: 395." in block
    assert block.endswith(b" " + tag + b"\r\n__exception__\r\n")


def test_client_raises_on_an_error_within_a_stream(client: Any) -> None:
    statement = "SELECT number, throwIf(number = 3000000) FROM numbers(4000000)"
    with (
        pytest.raises(StreamFailureError, match="throwIf"),
        client.query_rows_stream(statement) as stream,
    ):
        for _ in stream:
            pass
    assert client.query("SELECT 1").result_rows == [(1,)]


@pytest.mark.parametrize(
    ("statement", "code"),
    [
        ("SELECT 1; SELECT 2", "62"),
        ("SELECT 1 INTO OUTFILE 'x.csv'", "358"),
        ("", "62"),
        (";", "62"),
        ("-- nothing", "62"),
        ("exit", "62"),
        ("quit", "62"),
        (":q", "62"),
    ],
)
def test_what_is_not_one_statement_is_refused(
    http: httpx.Client, statement: str, code: str
) -> None:
    response = http.post("/", content=statement.encode())
    assert response.headers["X-ClickHouse-Exception-Code"] == code


def test_query_may_come_as_a_form(target: Target) -> None:
    client = target.client(form_encode_query_params=True)
    rows = client.query("SELECT {x:UInt32} + 1", parameters={"x": 41}).result_rows
    assert rows == [(42,)]
    client.close()


def test_external_tables_live_for_one_query(client: Any) -> None:
    data = ExternalData(
        file_name="people.csv", data=b"1,Ann\n2,Bob\n", fmt="CSV", structure="id UInt8, name String"
    )
    data.add_file(file_name="plain", data=b"2\n", fmt="TSV", types="UInt8")
    statement = "SELECT name FROM people JOIN plain ON people.id = plain._1"
    assert client.query(statement, external_data=data).result_rows == [("Bob",)]
    with pytest.raises(Exception, match="UNKNOWN_TABLE"):
        client.query("SELECT * FROM people")


def test_many_small_queries_at_once(target: Target) -> None:
    def ask(number: int) -> int:
        with target.http() as http:
            answers = [
                http.post("/", content=f"SELECT {number} * 10 + {turn}") for turn in range(10)
            ]
        return sum(int(answer.text) for answer in answers)

    with ThreadPoolExecutor(16) as threads:
        sums = list(threads.map(ask, range(64)))
    assert sums == [number * 100 + 45 for number in range(64)]


def test_statement_bytes_need_not_be_utf8(http: httpx.Client) -> None:
    response = http.post("/", content=b"SELECT '\xff\xfe' FORMAT RawBLOB")
    assert response.content == b"\xff\xfe"
