"""Text of a query that the engine reads as SQL: structures of tables, and settings.

Each context is generated, so that a new function or setting of the engine is tried as well.
"""

from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest

from tests.contract.clickhouse_http.reader_world import World, ask

KINDS = ("ALIAS", "DEFAULT", "MATERIALIZED")
READS = ("file(''SECRET'')", "getServerSetting(''max_thread_pool_size'')")
SHAPES = (
    "SELECT * FROM {name}({structure}) LIMIT 1",
    "SELECT b FROM {name}({structure}, 1) LIMIT 1",
    "SELECT b FROM {name}({structure}, (1)) LIMIT 1",
    "SELECT b FROM `{name}`({structure}, 1, 10) LIMIT 1",
    "SELECT b FROM {name}(CSV, {structure}, '1') LIMIT 1",
    "SELECT b FROM view(SELECT b FROM {name}({structure}, 1) LIMIT 1)",
    "SELECT 1 WHERE '' IN (SELECT b FROM {name}({structure}, 1) LIMIT 1)",
    "SELECT '' IN {name}({structure}, 1) LIMIT 1",
    "DESCRIBE TABLE {name}({structure}, 1)",
    "DESCRIBE (SELECT b FROM {name}({structure}, 1) LIMIT 1)",
    "EXPLAIN SELECT b FROM {name}({structure}, 1) LIMIT 1",
)


def _table_functions(world: World) -> list[str]:
    with world.admin() as admin:
        return ask(admin, "SELECT name FROM system.table_functions ORDER BY name").split()


def _check(world: World, reader: httpx.Client, statement: str, **options: str) -> str:
    """The error's code, empty for none; the secret is in no answer."""
    response = reader.post("/", params=options, content=world.filled(statement))
    assert world.secret not in response.text, statement
    return str(response.headers.get("X-ClickHouse-Exception-Code", ""))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_structure_of_a_table_reads_a_file(
    world: World, reader: httpx.Client, shape: str
) -> None:
    names = _table_functions(world)
    assert {"values", "generateRandom", "null", "format", "input"} <= set(names)
    if " IN {name}(" in shape:
        names.remove("format")  # there it is a function of plain text
    for name in names:
        for kind in KINDS:
            structure = f"'a UInt8, b String {kind} {READS[0]}'"
            code = _check(world, reader, shape.format(name=name, structure=structure))
            assert code, f"{name} takes a structure"


@pytest.mark.parametrize("read", READS)
def test_no_structure_reaches_a_function_by_a_parameter(
    world: World, reader: httpx.Client, read: str
) -> None:
    structure = "a UInt8, b String ALIAS toString(" + read.replace("''", "'") + ")"
    for name in _table_functions(world):
        for way in ("{{s:String}}, 1", "({{s:String}})", "concat({{s:String}}, '')"):
            statement = f"SELECT b FROM {name}({way.format()}) LIMIT 1"
            assert _check(world, reader, statement, param_s=world.filled(structure)), statement


def test_passwords_are_not_in_the_servers_environment(world: World) -> None:
    with world.admin() as admin:
        environment = ask(admin, "SELECT file('/proc/self/environ')")
    assert "PATH" in environment
    assert world.server.password not in environment
    assert world.server.reader_password not in environment


BEFORE = ("1", "1.", ".5", "1e5", "1.e5", "0x1F", "0x1.p1", "1_000", "'x'", "`x.`", "a.1", "NULL")


def _text_settings(world: World) -> Iterator[str]:
    with world.admin() as admin:
        yield from ask(
            admin,
            "SELECT name FROM system.settings WHERE type IN ('String', 'Map', 'URI')"
            " OR name IN ('dialect', 'compatibility')",
        ).split()


def test_no_text_setting_reads_a_file(world: World, reader: httpx.Client) -> None:
    for name in _text_settings(world):
        for value in ("'file(''SECRET'')'", "{'t': 'file(''SECRET'')'}", "'SECRET'"):
            for number in ("1", "1."):
                _check(world, reader, f"SELECT {number} AS x SETTINGS {name} = {value}")
        for value in (world.filled("file('SECRET')"), str(world.secret_file)):
            _check(world, reader, "SELECT 1 AS x", **{name: value})
            _check(world, reader, f"SET {name} = '{quote(value, safe='/()')}'")


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize(
    "setting",
    [
        "select = 'file(''SECRET'')'",
        "additional_result_filter = 'file(''SECRET'') != '''''",
        "additional_table_filters = {'numbers': 'file(''SECRET'') != '''''}",
        "max_threads = 1, filter = '1'",
        "extremes, filter = '1'",
        "`select` = '1'",
        "filter = DEFAULT",
        "param_f = 'file'",
    ],
)
def test_a_setting_is_judged_whatever_stands_before_it(
    world: World, reader: httpx.Client, before: str, setting: str
) -> None:
    for statement in (
        f"SELECT {before} SETTINGS {setting}",
        f"SELECT * FROM (SELECT {before} SETTINGS {setting})",
        f"SELECT {before} FORMAT CSV SETTINGS {setting}",
        f"SELECT 1 UNION ALL SELECT {before} SETTINGS {setting}",
        f"SELECT 1 LIMIT {before} SETTINGS {setting}",
        f"SELECT 1 ORDER BY {before} SETTINGS {setting}",
        f"EXPLAIN SELECT {before} SETTINGS {setting}",
    ):
        code = _check(world, reader, statement)
        assert code in {"62", "164", "497"}, (statement, code)
