"""Every reserved parameter and every setting of the HTTP interface: implemented or refused."""

import gzip
from collections.abc import Callable
from uuid import uuid4

import httpx
import pytest

from stack.clickhouse_http.blocks import BlockDecoder, BlockEncoder
from stack.clickhouse_http.parameters import HTTP_SETTINGS, RESERVED
from tests.contract.clickhouse_http.reader_world import World

Ask = Callable[..., httpx.Response]
MANY = "SELECT number FROM numbers(20000)"
LATE_ERROR = "SELECT number, throwIf(number = 500000) FROM numbers(600000) SETTINGS max_threads = 1"
SIZE = "SELECT getSetting('max_block_size')"


@pytest.fixture
def asked(world: World) -> Ask:
    """Asks as the writer, whose name and password stand in headers."""

    def ask(statement: str | bytes, **options: str) -> httpx.Response:
        login = {
            "X-ClickHouse-User": world.server.user,
            "X-ClickHouse-Key": world.server.password,
        }
        if "user" in options or "password" in options:
            login = {}
        headers = {**login, "Accept-Encoding": options.pop("accept", "identity")}
        options = {name.removesuffix("_"): value for name, value in options.items()}
        return httpx.post(
            world.server.url, params=options, headers=headers, content=statement, timeout=60
        )

    return ask


def code(response: httpx.Response) -> str:
    return str(response.headers.get("X-ClickHouse-Exception-Code", ""))


def plain(response: httpx.Response) -> bytes:
    """The bytes within blocks."""
    decoder = BlockDecoder()
    whole = b"".join(decoder.feed(response.content))
    decoder.finish()
    return whole


def method(response: httpx.Response) -> int:
    """The method of the first block."""
    return response.content[16]


def refused(name: str) -> Callable[[Ask, World], None]:
    def check(ask: Ask, world: World) -> None:
        for value in ("1", "true"):
            answer = ask("SELECT 1", **{name: value})
            assert code(answer) == "48"
            assert name in answer.text
        assert ask("SELECT 1", **{name: "0"}).text == "1\n"
        assert code(ask("SELECT 1", **{name: "perhaps"})) == "36"

    return check


def query(ask: Ask, world: World) -> None:
    assert ask("+ 1", query="SELECT 1").text == "2\n"


def query_id(ask: Ask, world: World) -> None:
    answer = ask("SELECT query_id, query FROM system.processes", query_id="mine ü '\\")
    assert "mine ü \\'\\\\\tSELECT query_id, query FROM system.processes" in answer.text


def database(ask: Ask, world: World) -> None:
    assert ask("SELECT currentDatabase()", database="system").text == "system\n"


def default_format(ask: Ask, world: World) -> None:
    answer = ask("SELECT 1 AS a", default_format="jsoneachrow")
    assert answer.text == '{"a":1}\n'
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"


def user_and_password(ask: Ask, world: World) -> None:
    login = {"user": world.server.user, "password": world.server.password}
    assert ask("SELECT 1", **login).text == "1\n"
    for wrong in ({"user": "x"}, {"password": "x"}):
        assert code(ask("SELECT 1", **{**login, **wrong})) == "516"


def quota_key(ask: Ask, world: World) -> None:
    assert ask("SELECT count() FROM system.quotas WHERE has(keys, 'client_key')").text == "0\n"
    assert ask("SELECT 1", quota_key="x").text == "1\n"


def role(ask: Ask, world: World) -> None:
    assert ask("SELECT currentRoles()", role="purser_analyst").text == "['purser_analyst']\n"
    assert code(ask("SELECT 1", role="no such role")) == "511"
    roles = "SELECT arraySort(currentRoles())"
    both = {"role": ["purser_analyst", "purser_admin"]}
    assert ask(roles, **both).text == "['purser_admin','purser_analyst']\n"
    session = {"session_id": uuid4().hex}
    before = ask(roles, **session).text
    assert ask(roles, role="purser_analyst", **session).text == "['purser_analyst']\n"
    assert code(ask("SELECT nonsense", role="purser_analyst", **session)) == "47"
    assert code(ask(roles, role="no such role", **session)) == "511"
    assert ask(roles, **session).text == before
    assert ask("SET ROLE NONE", role="purser_analyst", **session).text == ""
    assert ask(roles, **session).text == "[]\n"


def session(ask: Ask, world: World) -> None:
    options = {"session_id": uuid4().hex}
    assert code(ask(SIZE, session_check="1", **options)) == "372"
    assert ask("SET max_block_size = 777", session_timeout="60", **options).text == ""
    assert code(ask(SIZE, session_timeout="x", **options)) == "374"
    assert ask(SIZE, session_check="1", close_session="1", **options).text == "777\n"
    assert code(ask(SIZE, session_check="1", **options)) == "372"
    assert code(ask(SIZE, close_session="1")) == "36"


def compress(ask: Ask, world: World) -> None:
    numbers = b"".join(b"%d\n" % number for number in range(500_000))
    assert plain(ask("SELECT number FROM numbers(500000)", compress="1")) == numbers
    both = ask(MANY, compress="1", accept="gzip")
    assert both.headers["Content-Encoding"] == "gzip"
    assert plain(both) == plain(ask(MANY, compress="1"))
    assert ask("SELECT 1 WHERE 0", compress="1").content == b""
    assert ask("SELECT 1", compress="0").content == b"1\n"
    unknown = ask("SELECT no_such_column", compress="1")
    assert (code(unknown), method(unknown)) == ("47", 0x82)
    assert plain(unknown).startswith(b"Code: 47. DB::Exception: ")
    assert plain(ask("SELECT 1", compress="1", no_such_setting="1")).startswith(b"Code: 115.")
    assert plain(ask("KILL QUERY WHERE 0", compress="1", default_format="JSON")).startswith(b"{")
    wrong = ask("SELECT 1", compress="1", user="x", password="x")
    assert wrong.content.startswith(b"Code: 516.")  # drivers expect plain text with a 403


def decompress(ask: Ask, world: World) -> None:
    ask("CREATE TABLE purser.blocks (a UInt64) ENGINE = Memory").raise_for_status()
    try:
        rows = b"".join(b"%d\n" % number for number in range(100))
        for name in ("LZ4", "ZSTD", "NONE"):
            body = BlockEncoder(name).compress(rows)
            insert = {"query": "INSERT INTO purser.blocks FORMAT TSV", "decompress": "1"}
            answer = ask(body, **insert)
            assert (answer.status_code, answer.text) == (200, "")
            for wrong, expected in (
                (body[:-1], "33"),
                (bytes([body[0] ^ 1]) + body[1:], "40"),
                (rows, "89"),
            ):
                assert code(ask(wrong, **insert)) == expected
        assert ask("SELECT count(), sum(a) FROM purser.blocks").text == "300\t14850\n"
        statement = BlockEncoder().compress(b"SELECT 1 + 1")
        assert ask(statement, decompress="1").text == "2\n"
        assert code(ask("SELECT 1", decompress="1")) == "33"
    finally:
        ask("DROP TABLE purser.blocks").raise_for_status()


def verified(ask: Ask, world: World) -> None:
    body = bytearray(BlockEncoder().compress(b"SELECT 1"))
    body[0] ^= 1
    options = {"decompress": "1"}
    assert code(ask(bytes(body), **options)) == "40"
    options["http_native_compression_disable_checksumming_on_decompress"] = "1"
    assert ask(bytes(body), **options).text == "1\n"


def client_protocol_version(ask: Ask, world: World) -> None:
    statement = "SELECT 1 AS a, 'x' AS b FORMAT Native"
    usual = b"\x02\x01\x01a\x05UInt8\x01\x01b\x06String\x01x"
    framed = (
        b"\x01\x00\x02\xff\xff\xff\xff\x00\x02\x01\x01a\x05UInt8\x00\x01\x01b\x06String\x00\x01x"
    )
    assert ask(statement, client_protocol_version="0").content == usual
    assert ask(statement, client_protocol_version="54460").content == framed
    assert ask("SELECT 1", client_protocol_version="54460").text == "1\n"
    assert code(ask(statement, client_protocol_version="54405")) == "48"
    assert code(ask(statement, client_protocol_version="x")) == "36"
    states = "SELECT sumState(1) FORMAT Native"
    assert code(ask(states, client_protocol_version="54460")) == "48"
    failing = "SELECT throwIf(number = 9) FROM numbers(10) FORMAT Native"
    assert code(ask(failing, client_protocol_version="54460")) == "395"


def buffered(name: str, value: str) -> Callable[[Ask, World], None]:
    """With a buffer above the answer's size, an error is one although rows came first."""

    def check(ask: Ask, world: World) -> None:
        assert code(ask(LATE_ERROR, **{name: value})) == "395"
        assert code(ask(LATE_ERROR, **{name: "x"})) == "36"
        with pytest.raises(httpx.RemoteProtocolError):
            ask(LATE_ERROR)

    return check


def enable_http_compression(ask: Ask, world: World) -> None:
    assert "Content-Encoding" in ask(MANY, accept="gzip").headers
    assert "Content-Encoding" not in ask(MANY, accept="gzip", enable_http_compression="0").headers


def http_zlib_compression_level(ask: Ask, world: World) -> None:
    sizes = [
        int(ask(MANY, accept="gzip", http_zlib_compression_level=level).headers["Content-Length"])
        for level in ("1", "9")
    ]
    assert sizes[0] != sizes[1]
    assert code(ask(MANY, http_zlib_compression_level="99")) == "36"


def network_compression_method(ask: Ask, world: World) -> None:
    for name, number in (("LZ4", 0x82), ("ZSTD", 0x90), ("NONE", 0x02), ("lz4hc", 0x82)):
        answer = ask(MANY, compress="1", network_compression_method=name)
        assert method(answer) == number
        assert plain(answer).startswith(b"0\n1\n")
    assert code(ask("SELECT 1", network_compression_method="Snappy")) == "89"


def network_zstd_compression_level(ask: Ask, world: World) -> None:
    options = {"compress": "1", "network_compression_method": "ZSTD"}
    sizes = [
        len(ask(MANY, network_zstd_compression_level=level, **options).content)
        for level in ("1", "15")
    ]
    assert sizes[0] > sizes[1]


def progress(ask: Ask, world: World) -> None:
    options = {"send_progress_in_http_headers": "1", "http_headers_progress_interval_ms": "10"}
    assert '"read_rows"' in ask("SELECT 1", **options).headers["X-ClickHouse-Progress"]
    assert "X-ClickHouse-Progress" not in ask("SELECT 1").headers
    assert code(ask("SELECT 1", http_headers_progress_interval_ms="x")) == "36"


def always_cancelled(ask: Ask, world: World) -> None:
    """`test_own_server` sees a query end whose client goes, without this."""
    assert ask("SELECT 1", cancel_http_readonly_queries_on_client_close="1").text == "1\n"


def cors(ask: Ask, world: World) -> None:
    origin = {"Origin": "http://somewhere"}
    for options in ({}, {"add_http_cors_header": "1"}):
        answer = httpx.get(world.server.url, params=options, headers=origin)
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
    preflight = {**origin, "Access-Control-Request-Method": "POST"}
    preflight["Access-Control-Request-Headers"] = "authorization"
    answer = httpx.options(world.server.url, headers=preflight)
    assert answer.is_success
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"].lower()
    alone = httpx.options(world.server.url)
    assert (alone.status_code, alone.content) == (204, b"")
    assert "POST" in alone.headers["Allow"]


def stored_when_answered(ask: Ask, world: World) -> None:
    ask("CREATE TABLE purser.later (a UInt8) ENGINE = Memory").raise_for_status()
    options = {"async_insert": "1", "wait_for_async_insert": "0"}
    ask("INSERT INTO purser.later VALUES (1)", **options).raise_for_status()
    assert ask("SELECT count() FROM purser.later").text == "1\n"
    ask("DROP TABLE purser.later").raise_for_status()


CASES: dict[str, Callable[[Ask, World], None]] = {
    "query": query,
    "query_id": query_id,
    "database": database,
    "default_format": default_format,
    "user": user_and_password,
    "password": user_and_password,
    "quota_key": quota_key,
    "role": role,
    "session_id": session,
    "session_timeout": session,
    "session_check": session,
    "close_session": session,
    "compress": compress,
    "decompress": decompress,
    "client_protocol_version": client_protocol_version,
    "buffer_size": buffered("buffer_size", "10000000"),
    "wait_end_of_query": buffered("wait_end_of_query", "1"),
    "stacktrace": refused("stacktrace"),
    "enable_http_compression": enable_http_compression,
    "http_zlib_compression_level": http_zlib_compression_level,
    "network_compression_method": network_compression_method,
    "network_zstd_compression_level": network_zstd_compression_level,
    "http_native_compression_disable_checksumming_on_decompress": verified,
    "http_response_buffer_size": buffered("http_response_buffer_size", "10000000"),
    "http_wait_end_of_query": buffered("http_wait_end_of_query", "1"),
    "send_progress_in_http_headers": progress,
    "http_headers_progress_interval_ms": progress,
    "cancel_http_readonly_queries_on_client_close": always_cancelled,
    "add_http_cors_header": cors,
    "async_insert": stored_when_answered,
    "wait_for_async_insert": stored_when_answered,
    "http_write_exception_in_output_format": refused("http_write_exception_in_output_format"),
    "replace_running_query": refused("replace_running_query"),
}


def test_every_name_has_a_case() -> None:
    assert set(CASES) == RESERVED.keys() | HTTP_SETTINGS.keys()


@pytest.mark.parametrize("check", dict.fromkeys(CASES.values()), ids=lambda check: check.__name__)
def test_parameter(asked: Ask, world: World, check: Callable[[Ask, World], None]) -> None:
    check(asked, world)


@pytest.mark.parametrize(
    "space", ["\u00a0", "\u0085", "\u180e", "\u2003", "\u200b", "\u2028", "\u3000", "\ufeff"]
)
def test_spaces_of_unicode_are_spaces(asked: Ask, space: str) -> None:
    for statement in (
        f"{space}SELECT 1",
        f"SELECT{space}1{space}",
        f"SELECT 1;{space}",
        f"SELECT 1{space}FORMAT{space}TSV",
    ):
        assert asked(statement.encode()).text == "1\n", statement


@pytest.mark.parametrize("text", ["82FF", "FF", "C3", "EDA080"])
def test_error_that_quotes_bytes_keeps_its_code_and_text(asked: Ask, text: str) -> None:
    answer = asked(f"SELECT CAST(unhex('{text}'), 'Int32')")
    assert (answer.status_code, code(answer)) == (400, "6")
    assert b"Cannot parse string '" + bytes.fromhex(text) + b"' as Int32" in answer.content


def test_insert_whose_rows_are_bytes_tells_what_is_wrong(asked: Ask) -> None:
    asked("CREATE TABLE purser.numbers (a Int32) ENGINE = Memory").raise_for_status()
    answer = asked(b"\x82\xff\n", query="INSERT INTO purser.numbers FORMAT TSV")
    asked("DROP TABLE purser.numbers").raise_for_status()
    assert code(answer) == "27"
    assert answer.content.startswith(b"Code: 27. DB::Exception: ")


@pytest.mark.parametrize("where", ["params", "data"])
def test_form_in_blocks_is_refused(world: World, where: str) -> None:
    options = {"decompress": "1"}
    with world.admin() as http:
        answer = http.post(
            "/",
            params={"query": "SELECT 1"} | (options if where == "params" else {}),
            data=options if where == "data" else {},
            files={"max_threads": (None, b"1")},
        )
    assert code(answer) == "48"
    assert "decompress" in answer.text


def test_rows_in_the_statement_of_a_form_are_stored(world: World) -> None:
    with world.admin() as http:
        http.post("/", content="CREATE TABLE purser.form (a UInt8) ENGINE = Memory")
        for rows in (b"VALUES (1)", b"FORMAT TSV\n2"):
            answer = http.post("/", files={"query": (None, b"INSERT INTO purser.form " + rows)})
            assert (answer.status_code, answer.text) == (200, "")
        assert http.post("/", content="SELECT sum(a) FROM purser.form").text == "3\n"
        http.post("/", content="DROP TABLE purser.form").raise_for_status()


def test_form_of_a_get_writes_nothing(world: World) -> None:
    with world.admin() as http:
        for readonly in ("", "0"):
            data = {"readonly": readonly} if readonly else {}
            create = {"query": "CREATE TABLE purser.by_get (a UInt8) ENGINE = Memory"}
            answer = http.request(
                "GET", "/", params=create, data=data, files={"max_threads": (None, b"1")}
            )
            assert code(answer) == "164"
        assert http.post("/", content="EXISTS purser.by_get").text == "0\n"


def test_body_may_be_in_blocks_within_an_encoding(world: World) -> None:
    with world.admin() as admin:
        answer = admin.post(
            "/",
            params={"decompress": "1"},
            headers={"Content-Encoding": "gzip"},
            content=gzip.compress(BlockEncoder().compress(b"SELECT 1")),
        )
    assert answer.text == "1\n"
