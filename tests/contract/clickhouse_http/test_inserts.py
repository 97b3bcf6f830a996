"""Inserts: every way in, every compression, and nothing at all when a body is not whole."""

import gzip
import json
import socket
import threading
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import lz4.frame
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from tests.waiting import throughout

from .conftest import Target

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "lz4": lambda data: bytes(lz4.frame.compress(data, content_checksum=True)),
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
LARGE_ROWS = 300_000  # some 9 MB: more than the server keeps in memory


def count(http: httpx.Client, table: str) -> int:
    return int(http.post("/", content=f"SELECT count() FROM {table}").raise_for_status().text)


def content(http: httpx.Client, table: str) -> str:
    response = http.post("/", content=f"SELECT a, b FROM {table} ORDER BY a, b FORMAT CSV")
    return response.raise_for_status().text


def written(response: httpx.Response) -> int:
    response.raise_for_status()
    return int(json.loads(response.headers["X-ClickHouse-Summary"])["written_rows"])


def json_rows(rows: int) -> bytes:
    return b"".join(b'{"a":%d,"b":"some text %d"}\n' % (row, row) for row in range(rows))


@pytest.mark.parametrize(
    ("statement", "data"),
    [
        ("INSERT INTO {table} FORMAT CSV", b"1,x\n2,y\n"),
        ("INSERT INTO {table} (b, a) FORMAT CSV", b"x,1\ny,2\n"),
        ("insert into {table} format TabSeparated", b"1\tx\n2\ty\n"),
        ("INSERT INTO {table} FORMAT JSONEachRow", b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}'),
        ("INSERT INTO {table} FORMAT JSONEachRow", b'[{"a":1,"b":"x"},{"a":2,"b":"y"}]'),
        ("INSERT INTO {table} VALUES", b"(1, 'x'), (1 + 1, lower('Y'))"),
        ("INSERT INTO {table} FORMAT Values", b"(1, 'x'), (2, 'y')"),
        ("INSERT INTO {table} SETTINGS max_insert_threads = 1 FORMAT CSV", b"1,x\n2,y\n"),
        ("INSERT INTO {table} (a, b) SETTINGS max_threads = 1 VALUES", b"(1,'x'),(2,'y')"),
        ("INSERT INTO TABLE {table} FORMAT CSV", b"1,x\n2,y\n"),
        ("INSERT INTO {table} -- a comment; FORMAT TSV\n FORMAT CSV", b"1,x\n2,y\n"),
    ],
)
@pytest.mark.parametrize("place", ["query", "body"])
def test_statement_may_stand_in_the_query_string_or_before_the_rows(
    http: httpx.Client, table: str, statement: str, data: bytes, place: str
) -> None:
    text = statement.format(table=table)
    if place == "query":
        response = http.post("/", params={"query": text}, content=data)
    else:
        response = http.post("/", content=text.encode() + b"\n" + data)
    assert response.status_code == 200, response.text
    assert content(http, table) == '1,"x"\n2,"y"\n'
    assert written(response) == 2


def test_rows_are_never_taken_for_sql(http: httpx.Client, table: str) -> None:
    rows = b'1,a;b -- c\n2,"FORMAT TSV\' ; SELECT 1"\n3,/*\n'
    response = http.post("/", content=f"INSERT INTO {table} FORMAT CSV\n".encode() + rows)
    assert written(response) == 3
    assert content(http, table) == '1,"a;b -- c"\n2,"FORMAT TSV\' ; SELECT 1"\n3,"/*"\n'


def test_insert_behind_a_with_clause_takes_its_rows(http: httpx.Client, table: str) -> None:
    statement = f"WITH 1 AS one INSERT INTO {table} FORMAT CSV\n1,x;\n"
    assert http.post("/", content=statement).status_code == 200
    assert content(http, table) == '1,"x;"\n'


def test_rows_may_stand_in_the_query_string_and_go_on_in_the_body(
    http: httpx.Client, table: str
) -> None:
    query = f"INSERT INTO {table} VALUES (1, 'x'),"
    assert written(http.post("/", params={"query": query}, content=b"(2, 'y')")) == 2


@pytest.mark.parametrize("word", ["format", "values", "select", "settings", "from"])
def test_table_may_have_the_name_of_a_keyword(http: httpx.Client, word: str) -> None:
    http.post("/", content=f"CREATE TABLE `{word}` (a UInt64) ENGINE = Memory").raise_for_status()
    try:
        statement = f"INSERT INTO `{word}` FORMAT CSV\n1\n2\n"
        assert written(http.post("/", content=statement)) == 2
    finally:
        http.post("/", content=f"DROP TABLE `{word}`").raise_for_status()


def test_insert_select_counts_its_rows(http: httpx.Client, table: str) -> None:
    statement = f"INSERT INTO {table} SELECT number, 'x' FROM numbers(1234)"
    assert written(http.post("/", content=statement)) == 1234
    assert count(http, table) == 1234


def test_insert_of_no_rows_is_no_error(http: httpx.Client, table: str) -> None:
    statement = f"INSERT INTO {table} FORMAT CSV"
    assert written(http.post("/", params={"query": statement})) == 0


def test_parameters_serve_in_inserts(http: httpx.Client, table: str) -> None:
    options = {"param_table": table, "query": "INSERT INTO {table:Identifier} FORMAT CSV"}
    assert written(http.post("/", params=options, content=b"1,x\n")) == 1


def test_client_inserts_native_rows(client: Any, table: str) -> None:
    rows = [[number, f"text {number}"] for number in range(50_000)]
    summary = client.insert(table, rows, column_names=["a", "b"])
    assert summary.written_rows == 50_000
    assert client.query(f"SELECT * FROM {table} ORDER BY a").result_rows == [
        tuple(row) for row in rows
    ]


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_client_inserts_arrow_in_every_compression(
    target: Target, table: str, compress: str | bool
) -> None:
    client = target.client(compress=compress)
    arrow = pyarrow.table(
        {
            "a": pyarrow.array(range(LARGE_ROWS), pyarrow.uint64()),
            "b": [f"text {number}" for number in range(LARGE_ROWS)],
        }
    )
    assert client.insert_arrow(table, arrow).written_rows == LARGE_ROWS
    [(rows, total, texts)] = client.query(
        f"SELECT count(), sum(a), uniqExact(b) FROM {table}"
    ).result_rows
    assert (rows, total, texts) == (LARGE_ROWS, sum(range(LARGE_ROWS)), LARGE_ROWS)
    client.close()


@pytest.mark.parametrize("format_name", ["Parquet", "ArrowStream", "CSV", "JSONEachRow"])
def test_client_inserts_raw_formats(client: Any, table: str, format_name: str) -> None:
    sink = BytesIO()
    arrow = pyarrow.table({"a": pyarrow.array([1, 2], pyarrow.uint64()), "b": ["x", "y"]})
    match format_name:
        case "Parquet":
            pyarrow.parquet.write_table(arrow, sink)
        case "ArrowStream":
            with pyarrow.ipc.new_stream(sink, arrow.schema) as writer:
                writer.write_table(arrow)
        case "CSV":
            sink.write(b"1,x\n2,y\n")
        case _:
            sink.write(b'{"a":1,"b":"x"}\n{"a":2,"b":"y"}\n')
    summary = client.raw_insert(table, insert_block=sink.getvalue(), fmt=format_name)
    assert summary.written_rows == 2
    assert client.query(f"SELECT * FROM {table} ORDER BY a").result_rows == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
@pytest.mark.parametrize("frames", [1, 2, 60])
def test_every_frame_of_a_compressed_body_counts(
    http: httpx.Client, table: str, encoding: str, frames: int
) -> None:
    if encoding == "deflate" and frames > 1:
        body = COMPRESS[encoding](json_rows(LARGE_ROWS // 10))  # zlib streams have one frame
    else:
        plain = json_rows(LARGE_ROWS // 10)
        cut = len(plain) // frames + 1
        pieces = [plain[start : start + cut] for start in range(0, len(plain), cut)]
        body = b"".join(COMPRESS[encoding](piece) for piece in pieces)
    options = {"query": f"INSERT INTO {table} FORMAT JSONEachRow"}
    response = http.post("/", params=options, headers={"Content-Encoding": encoding}, content=body)
    assert written(response) == LARGE_ROWS // 10
    assert count(http, table) == LARGE_ROWS // 10


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
def test_compressed_body_may_be_cut_anywhere_in_transit(
    http: httpx.Client, table: str, encoding: str
) -> None:
    body = COMPRESS[encoding](f"INSERT INTO {table} FORMAT CSV\n1,x\n2,y\n".encode())

    def bytewise() -> Iterator[bytes]:
        for position in range(len(body)):
            yield body[position : position + 1]

    response = http.post("/", headers={"Content-Encoding": encoding}, content=bytewise())
    assert written(response) == 2


def test_large_body_is_inserted_whole(http: httpx.Client, table: str) -> None:
    options = {"query": f"INSERT INTO {table} FORMAT JSONEachRow"}
    assert written(http.post("/", params=options, content=json_rows(LARGE_ROWS))) == LARGE_ROWS
    statement = f"SELECT count(), sum(a), uniqExact(b) FROM {table}"
    expected = f"{LARGE_ROWS}\t{sum(range(LARGE_ROWS))}\t{LARGE_ROWS}\n"
    assert http.post("/", content=statement).text == expected


def test_large_body_with_its_statement_in_front(http: httpx.Client, table: str) -> None:
    head = f"INSERT INTO {table} SETTINGS max_insert_threads = 1 FORMAT JSONEachRow\n".encode()
    assert written(http.post("/", content=head + json_rows(LARGE_ROWS))) == LARGE_ROWS


def test_materialized_view_sees_the_insert_before_it_is_acknowledged(
    http: httpx.Client, table: str
) -> None:
    create = (
        f"CREATE MATERIALIZED VIEW {table}_view ENGINE = SummingMergeTree ORDER BY b"
        f" AS SELECT b, count() AS rows FROM {table} GROUP BY b"
    )
    http.post("/", content=create).raise_for_status()
    try:
        http.post("/", content=f"INSERT INTO {table} VALUES (1, 'x'), (2, 'x')").raise_for_status()
        assert http.post("/", content=f"SELECT * FROM {table}_view").text == "x\t2\n"
    finally:
        http.post("/", content=f"DROP VIEW {table}_view").raise_for_status()


@pytest.mark.parametrize(
    ("statement", "data", "codes"),
    [
        ("INSERT INTO {table} FORMAT CSV", b"1,x\nnot a number,y\n", {"27", "72"}),
        ("INSERT INTO {table} FORMAT JSONEachRow", b'{"a":1,"b":"x"}\n{"a":2,"b":"y', {"26"}),
        ("INSERT INTO {table} VALUES", b"(1, 'x'), (2, no_such_function())", {"46", "62"}),
        ("INSERT INTO {table} FORMAT Native", b"\x02\x01\x01a", {"33", "32"}),
        ("INSERT INTO {table} FORMAT NoSuchFormat", b"1,x\n", {"73"}),
        ("INSERT INTO {table}_no FORMAT CSV", b"1,x\n", {"60"}),
        ("INSERT INTO no_such_database.t FORMAT CSV", b"1,x\n", {"81", "60"}),
        ("INSERT INTO {table} (a, c) FORMAT CSV", b"1,x\n", {"16"}),
        ("INSERT INTO {table} FROM INFILE '/etc/hosts' FORMAT CSV", b"", {"358", "48", "62"}),
    ],
)
def test_insert_that_fails_inserts_nothing(
    http: httpx.Client, table: str, statement: str, data: bytes, codes: set[str]
) -> None:
    response = http.post("/", params={"query": statement.format(table=table)}, content=data)
    assert response.headers["X-ClickHouse-Exception-Code"] in codes, response.text
    assert response.status_code >= 400
    assert count(http, table) == 0


def test_bad_last_row_of_a_large_body_inserts_nothing(http: httpx.Client, table: str) -> None:
    options = {"query": f"INSERT INTO {table} FORMAT JSONEachRow"}
    body = json_rows(LARGE_ROWS) + b'{"a":"x"}\n'
    response = http.post("/", params=options, content=body)
    assert response.headers["X-ClickHouse-Exception-Code"] == "27", response.text
    assert count(http, table) == 0


@pytest.mark.parametrize("encoding", sorted(COMPRESS))
@pytest.mark.parametrize("rows", [10, LARGE_ROWS])
@pytest.mark.parametrize("damage", ["cut in half", "last byte missing", "one bit turned"])
def test_damaged_compressed_body_inserts_nothing(
    http: httpx.Client, table: str, encoding: str, rows: int, damage: str
) -> None:
    whole = bytearray(COMPRESS[encoding](json_rows(rows)))
    if damage == "cut in half":
        del whole[len(whole) // 2 :]
    elif damage == "last byte missing":
        del whole[-1:]
    else:
        whole[len(whole) * 2 // 3] ^= 1
    options = {"query": f"INSERT INTO {table} FORMAT JSONEachRow"}
    headers = {"Content-Encoding": encoding}
    response = http.post("/", params=options, headers=headers, content=bytes(whole))
    assert response.status_code >= 400
    assert "X-ClickHouse-Exception-Code" in response.headers
    assert count(http, table) == 0


def test_unknown_compression_is_refused(http: httpx.Client, table: str) -> None:
    options = {"query": f"INSERT INTO {table} FORMAT CSV"}
    headers = {"Content-Encoding": "rot13"}
    response = http.post("/", params=options, headers=headers, content=b"1,x\n")
    assert response.status_code >= 400
    assert count(http, table) == 0


@pytest.mark.parametrize("rows", [10, LARGE_ROWS])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_body_whose_client_dies_inserts_nothing(
    target: Target, http: httpx.Client, table: str, rows: int, framing: str
) -> None:
    body = json_rows(rows)
    credentials = b64encode(f"{target.user}:{target.password}".encode()).decode()
    query = f"/?query=INSERT+INTO+{target.database}.{table}+FORMAT+JSONEachRow"
    head = f"POST {query} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n"
    with socket.create_connection((target.host, target.port)) as connection:
        if framing == "length":
            connection.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
        else:
            connection.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            connection.sendall(f"{len(body):x}\r\n".encode() + body + b"\r\n")
    for _ in throughout(1.0, poll_seconds=0.2):
        assert count(http, table) == 0


def test_client_that_waits_for_100_continue_is_served(target: Target, table: str) -> None:
    credentials = b64encode(f"{target.user}:{target.password}".encode()).decode()
    query = f"/?query=INSERT+INTO+{target.database}.{table}+FORMAT+CSV"
    head = (
        f"POST {query} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic {credentials}\r\n"
        "Content-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((target.host, target.port), timeout=30) as connection:
        connection.sendall(head.encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
        connection.sendall(b"1,x\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_asynchronous_insert_is_visible_once_acknowledged(http: httpx.Client, table: str) -> None:
    options = {"async_insert": "1", "wait_for_async_insert": "1"}
    statement = f"INSERT INTO {table} VALUES (1, 'x')"
    http.post("/", params=options, content=statement).raise_for_status()
    assert count(http, table) == 1


def test_the_same_rows_twice_are_two_rows(http: httpx.Client, table: str) -> None:
    options = {"insert_deduplicate": "0"}
    for _ in range(2):
        statement = f"INSERT INTO {table} VALUES (1, 'x')"
        http.post("/", params=options, content=statement).raise_for_status()
    assert count(http, table) == 2


def test_inserts_and_queries_at_once(target: Target, table: str) -> None:
    stop = threading.Event()
    counts: list[int] = []

    def read() -> None:
        with target.http() as http:
            while not stop.is_set():
                counts.append(count(http, table))

    def write(writer: int) -> None:
        with target.http() as http:
            for block in range(10):
                rows = b"".join(b"%d,x\n" % (writer * 1000 + block * 10 + row) for row in range(10))
                options = {"query": f"INSERT INTO {table} FORMAT CSV"}
                assert written(http.post("/", params=options, content=rows)) == 10

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(6) as threads:
        list(threads.map(write, range(6)))
    stop.set()
    reader.join()
    with target.http() as http:
        assert count(http, table) == 600
    assert counts == sorted(counts)
    assert all(number % 10 == 0 for number in counts), "a block was seen in part"
