"""A query runs under its client's id: it is seen, stopped and refused by that, also by drivers."""

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from schemas.sql_words import clickhouse_literal
from stack.clickhouse_http.testing import READER
from tests.contract.clickhouse_http.reader_world import World, ask
from tests.waiting import wait_until

SLOW = "SELECT sleepEachRow(0.2) FROM numbers(600) SETTINGS max_block_size = 1"
INSERTS = (
    "INSERT INTO purser.stopped SELECT sleepEachRow(0.2) FROM numbers(600)"
    " SETTINGS max_block_size = 1; -- a comment",
    "INSERT INTO purser.stopped SETTINGS function_sleep_max_microseconds_per_block = 1000000000"
    " FORMAT TSV\n" + "1\n" * 600,
)


@contextmanager
def running(
    client: Callable[[], httpx.Client], query_id: str, statement: str = SLOW
) -> Iterator[list[httpx.Response]]:
    """A statement that runs within the block, and what it answered after it."""
    answers: list[httpx.Response] = []

    def run() -> None:
        with client() as http:
            answers.append(http.post("/", params={"query_id": query_id}, content=statement))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield answers
    except BaseException:  # its statement would be in the way of the next test
        with client() as http:
            http.post("/", content=f"KILL QUERY WHERE query_id = {clickhouse_literal(query_id)}")
        raise
    finally:
        thread.join()


def _wait_until_seen(world: World, query_id: str, user: str) -> None:
    seen = "SELECT user FROM system.processes WHERE query_id = {id:String}"
    with world.admin() as admin:
        wait_until(lambda: ask(admin, seen, param_id=query_id) == f"{user}\n", "the query is seen")


def _code(response: httpx.Response) -> str:
    return str(response.headers.get("X-ClickHouse-Exception-Code", ""))


@pytest.mark.parametrize("query_id", ["mine", "with 'quotes' \\ and */ 日本"])
def test_query_is_seen_and_stopped_by_its_id(world: World, query_id: str) -> None:
    with running(world.admin, query_id) as answers, world.admin() as admin:
        _wait_until_seen(world, query_id, "purser")
        kill = "KILL QUERY WHERE query_id = {id:String} AND query LIKE 'SELECT sleep%'"
        test = admin.post("/", params={"param_id": query_id}, content=f"{kill} TEST FORMAT JSON")
        [row] = test.json()["data"]
        assert (row["query_id"], row["user"]) == (query_id, "purser")
        assert row["query"].split() == f"{SLOW} FORMAT TabSeparated".split()
        assert not answers
        assert ask(admin, f"{kill} SYNC", param_id=query_id).startswith("finished\t")
    assert _code(answers[0]) == "394"


def test_second_query_under_a_running_id_is_refused(world: World) -> None:
    with running(world.admin, "twice") as answers, world.admin() as admin:
        _wait_until_seen(world, "twice", "purser")
        refused = admin.post("/", params={"query_id": "twice"}, content="SELECT 1")
        assert _code(refused) == "216"
        assert "twice" in refused.text
        with world.reader() as reader:  # nobody can keep another's id from being used
            assert ask(reader, "SELECT 1", query_id="twice") == "1\n"
        ask(admin, "KILL QUERY WHERE query_id = 'twice' SYNC")
    assert _code(answers[0]) == "394"
    with world.admin() as admin:
        for _ in range(50):
            assert ask(admin, "SELECT 1", query_id="twice") == "1\n"


@pytest.mark.parametrize("statement", INSERTS, ids=["select", "rows"])
def test_insert_is_stopped_by_its_id(world: World, statement: str) -> None:
    with world.admin() as admin:
        columns = "a UInt8, b UInt8 DEFAULT sleepEachRow(0.2)"
        ask(admin, f"CREATE TABLE purser.stopped ({columns}) ENGINE = Null")
        statement = statement.replace("purser.stopped", "purser.stopped (a)")
        with running(world.admin, "insert", statement) as answers:
            _wait_until_seen(world, "insert", "purser")
            ask(admin, "KILL QUERY WHERE query_id = 'insert'")
        ask(admin, "DROP TABLE purser.stopped")
    assert _code(answers[0]) == "394"


def test_reader_stops_its_own_queries_only(world: World) -> None:
    with (
        running(world.admin, "admins") as admins,
        running(world.reader, "readers") as readers,
        world.reader() as reader,
        world.admin() as admin,
    ):
        _wait_until_seen(world, "admins", "purser")
        _wait_until_seen(world, "readers", READER)
        assert ask(reader, "KILL QUERY WHERE query_id = 'admins'") == ""
        for name in ("admin''s", "admin\\'s", "x' OR '' = '"):
            response = reader.post("/", content=f"KILL QUERY WHERE query_id = '{name}'")
            assert _code(response) == "497", response.text
        options = {"session_id": "s", "default_format": "Template"}
        refused = reader.post("/", params=options, content="KILL QUERY WHERE query_id = 'x'")
        assert _code(refused) == "497"
        refused = reader.post("/", params={"filter": "1"}, content="KILL QUERY WHERE query_id='x'")
        assert _code(refused) == "164"
        ask(admin, "KILL QUERY WHERE query_id = {id:String}", param_id="readers")
        assert not admins
        ask(admin, "KILL QUERY WHERE user = 'purser' AND query LIKE '%sleepEachRow%'")
    assert [_code(one[0]) for one in (admins, readers)] == ["394", "394"]


def test_reader_stops_a_query_of_its_own_while_all_its_slots_are_taken(world: World) -> None:
    with (
        running(world.reader, "r1") as first,
        running(world.reader, "r2") as second,
        running(world.reader, "r3") as third,
        running(world.reader, "r4") as fourth,
        world.reader() as reader,
    ):
        for query_id in ("r1", "r2", "r3", "r4"):
            _wait_until_seen(world, query_id, READER)
        for query_id in ("r1", "r2", "r3", "r4"):
            stopped = ask(reader, f"KILL QUERY WHERE query_id = '{query_id}'")
            assert stopped.startswith(f"waiting\t{query_id}\t{READER}\tSELECT sleepEachRow")
    assert [_code(one[0]) for one in (first, second, third, fourth)] == ["394"] * 4


def test_read_only_request_stops_own_queries_only(world: World) -> None:
    with world.admin() as admin:
        refused = admin.get("/", params={"query": "KILL QUERY WHERE 1"})
        assert _code(refused) == "497"
        assert admin.get("/", params={"query": "KILL QUERY WHERE query_id = 'x'"}).text == ""


def test_statements_of_the_server_itself_are_not_seen(world: World) -> None:
    done = threading.Event()

    def ask_with_ever_other_settings() -> None:
        with world.reader() as reader:
            for threads in itertools.cycle("1234"):
                ask(reader, "SELECT 1", max_threads=threads)
                if done.is_set():
                    return

    others = [threading.Thread(target=ask_with_ever_other_settings) for _ in range(3)]
    for other in others:
        other.start()
    seen: set[str] = set()
    try:
        with world.admin() as admin:
            for _ in range(300):
                seen.update(ask(admin, "SELECT DISTINCT user FROM system.processes").split())
    finally:
        done.set()
        for other in others:
            other.join()
    assert seen <= {world.server.user, READER}


def test_no_mark_is_seen(world: World) -> None:
    with world.admin() as admin:
        shown = ask(admin, "SELECT query FROM system.processes")
        assert shown == "SELECT query FROM system.processes FORMAT TabSeparated\n"
        for statement in ("SELEC 1", "DROP TABLE IF NOT", "CREATE TABLE x (", "OPTIMIZE TABLE"):
            assert "statement" not in admin.post("/", content=statement).text
        ask(admin, "CREATE VIEW purser.kept AS SELECT 1 AS a")
        assert "/*" not in ask(admin, "SHOW CREATE VIEW purser.kept")
        ask(admin, "DROP VIEW purser.kept")
