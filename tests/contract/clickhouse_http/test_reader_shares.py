"""The reader shares a server with the worker: what it does must not reach the worker's queries."""

import base64
import socket
import threading
import time

import httpx
import pytest

from stack.clickhouse_http.testing import READER
from tests.contract.clickhouse_http.reader_world import World, ask

SLOW = "SELECT sleepEachRow(0.2), '{mark}' FROM numbers({rows}) SETTINGS max_block_size = 1"


def _wait_until_running(world: World, mark: str) -> None:
    seen = f"SELECT count() FROM system.processes WHERE position(query, '{mark}' || '-') > 0"
    with world.admin() as admin:
        deadline = time.monotonic() + 30
        while ask(admin, seen) == "0\n":
            assert time.monotonic() < deadline, "the statement never ran"


@pytest.mark.parametrize("query_id", ["f", "f00d", "*/ f", "query_id: f", "purser"])
def test_a_reader_that_goes_away_kills_nobody_elses_query(world: World, query_id: str) -> None:
    answers: list[httpx.Response] = []

    def run() -> None:
        with world.admin() as admin:
            slow = SLOW.format(mark="admins-", rows=15)
            answers.append(admin.post("/", params={"query_id": "f00d" * 4}, content=slow))

    running = threading.Thread(target=run)
    running.start()
    _wait_until_running(world, "admins")
    with world.reader() as reader, pytest.raises(httpx.ReadTimeout):
        reader.post(
            "/",
            params={"query_id": query_id},
            content=SLOW.format(mark="readers-", rows=30),
            timeout=0.5,
        )
    running.join()
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].text.count("admins-") == 15


def test_what_the_reader_abandons_is_stopped(world: World) -> None:
    with world.reader() as reader, pytest.raises(httpx.ReadTimeout):
        reader.post("/", content=SLOW.format(mark="abandoned-", rows=200), timeout=0.5)
    with world.admin() as admin:
        count = "SELECT count() FROM system.processes WHERE position(query, 'abandoned' || '-') > 0"
        deadline = time.monotonic() + 20
        while ask(admin, count) != "0\n":
            assert time.monotonic() < deadline, "it still runs"


def test_readers_cannot_keep_the_worker_waiting(world: World) -> None:
    done = threading.Event()

    def read() -> None:
        with world.reader() as reader:
            while not done.is_set():
                reader.post("/", content=SLOW.format(mark="hog-", rows=8))

    hogs = [threading.Thread(target=read) for _ in range(12)]
    for hog in hogs:
        hog.start()
    try:
        with world.admin() as admin:
            _wait_until_running(world, "hog")
            running = "SELECT count() FROM system.processes WHERE position(query, 'hog' || '-') > 0"
            assert int(ask(admin, running)) <= 4
            ask(admin, "CREATE TABLE IF NOT EXISTS purser.worker (a Int8) ENGINE = Memory")
            for _ in range(40):
                ask(admin, "INSERT INTO purser.worker VALUES (1)")
            _wait_until_running(world, "hog")
            ask(admin, "DROP TABLE purser.worker")
    finally:
        done.set()
        for hog in hogs:
            hog.join()


def test_readers_take_no_session_from_the_worker(world: World) -> None:
    with world.reader() as reader, world.admin() as admin:
        ask(admin, "SET max_threads = 1", session_id="kept", session_timeout="600")
        for number in range(300):
            ask(reader, "SELECT 1", session_id=f"s{number}", session_timeout="3600")
        kept = "SELECT getSetting('max_threads')"
        assert ask(admin, kept, session_id="kept", session_check="1") == "1\n"


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("max_threads", ("0", "100", "auto", "-1", "1e9", "")),
        ("max_execution_time", ("0", "100000", "1e9", "nan", "inf")),
        ("max_memory_usage", ("0", "1000000000000", "1G")),
        ("max_temporary_data_on_disk_size_for_query", ("0", "1000000000000")),
        # Limits of a user bind the worker too: to the engine there is one user.
        ("max_memory_usage_for_user", ("1",)),
        ("max_concurrent_queries_for_user", ("1",)),
        ("max_concurrent_queries_for_all_users", ("1",)),
        ("max_network_bandwidth_for_all_users", ("1",)),
        ("max_temporary_data_on_disk_size_for_user", ("1",)),
        ("priority", ("1",)),
        ("use_query_cache", ("1",)),
    ],
)
def test_a_limit_can_only_be_lowered(
    reader: httpx.Client, name: str, values: tuple[str, ...]
) -> None:
    for value in values:
        assert _code(reader.post("/", params={name: value}, content="SELECT 1")) == "164"
        for statement in (f"SELECT 1 SETTINGS {name} = '{value}'", f"SET {name} = '{value}'"):
            assert _code(reader.post("/", content=statement)) == "164", statement
    for statement in (f"SELECT 1 SETTINGS {name} = DEFAULT", f"SELECT 1 SETTINGS {name}"):
        assert _code(reader.post("/", content=statement)) in {"164", "497"}, statement


def test_limits_apply_and_may_be_lowered(reader: httpx.Client) -> None:
    limits = "SELECT getSetting('max_threads'), getSetting('max_execution_time')"
    assert ask(reader, limits) == "4\t300\n"
    assert ask(reader, limits, max_threads="2") == "2\t300\n"
    assert ask(reader, f"{limits} SETTINGS max_execution_time = 1.5") == "4\t1.5\n"
    memory = "SELECT length(groupArray(number)) FROM numbers(100000000)"
    assert _code(reader.post("/", content=memory)) == "241"  # MEMORY_LIMIT_EXCEEDED


def test_rows_of_a_reader_are_refused_before_they_are_received(world: World) -> None:
    login = base64.b64encode(f"{READER}:{world.server.reader_password}".encode()).decode()
    head = (
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n"
        f"Authorization: Basic {login}\r\n\r\n"
    )
    statement = b"INSERT INTO other FORMAT TSV\n"
    with socket.create_connection(("127.0.0.1", world.server.port), timeout=30) as connection:
        connection.sendall(head.encode() + b"%x\r\n%b\r\n" % (len(statement), statement))
        for _ in range(20):  # more than the server reads after an error; the last chunk never comes
            connection.sendall(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
        answer = b""
        while b"Code: 497" not in answer:  # head and body may come apart
            received = connection.recv(4096)
            assert received, answer
            answer += received


def _code(response: httpx.Response) -> str:
    return str(response.headers.get("X-ClickHouse-Exception-Code", ""))
