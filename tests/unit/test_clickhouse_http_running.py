"""Ids of clients: held while a statement runs, named by KILL QUERY, shown by system.processes."""

import pytest

from stack.clickhouse_http.errors import ClickHouseError
from stack.clickhouse_http.marks import SHOWN_PROCESSES, new_mark, without_marks
from stack.clickhouse_http.running import KillQuery, Running, with_client_ids
from stack.clickhouse_http.statement import Command, Select, parse


def test_id_is_held_by_one_statement_of_a_user_at_a_time() -> None:
    running = Running()
    with running.entered("u", "q"), running.entered("u", "other"), running.entered("v", "q"):
        with pytest.raises(ClickHouseError) as raised, running.entered("u", "q"):
            raise AssertionError("two statements under one id")
        assert raised.value.code == 216
    with running.entered("u", "q"):
        pass


def kill(text: str) -> KillQuery | None:
    statement = parse(text.encode())
    assert isinstance(statement, Command)
    return KillQuery.read(statement)


@pytest.mark.parametrize(
    ("text", "condition", "mode", "format_name"),
    [
        ("KILL QUERY WHERE query_id = 'q'", "query_id = 'q'", "ASYNC", None),
        ("kill query where query_id='ü' sync;", "query_id='ü'", "SYNC", None),
        ("KILL QUERY WHERE (a) = 1 TEST FORMAT JSON", "(a) = 1", "TEST", "JSON"),
        ("KILL /* x */ QUERY WHERE 1 ASYNC -- y", "1", "ASYNC", None),
        ("KILL QUERY WHERE format = 1", "format = 1", "ASYNC", None),
    ],
)
def test_kill_is_read(text: str, condition: str, mode: str, format_name: str | None) -> None:
    assert kill(text) == KillQuery(condition=condition, mode=mode, format_name=format_name)


@pytest.mark.parametrize(
    "text",
    [
        "KILL QUERY",
        "KILL QUERY WHERE",
        "KILL QUERY WHERE SYNC",
        "KILL MUTATION WHERE 1",
        "KILL QUERY ON CLUSTER c WHERE 1",
        "KILL PART_MOVE_TO_SHARD WHERE 1",
    ],
)
def test_other_kills_are_left_to_the_engine(text: str) -> None:
    assert kill(text) is None


@pytest.mark.parametrize("condition", ["query_id = 'q'", "(query_id='q')", "query_id/**/= 'q'"])
def test_user_who_may_not_all_stops_the_own_statement(condition: str) -> None:
    read = kill(f"KILL QUERY WHERE {condition} SYNC")
    assert read is not None
    assert read.of_user("u'").condition == "query_id = 'q' AND user = 'u\\''"


@pytest.mark.parametrize(
    "condition",
    [
        "1",
        "query_id != ''",
        "user = 'u'",
        "query_id = 'q' OR 1",
        "query_id = file('x')",
        "query_id = 'a\\'",
        "query_id = 'a''b'",
        "query_id = ('q')",
        "query_id IN ('q')",
        "query_id = 'q' AND sleep(3) = 0",
        "(query_id = 'q'",
        "query_id = {q:String}",
    ],
)
def test_user_who_may_not_all_may_name_an_id_only(condition: str) -> None:
    read = kill(f"KILL QUERY WHERE {condition}")
    assert read is not None
    with pytest.raises(ClickHouseError) as raised:
        read.of_user("u")
    assert raised.value.code == 497


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SELECT 1 FROM system.processes", "SELECT 1 FROM {}"),
        ("SELECT 1 FROM `system` . Processes AS p", "SELECT 1 FROM {} AS p"),
        ("SELECT 1 FROM a, system.processes", "SELECT 1 FROM a, {}"),
        ("SELECT 1 FROM a JOIN system.processes p USING x", "SELECT 1 FROM a JOIN {} p USING x"),
        ("SHOW PROCESSLIST FORMAT JSON", "SELECT * FROM {} FORMAT JSON"),
        ("SELECT 'FROM system.processes'", "SELECT 'FROM system.processes'"),
        ("SELECT a, system.processes.user FROM x", "SELECT a, system.processes.user FROM x"),
        ("SELECT 1 FROM processes", "SELECT 1 FROM processes"),
    ],
)
def test_queries_see_the_clients_ids(text: str, shown: str) -> None:
    select = parse(text.encode())
    assert isinstance(select, Select)
    assert with_client_ids(select).text.decode() == shown.format(SHOWN_PROCESSES)


@pytest.mark.parametrize("query_id", ["q", "", "*/ DROP TABLE t", "ü\ud800", "' OR 1 = 1 --"])
def test_mark_is_a_comment_whatever_the_id(query_id: str) -> None:
    mark = new_mark("u", query_id)
    assert mark.startswith("/* ")
    assert mark.index("*/") == len(mark) - 2
    assert mark != new_mark("u", query_id)
    assert without_marks(f"SELECT 1\n{mark}.") == "SELECT 1."
