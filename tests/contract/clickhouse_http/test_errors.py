"""Errors: the engine's code and text, the status ClickHouse chooses, and who may ask."""

import httpx
import pytest

from .conftest import Target

CASES = [
    ("SELECT * FROM no_such_table", 60, 404),
    ("SELECT * FROM no_such_database.t", 81, 404),
    ("SELECT no_such_column FROM system.one", 47, 404),
    ("SELECT no_such_function(1)", 46, 404),
    ("SELEC 1", 62, 400),
    ("SELECT 1 FROM", 62, 400),
    ("SELECT 'unterminated", 62, 400),
    ("SELECT 1 FORMAT NoSuchFormat", 73, 404),
    ("SELECT 1 SETTINGS no_such_setting = 1", 115, 404),
    ("SELECT toDate('x')", 38, 400),
    ("SELECT toUInt8('x')", 6, 400),
    ("SELECT throwIf(1)", 395, 500),
    ("SELECT intDiv(1, 0)", 153, 500),
    ("SELECT sleep(1) SETTINGS max_execution_time = 0.1", 159, 408),
    ("SELECT count() FROM numbers(1e9) SETTINGS max_rows_to_read = 10", 158, 500),
    ("CREATE TABLE x (a NoSuchType) ENGINE = Memory", 50, 404),
    ("CREATE TABLE x (a Int8) ENGINE = NoSuchEngine", 56, 404),
    ("DROP TABLE no_such_table", 60, 404),
    ("USE no_such_database", 81, 404),
]


@pytest.mark.parametrize(("statement", "code", "status"), CASES)
def test_error_has_code_text_and_status(
    http: httpx.Client, statement: str, code: int, status: int
) -> None:
    response = http.post("/", content=statement)
    assert response.headers["X-ClickHouse-Exception-Code"] == str(code), response.text
    assert response.text.startswith(f"Code: {code}. DB::Exception: ")
    assert "(version " in response.text
    assert response.status_code == status
    assert "OUTFILE '/dev" not in response.text


def test_server_goes_on_after_errors(http: httpx.Client) -> None:
    for statement, _, _ in CASES:
        http.post("/", content=statement)
    assert http.post("/", content="SELECT 1").text == "1\n"


def test_unknown_path_is_not_found(target: Target) -> None:
    response = httpx.get(target.url + "/no/such/path")
    assert response.status_code == 404


@pytest.mark.parametrize("way", ["basic", "headers", "query"])
def test_every_way_to_say_who_one_is(target: Target, way: str) -> None:
    for password, accepted in ((target.password, True), ("wrong", False), ("", False)):
        auth = (target.user, password) if way == "basic" else None
        headers = {"X-ClickHouse-User": target.user, "X-ClickHouse-Key": password}
        response = httpx.post(
            target.url,
            auth=auth,
            headers=headers if way == "headers" else {},
            params={"user": target.user, "password": password} if way == "query" else {},
            content="SELECT 1",
        )
        if accepted:
            assert (response.status_code, response.text) == (200, "1\n")
        else:
            assert response.status_code in (401, 403)
            assert response.headers["X-ClickHouse-Exception-Code"] in ("516", "194")
            assert target.password not in response.text


def test_unknown_user_looks_like_a_wrong_password(target: Target) -> None:
    texts = []
    for user in (target.user, "nobody"):
        response = httpx.post(target.url, auth=(user, "wrong"), content="SELECT 1")
        assert response.status_code == 403
        assert response.headers["X-ClickHouse-Exception-Code"] == "516"
        texts.append(response.text.replace(user, "?"))
    assert texts[0] == texts[1]


def test_two_ways_at_once_are_refused(target: Target) -> None:
    response = httpx.post(
        target.url,
        auth=(target.user, target.password),
        params={"user": target.user, "password": target.password},
        content="SELECT 1",
    )
    assert response.headers["X-ClickHouse-Exception-Code"] == "516"


def test_refused_insert_changes_nothing(target: Target, http: httpx.Client, table: str) -> None:
    response = httpx.post(
        target.url,
        auth=(target.user, "wrong"),
        params={"query": f"INSERT INTO {target.database}.{table} FORMAT CSV"},
        content=b"1,x\n" * 500_000,
    )
    assert response.status_code == 403
    assert http.post("/", content=f"SELECT count() FROM {table}").text == "0\n"
