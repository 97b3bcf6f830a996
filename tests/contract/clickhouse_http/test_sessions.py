"""HTTP sessions: what they keep, what they do not, one query at a time."""

import threading
import uuid
from collections.abc import Callable

import httpx
import pytest

from tests.waiting import wait_until

from .conftest import Target

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(http: httpx.Client) -> Ask:
    """Runs a statement in one session."""
    session = uuid.uuid4().hex

    def ask_in_session(statement: str, **options: str) -> httpx.Response:
        return http.post("/", params={"session_id": session, **options}, content=statement)

    return ask_in_session


def test_session_keeps_set_statements(ask: Ask) -> None:
    ask("SET max_block_size = 777").raise_for_status()
    assert ask("SELECT getSetting('max_block_size')").text == "777\n"


def test_setting_of_a_request_does_not_stay_in_the_session(ask: Ask) -> None:
    ask("SET max_block_size = 777").raise_for_status()
    assert ask("SELECT getSetting('max_block_size')", max_block_size="55").text == "55\n"
    assert ask("SELECT getSetting('max_block_size')").text == "777\n"
    assert ask("SELECT getSetting('max_block_size')", max_threads="1").text == "777\n"
    ask("SET max_block_size = 888", max_threads="1").raise_for_status()
    assert ask("SELECT getSetting('max_block_size')", max_threads="1").text == "888\n"


def test_session_keeps_its_database(ask: Ask) -> None:
    ask("USE system").raise_for_status()
    assert ask("SELECT currentDatabase()", database="").text == "system\n"


def test_database_of_a_request_does_not_stay_in_the_session(http: httpx.Client) -> None:
    options = {"session_id": uuid.uuid4().hex}
    statement = "SELECT currentDatabase()"
    with httpx.Client(base_url=http.base_url, auth=http.auth) as plain:
        first = plain.post("/", params={**options, "database": "system"}, content=statement)
        second = plain.post("/", params=options, content=statement)
    assert (first.text, second.text) == ("system\n", "default\n")


def test_session_keeps_temporary_tables_and_others_do_not_see_them(
    http: httpx.Client, ask: Ask
) -> None:
    ask("CREATE TEMPORARY TABLE kept (a UInt8)").raise_for_status()
    ask("INSERT INTO kept VALUES (1), (2)").raise_for_status()
    assert ask("SELECT sum(a) FROM kept").text == "3\n"
    for options in ({}, {"session_id": uuid.uuid4().hex}):
        response = http.post("/", params=options, content="SELECT sum(a) FROM kept")
        assert response.headers["X-ClickHouse-Exception-Code"] == "60"


def test_without_a_session_nothing_is_kept(http: httpx.Client) -> None:
    before = http.post("/", content="SELECT getSetting('max_block_size')").text
    http.post("/", content="SET max_block_size = 777").raise_for_status()
    for _ in range(5):
        assert http.post("/", content="SELECT getSetting('max_block_size')").text == before


def test_read_only_request_in_a_session_does_not_lock_it(ask: Ask) -> None:
    assert ask("SELECT 1", readonly="1").text == "1\n"
    refused = ask("CREATE TEMPORARY TABLE x (a UInt8)", readonly="1")
    assert refused.headers["X-ClickHouse-Exception-Code"] == "164"
    assert ask("CREATE TEMPORARY TABLE x (a UInt8)").status_code == 200


def test_session_serves_one_query_at_a_time(target: Target, ask: Ask) -> None:
    session = uuid.uuid4().hex
    query_id = uuid.uuid4().hex

    def occupy() -> None:
        options = {"session_id": session, "query_id": query_id}
        with target.http() as http:
            http.post("/", params=options, content="SELECT sleep(3)")

    thread = threading.Thread(target=occupy)
    with target.http() as http:
        running = f"SELECT count() FROM system.processes WHERE query_id = '{query_id}'"
        thread.start()
        wait_until(
            lambda: http.post("/", content=running).text == "1\n", "it runs", poll_seconds=0.01
        )
        response = http.post("/", params={"session_id": session}, content="SELECT 1")
        thread.join()
        assert response.headers["X-ClickHouse-Exception-Code"] == "373"
        after = http.post("/", params={"session_id": session}, content="SELECT 1")
        assert after.text == "1\n"


def test_session_must_exist_when_it_is_checked(http: httpx.Client) -> None:
    session = uuid.uuid4().hex
    options = {"session_id": session, "session_check": "1"}
    refused = http.post("/", params=options, content="SELECT 1")
    assert refused.headers["X-ClickHouse-Exception-Code"] == "372"
    http.post("/", params={"session_id": session}, content="SELECT 1").raise_for_status()
    assert http.post("/", params=options, content="SELECT 1").text == "1\n"


def test_idle_session_ends(http: httpx.Client) -> None:
    options = {"session_id": uuid.uuid4().hex, "session_timeout": "1"}
    statement = "CREATE TEMPORARY TABLE kept (a UInt8)"
    http.post("/", params=options, content=statement).raise_for_status()

    def has_ended() -> bool:
        response = http.post("/", params=options, content="EXISTS TEMPORARY TABLE kept")
        return response.text == "0\n"

    # Each look is a use of the session, so it waits for longer than the timeout.
    wait_until(has_ended, "the session ends", seconds=30, poll_seconds=2.5)


@pytest.mark.parametrize("timeout", ["x", "-1", "100000"])
def test_bad_session_timeout_is_refused(ask: Ask, timeout: str) -> None:
    response = ask("SELECT 1", session_timeout=timeout)
    assert response.headers["X-ClickHouse-Exception-Code"] == "374"


def test_failed_statement_leaves_its_session_usable(ask: Ask) -> None:
    assert ask("SELECT * FROM no_such_table", max_threads="1").status_code == 404
    assert ask("SELECT 1", no_such_setting="1").status_code == 404
    assert ask("SELECT getSetting('max_threads') > 0").text in ("1\n", "true\n")
