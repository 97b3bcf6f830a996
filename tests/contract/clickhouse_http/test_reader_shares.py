"""The reader shares a server with the worker: what it does must not reach the worker's queries."""

import threading
import time

import httpx
import pytest

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
