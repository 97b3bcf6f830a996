"""What the reader's limits rest on in the engine of today; to be looked at when it is another."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from stack.clickhouse_http.configuration import HIDDEN_SYSTEM_TABLES
from stack.clickhouse_http.harmless import harmless_setting
from tests.contract.clickhouse_http.reader_world import World, ask

_TO_SEE = """
    aggregate_function_combinators build_options codecs collations columns contributors
    current_roles data_skipping_index_types data_type_families database_engines databases
    dictionary_layouts disk_types documentation enabled_roles formats functions keywords licenses
    numbers numbers_mt one primes settings table_engines table_functions tables time_zones
    tokenizers unicode zeros zeros_mt
"""
SYSTEM_TABLES_TO_SEE = frozenset(_TO_SEE.split())
"""Constants of the engine, and tables that it filters by the rights of who asks."""


def test_every_system_table_is_empty_or_harmless(world: World, reader: httpx.Client) -> None:
    with world.admin() as admin:
        tables = set(ask(admin, "SELECT name FROM system.tables WHERE database = 'system'").split())
    unknown = tables - set(HIDDEN_SYSTEM_TABLES) - SYSTEM_TABLES_TO_SEE
    assert not unknown, "decide whether the reader may see them"
    for table in HIDDEN_SYSTEM_TABLES:
        response = reader.post("/", content=f"SELECT count() FROM system.{table}")
        if response.status_code == 200:
            assert response.text == "0\n", table
        else:
            # 139: it needs a Keeper, which the local server has not.
            assert response.headers["X-ClickHouse-Exception-Code"] in {"497", "139"}, table
    for table in SYSTEM_TABLES_TO_SEE:
        ask(reader, f"SELECT 1 FROM system.{table} LIMIT 1")


READING_FUNCTIONS = """
import sys
import chdb
engine = chdb.connect(sys.argv[1])
path, secret = sys.argv[2:]
names = "SELECT name FROM system.functions WHERE name NOT LIKE 'sleep%'"
names = str(engine.query(names, "TSVRaw")).split()
assert len(names) > 1000
contexts = (
    "SELECT F('P')", "SELECT F('P', 'P')", "SELECT F('P', 1)", "SELECT F(1, 'P')",
    "SELECT F('P', 'P', 'P')", "SELECT F(1, 'P', 'P')", "SELECT F('P')('P')",
    "SELECT arrayMap(x -> F(x), ['P'])", "SELECT arrayMap(F, ['P'])",
    "SELECT F(x -> x, ['P'])", "SELECT F(['P'])", "SELECT F(tuple('P'))",
    "SELECT * APPLY F FROM (SELECT 'P' AS a)",
)
for name in names:
    for context in contexts:
        try:
            text = context.replace("F", f"`{name}`", 1)
            if secret in str(engine.query(text.replace("'P'", f"'{path}'"), "TSVRaw")):
                print(name)
        except Exception as error:  # most calls are refused; none may tell the secret so
            if secret in str(error):
                print(name)
"""


def test_no_function_reads_a_file_but_those_that_are_forbidden(
    tmp_path: Path, world: World
) -> None:
    found = subprocess.run(
        [sys.executable, "-c", READING_FUNCTIONS, str(tmp_path), world.secret_file, world.secret],
        capture_output=True,
        text=True,
        check=True,
    )
    assert {name.lower() for name in found.stdout.split()} == {"file"}


def test_no_setting_that_the_reader_may_change_holds_sql_or_the_name_of_a_file(
    world: World,
) -> None:
    with world.admin() as admin:
        texts = ask(
            admin,
            "SELECT name FROM system.settings WHERE type IN ('String', 'Map', 'URI')",
        ).split()
    assert {"filter", "select", "format_schema", "output_format_schema"} <= set(texts)
    assert {name for name in texts if harmless_setting(name)} == {
        "format_csv_null_representation",
        "format_tsv_null_representation",
        "log_comment",
        "output_format_avro_codec",
        "output_format_avro_confluent_subject",
        "output_format_avro_string_column_pattern",
        "output_format_image_terminal_mode",
        "output_format_orc_writer_time_zone_name",
        "output_format_pretty_grid_charset",
        "output_format_sql_insert_table_name",
    }


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT `{name}`('SECRET')",
        "SELECT `{name}`('SECRET', 'SECRET')",
        "SELECT arrayMap(x -> `{name}`(x), ['SECRET'])",
        "SELECT arrayMap(`{name}`, ['SECRET'])",
        "SELECT arrayFold((a, x) -> `{name}`(x), ['SECRET'], '')",
        "SELECT * APPLY `{name}` FROM (SELECT 'SECRET' AS a)",
        "SELECT * APPLY(x -> `{name}`(x)) FROM (SELECT 'SECRET' AS a)",
        "SELECT COLUMNS('a') APPLY(`{name}`) FROM (SELECT 'SECRET' AS a)",
        "SELECT arrayMap({f:Identifier}, ['SECRET'])",
        "SHOW TABLES WHERE `{name}`('SECRET') = ''",
        "SELECT count() OVER (PARTITION BY `{name}`('SECRET'))",
        "SELECT 1 LIMIT length(`{name}`('SECRET'))",
    ],
)
def test_a_function_of_no_allowed_category_is_refused_wherever_it_stands(
    world: World, reader: httpx.Client, statement: str
) -> None:
    categories = ("AI", "Introspection", "Machine Learning", "Dictionary", "Embedded Dictionary")
    names = (
        "SELECT name FROM system.functions"
        " WHERE NOT is_aggregate AND categories IN {c:Array(String)}"
    )
    with world.admin() as admin:
        refused = ask(admin, names, param_c=str(list(categories))).split()
    assert len(refused) > 60
    for name in [*refused, "file", "FILE", "getServerSetting", "getMacro", "joinGet", "formatRow"]:
        text = world.filled(statement.replace("{name}", name))
        response = reader.post("/", params={"param_f": name}, content=text)
        assert response.headers.get("X-ClickHouse-Exception-Code") in {"497", "62"}, text
