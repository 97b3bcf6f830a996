"""What only our server promises: crashes, limits, memory, a graceful end, silence."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from stack.clickhouse_http.testing import ClickHouseServer
from tests.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[3]
MIB = 1 << 20
CREDENTIALS = {"PURSER_CLICKHOUSE_USER": "purser", "PURSER_CLICKHOUSE_PASSWORD": "secret"}


@pytest.fixture
def make_server(tmp_path: Path) -> Iterator[Callable[..., ClickHouseServer]]:
    """Starts servers on one folder of the test's own, and stops them after it."""
    servers: list[ClickHouseServer] = []

    def make(**options: object) -> ClickHouseServer:
        server = ClickHouseServer(tmp_path / "data", **options)  # type: ignore[arg-type]
        servers.append(server)
        server.start()
        return server

    yield make
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseServer]:
    """One server for the tests that neither kill nor limit it; each has tables of its own."""
    with ClickHouseServer(tmp_path_factory.mktemp("shared") / "data") as server:
        yield server


def connect(server: ClickHouseServer) -> httpx.Client:
    """An HTTP client of the writing user."""
    return httpx.Client(
        base_url=server.url,
        auth=(server.user, server.password),
        params={"database": server.database},
        timeout=60.0,
        verify=False,  # nothing is encrypted, and loading certificates takes long
    )


def create_table(http: httpx.Client, name: str = "t") -> None:
    statement = f"CREATE TABLE {name} (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
    http.post("/", content=statement).raise_for_status()


def ask(http: httpx.Client, statement: str, **options: str) -> str:
    return http.post("/", params=options, content=statement).raise_for_status().text


def anonymous_bytes(server: ClickHouseServer) -> int:
    """Memory of the process that is no mapped file: those the system can take back at any time."""
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no RssAnon")


@contextmanager
def watched_memory(server: ClickHouseServer) -> Iterator[list[int]]:
    """Samples of `anonymous_bytes` taken while the body runs."""
    samples = [anonymous_bytes(server)]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.05):
            samples.append(anonymous_bytes(server))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield samples
    finally:
        ended.set()
        watcher.join()


def _wait_for_more(acknowledged: set[int]) -> None:
    enough = len(acknowledged) + 8
    wait_until(lambda: len(acknowledged) >= enough, "more acknowledged blocks")


def test_killed_server_keeps_what_it_acknowledged_and_no_part_of_a_block(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server()
    with connect(server) as http:
        create_table(http)
    acknowledged: set[int] = set()
    block = 0
    for _ in range(3):
        stop = threading.Event()
        first = block

        def insert_blocks(number: int, stop: threading.Event = stop) -> int:
            with connect(server) as http:
                while not stop.is_set():
                    rows = b"".join(b"%d,x\n" % number for _ in range(2000))
                    query = "INSERT INTO t FORMAT CSV"
                    try:
                        http.post("/", params={"query": query}, content=rows).raise_for_status()
                    except httpx.TransportError:
                        break
                    acknowledged.add(number)
                    number += 4
            return number

        with ThreadPoolExecutor(4) as threads:
            running = [threads.submit(insert_blocks, first + offset) for offset in range(4)]
            _wait_for_more(acknowledged)
            server.kill()
            stop.set()
            block = max(one.result() for one in running) + 4
        server.start()
        with connect(server) as http:
            answer = ask(http, "SELECT a, count() FROM t GROUP BY a FORMAT JSONCompactEachRow")
        found = {int(a): int(rows) for a, rows in map(json.loads, answer.splitlines())}
        assert set(found.values()) == {2000}, "a block is there in part, or twice"
        assert acknowledged <= set(found)


def test_body_on_its_way_when_the_server_is_killed_leaves_nothing(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server()
    with connect(server) as http:
        create_table(http)

        def body() -> Iterator[bytes]:
            for _ in range(20):
                yield b"1,x\n" * 250_000
            server.kill()
            yield b"1,x\n"

        with pytest.raises(httpx.TransportError):
            http.post("/", params={"query": "INSERT INTO t FORMAT CSV"}, content=body())
    assert list((server.folder / "spool").iterdir()) == []
    server.start()
    with connect(server) as http:
        assert ask(http, "SELECT count() FROM t") == "0\n"


def test_spool_is_emptied_at_start(make_server: Callable[..., ClickHouseServer]) -> None:
    server = make_server()
    server.stop()
    left = server.folder / "spool" / "left"
    left.write_bytes(b"x")
    server.start()
    assert not left.exists()


def test_nearly_full_disk_refuses_to_write_but_reads_and_drops(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server()
    with connect(server) as http:
        create_table(http)
        ask(http, "INSERT INTO t VALUES (1, 'x')")
    server.stop()
    server.environment["PURSER_CLICKHOUSE_MIN_FREE_DISK_BYTES"] = str(1 << 50)
    server.start()
    with connect(server) as http:
        for statement in (
            "INSERT INTO t VALUES (2, 'y')",
            "INSERT INTO t SELECT 2, 'y'",
            "CREATE TABLE u (a UInt8) ENGINE = Memory",
            "ALTER TABLE t UPDATE b = 'z' WHERE 1",
        ):
            response = http.post("/", content=statement)
            assert response.headers["X-ClickHouse-Exception-Code"] == "243", statement
            assert "Free some space" in response.text
        assert ask(http, "SELECT a, b FROM t") == "1\tx\n"
        ask(http, "DROP TABLE t")


def test_limit_on_the_size_of_files_is_refused_at_start(tmp_path: Path) -> None:
    command = (
        f'ulimit -f 8192; exec "{sys.executable}" -m stack.clickhouse_http --path "{tmp_path}"'
    )
    ended = subprocess.run(
        ["bash", "-c", command],
        cwd=CHECKOUT,
        env={**os.environ, **CREDENTIALS},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2
    assert "ulimit -f unlimited" in ended.stderr


def test_large_bodies_and_answers_take_little_memory(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server()
    row = b'{"a":1,"b":"x"}' + b" " * 4000 + b"\n"
    with connect(server) as http:
        create_table(http)
        ask(http, "INSERT INTO t VALUES (1, 'x')")

        def body() -> Iterator[bytes]:
            for _ in range(500):
                yield row * (MIB // len(row))

        # The engine's own buffers for parsing in parallel are not what is measured here.
        options = {
            "query": "INSERT INTO t FORMAT JSONEachRow",
            "input_format_parallel_parsing": "0",
        }
        with watched_memory(server) as samples:
            http.post("/", params=options, content=body()).raise_for_status()
            for wait in ("0", "1"):
                statement = "SELECT repeat('x', 10000) FROM numbers(50000)"
                options = {"wait_end_of_query": wait, "max_block_size": "1000"}
                with http.stream("POST", "/", params=options, content=statement) as response:
                    size = sum(len(chunk) for chunk in response.iter_bytes())
                assert size == 50000 * 10001
    assert max(samples) - samples[0] < 300 * MIB


def test_statement_is_stopped_when_its_client_goes(shared: ClickHouseServer) -> None:
    mine = "SELECT count() FROM system.processes WHERE query_id = 'gone'"
    with connect(shared) as http:
        statement = "SELECT sleepEachRow(0.1) FROM numbers(6000) SETTINGS max_block_size = 1"

        def leave() -> None:
            with connect(shared) as leaving, pytest.raises(httpx.ReadTimeout):
                leaving.post("/", params={"query_id": "gone"}, content=statement, timeout=3.0)

        with ThreadPoolExecutor(1) as threads:
            left = threads.submit(leave)
            wait_until(lambda: ask(http, mine) == "1\n", "it runs", seconds=2, poll_seconds=0.01)
            left.result()
        wait_until(lambda: ask(http, mine) == "0\n", "the query is cancelled", seconds=10)


def test_too_many_queries_wait_and_then_are_refused(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server(
        environment={
            "PURSER_CLICKHOUSE_MAX_CONCURRENT_QUERIES": "1",
            "PURSER_CLICKHOUSE_QUEUE_WAIT_SECONDS": "1.0",
        }
    )

    begun = threading.Event()

    def occupy(http: httpx.Client) -> str:
        begun.set()
        return ask(http, "SELECT sleep(3)")

    with ThreadPoolExecutor(1) as threads, connect(server) as occupant, connect(server) as http:
        running = threads.submit(occupy, occupant)
        begun.wait()
        time.sleep(0.5)  # the only slot is taken, so the server cannot be asked
        response = http.post("/", content="SELECT 1")
        assert response.headers["X-ClickHouse-Exception-Code"] == "202"
        assert httpx.get(server.url + "/ping").status_code == 200
        assert running.result() == "0\n"
        assert ask(http, "SELECT 1") == "1\n"


def test_sigterm_lets_the_running_query_end(make_server: Callable[..., ClickHouseServer]) -> None:
    server = make_server()
    slow = "INSERT INTO t SELECT sleepEachRow(0.2) + number, 'x' FROM numbers(12)"
    inserts = "SELECT count() FROM system.processes WHERE query LIKE 'INSERT%'"
    with ThreadPoolExecutor(1) as threads, connect(server) as writer, connect(server) as http:
        create_table(http)
        running = threads.submit(ask, writer, slow)
        wait_until(lambda: ask(http, inserts) == "1\n", "the insert runs", poll_seconds=0.01)
        assert server.stop() == 0
        assert running.result() == ""
    server.start()
    with connect(server) as http:
        assert ask(http, "SELECT count() FROM t") == "12\n"


def test_sigterm_stops_what_takes_too_long(
    make_server: Callable[..., ClickHouseServer],
) -> None:
    server = make_server(environment={"PURSER_CLICKHOUSE_STOP_SECONDS": "1"})
    with connect(server) as http:
        create_table(http)
        slow_insert = "INSERT INTO t SELECT sleepEachRow(1) + number, 'x' FROM numbers(100)"
        endless = "SELECT number FROM system.numbers"

        def insert() -> None:
            with connect(server) as writer, suppress(httpx.HTTPError):
                writer.post("/", content=slow_insert + " SETTINGS max_block_size = 1")

        with ThreadPoolExecutor(1) as threads:
            threads.submit(insert)
            with http.stream("POST", "/", content=endless) as response:
                next(response.iter_raw())  # and no more: the pipe to this client fills up
                began = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() - began < 15


def test_client_that_stalls_is_given_up(make_server: Callable[..., ClickHouseServer]) -> None:
    server = make_server(environment={"PURSER_CLICKHOUSE_TRANSFER_SECONDS": "0.5"})
    with connect(server) as http:
        create_table(http)

        def body() -> Iterator[bytes]:
            yield b"1,x\n"
            time.sleep(3)
            yield b"2,x\n"

        query = "INSERT INTO t FORMAT CSV"
        with suppress(httpx.TransportError):  # it may not get to read the answer
            response = http.post("/", params={"query": query}, content=body())
            assert response.headers["X-ClickHouse-Exception-Code"] == "209"
        assert ask(http, "SELECT count() FROM t") == "0\n"


def test_parts_are_merged_in_the_background(shared: ClickHouseServer) -> None:
    with connect(shared) as http:
        create = (
            "CREATE TABLE r (a UInt64, version UInt64) ENGINE = ReplacingMergeTree(version)"
            " ORDER BY a"
        )
        ask(http, create)
        for version in range(30):
            ask(http, f"INSERT INTO r VALUES (1, {version})")
        parts = "SELECT count() FROM system.parts WHERE table = 'r' AND active"
        wait_until(lambda: int(ask(http, parts)) < 15, "parts are merged")
        assert ask(http, "SELECT version FROM r FINAL") == "29\n"
        ask(http, "OPTIMIZE TABLE r FINAL")
        assert ask(http, "SELECT version FROM r") == "29\n"


def test_exchange_tables_is_one_step(shared: ClickHouseServer) -> None:
    with connect(shared) as http:
        for name, value in (("old", 1), ("new", 2)):
            create_table(http, name)
            ask(http, f"INSERT INTO {name} VALUES ({value}, 'x')")
        ask(http, "EXCHANGE TABLES old AND new")
        assert ask(http, "SELECT a FROM old") == "2\n"


def test_ordinary_work_logs_nothing(make_server: Callable[..., ClickHouseServer]) -> None:
    server = make_server()
    with connect(server) as http:
        create_table(http)
        ask(http, "INSERT INTO t VALUES (1, 'x')")
        assert ask(http, "SELECT a FROM t") == "1\n"
        http.post("/", content="SELECT * FROM no_such_table")
        http.post("/", auth=("nobody", "wrong"), content="SELECT 1")
    server.stop()
    assert server.log_path.read_text() == ""


def test_play_page_is_served(shared: ClickHouseServer) -> None:
    response = httpx.get(shared.url + "/play")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    assert "<textarea" in response.text


def start_badly(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Exit status and standard error of a server that must not start."""
    command = [sys.executable, "-m", "stack.clickhouse_http", *arguments]
    plain = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PURSER_CLICKHOUSE_")
    }
    ended = subprocess.run(
        command,
        cwd=CHECKOUT,
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.returncode, ended.stderr


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"PURSER_CLICKHOUSE_USER": ""}, "PURSER_CLICKHOUSE_USER"),
        ({"PURSER_CLICKHOUSE_PASSWORD": ""}, "PURSER_CLICKHOUSE_PASSWORD"),
        ({"PURSER_CLICKHOUSE_DATABASE": "a b"}, "PURSER_CLICKHOUSE_DATABASE"),
        (
            {"PURSER_CLICKHOUSE_MAX_CONCURRENT_QUERIES": "0"},
            "PURSER_CLICKHOUSE_MAX_CONCURRENT_QUERIES",
        ),
    ],
)
def test_bad_setting_is_named(tmp_path: Path, changes: dict[str, str], named: str) -> None:
    status, text = start_badly(["--path", str(tmp_path / "x")], {**CREDENTIALS, **changes})
    assert status == 2
    assert text.startswith(f"purser: {named}")
    assert text.count("\n") == 1
    assert "secret" not in text


def test_missing_password_is_named(tmp_path: Path) -> None:
    status, text = start_badly(["--path", str(tmp_path / "x")], {"PURSER_CLICKHOUSE_USER": "x"})
    assert (status, text.split(": ")[1]) == (2, "PURSER_CLICKHOUSE_PASSWORD")


def test_taken_port_and_taken_folder_are_named(shared: ClickHouseServer, tmp_path: Path) -> None:
    status, text = start_badly(
        ["--path", str(tmp_path / "other"), "--port", str(shared.port)], CREDENTIALS
    )
    assert (status, text.split(": ")[1]) == (2, f"--port {shared.port}")
    status, text = start_badly(["--path", str(shared.folder), "--port", "1"], CREDENTIALS)
    assert status == 2
    status, text = start_badly(["--path", str(shared.folder), "--port", "65535"], CREDENTIALS)
    assert status == 2
    assert "another server is using it" in text


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    status, text = start_badly(["--path", str(tmp_path / "file"), "--port", "65534"], CREDENTIALS)
    assert status == 2
    assert str(tmp_path / "file") in text


def test_merged_parts_are_deleted_before_they_are_many(shared: ClickHouseServer) -> None:
    """Hundreds at once, as after the engine's own half minute, hold inserts up."""
    with connect(shared) as http:
        create_table(http, "merged")
        for number in range(5):
            ask(http, f"INSERT INTO merged VALUES ({number}, 'x')")
        ask(http, "OPTIMIZE TABLE merged FINAL")
        inactive = "SELECT count() FROM system.parts WHERE table = 'merged' AND NOT active"
        wait_until(
            lambda: ask(http, inactive).strip() == "0",
            "the parts that were merged are gone",
            seconds=15.0,
        )
