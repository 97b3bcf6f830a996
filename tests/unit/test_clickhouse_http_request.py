"""How the items of a query string are sorted, and errors worded."""

import pytest

from stack.clickhouse_http.errors import ClickHouseError, Code, from_engine, refusal
from stack.clickhouse_http.marks import new_mark
from stack.clickhouse_http.request import read_request


def test_items_are_sorted_into_settings_parameters_and_the_rest() -> None:
    items = [
        ("query", "SELECT 1"),
        ("database", "d"),
        ("max_threads", "2"),
        ("param_x", "7"),
        ("session_id", "s"),
        ("async_insert", "1"),
        ("wait_end_of_query", "1"),
        ("query_id", "q"),
    ]
    asked = read_request(items, {}, get=False)
    assert asked.settings == {"max_threads": "2"}
    assert asked.parameters == {"x": "7"}
    assert (asked.query, asked.database, asked.query_id) == ("SELECT 1", "d", "q")
    assert asked.session is not None
    assert asked.session.session_id == "s"
    assert asked.answer.wait_end_of_query


@pytest.mark.parametrize(("given", "level"), [([], "2"), ([("readonly", "1")], "1")])
def test_get_is_read_only(given: list[tuple[str, str]], level: str) -> None:
    assert read_request(given, {}, get=True).settings["readonly"] == level
    assert read_request([("readonly", "0")], {}, get=True).settings["readonly"] == "2"


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("a b", "1", 115),
        ("a=1,b", "1", 115),
        ("", "1", 115),
        ("query_id", "a\r\nb", 36),
        ("query_id", "a\x00", 36),
        ("stacktrace", "1", 48),
        ("compress", "perhaps", 36),
        ("close_session", "1", 36),
        ("buffer_size", "-1", 36),
        ("buffer_size", "9" * 30, 36),
        ("client_protocol_version", "54405", 48),
        ("network_compression_method", "T64", 89),
        ("network_zstd_compression_level", "99", 36),
    ],
)
def test_what_is_no_setting_or_not_supported_is_refused(name: str, value: str, code: int) -> None:
    with pytest.raises(ClickHouseError) as raised:
        read_request([(name, value)], {}, get=False)
    assert raised.value.code == code


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (RuntimeError("Code: 60. DB::Exception: No t. (UNKNOWN_TABLE)"), 60, "Code: 60. "),
        (RuntimeError("Streaming insert failed: Code: 27. DB::Exception: x"), 27, "Code: 27. "),
        (RuntimeError("something else"), 1002, "Code: 1002. "),
        (ValueError(), 1002, "Code: 1002. "),
        (UnicodeDecodeError("utf-8", b"Code: 6. x \xff", 11, 12, "x"), 6, "Code: 6. x \udcff"),
        (
            RuntimeError(f"Code: 62. failed: SELECT {new_mark('u', 'q')}. Expected"),
            62,
            "Code: 62. failed: SELECT. Expected",
        ),
    ],
)
def test_engine_errors_keep_code_and_text(raised: Exception, code: int, text: str) -> None:
    error = from_engine(raised)
    assert error.code == code
    assert error.text.startswith(text)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (Code.SYNTAX_ERROR, 400),
        (Code.UNKNOWN_TABLE, 404),
        (Code.AUTHENTICATION_FAILED, 403),
        (Code.TIMEOUT_EXCEEDED, 408),
        (Code.QUERY_IS_TOO_LARGE, 413),
        (Code.NOT_IMPLEMENTED, 501),
        (Code.SOCKET_TIMEOUT, 503),
        (Code.NOT_ENOUGH_SPACE, 500),
    ],
)
def test_status_is_the_one_clickhouse_chooses(code: Code, status: int) -> None:
    error = refusal(code, "x")
    assert error.http_status == status
    assert error.text == f"Code: {int(code)}. DB::Exception: x ({code.name})"
