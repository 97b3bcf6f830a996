"""Migrations: once, again, at once, half-way, and of another version."""

import re
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest
from clickhouse_connect.driver.client import Client

from operations.dead_letters.audit import DEAD_LETTER_REDRIVES
from schemas.clickhouse.totals import MEASURES
from schemas.errors import SchemaVersionError
from schemas.postgres.migrations import Migration
from schemas.views import LEDGER_ENTRIES, RECENT_ENTRIES, TABLES, TOTALS, Table
from sinks.client import connect
from sinks.migrate import check_schema, known_migrations, migrate, statements
from sinks.settings import ClickHouseSettings
from tests.clickhouse_server import database

pytestmark = pytest.mark.integration

KNOWN = known_migrations()
NAMES = [migration.name for migration in KNOWN]
Schema = list[tuple[str, ...]]


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


def schema(server: Client, url: str) -> Schema:
    """Every table and view of a database as it was created."""
    found = server.query(
        "SELECT name, engine_full, sorting_key, partition_key, as_select, create_table_query"
        " FROM system.tables WHERE database = {database:String} ORDER BY name",
        parameters={"database": name_of(url)},
    )
    assert found.result_rows
    return [tuple(str(v).replace(name_of(url), "") for v in row) for row in found.result_rows]


def applied(server: Client, url: str) -> list[str]:
    rows = server.query(f"SELECT name FROM {name_of(url)}.schema_migrations FINAL ORDER BY name")
    return [row[0] for row in rows.result_rows]


@pytest.fixture(scope="module")
def whole_schema(clickhouse_server_url: str) -> Schema:
    """What an undisturbed migration makes."""
    with database(clickhouse_server_url) as url:
        migrate(url)
        client = connect(ClickHouseSettings.load(url))
        try:
            return schema(client, url)
        finally:
            client.close()


def test_twice_is_once(empty_url: str, server: Client, whole_schema: Schema) -> None:
    assert migrate(empty_url) == NAMES
    check_schema(empty_url)
    assert migrate(empty_url) == []
    check_schema(empty_url)
    assert schema(server, empty_url) == whole_schema
    assert applied(server, empty_url) == NAMES


def test_every_statement_can_be_run_again(
    empty_url: str, server: Client, whole_schema: Schema
) -> None:
    migrate(empty_url)
    server.command(f"TRUNCATE TABLE {name_of(empty_url)}.schema_migrations")
    assert migrate(empty_url) == NAMES
    assert schema(server, empty_url) == whole_schema


def test_two_runners_at_once(empty_url: str, server: Client, whole_schema: Schema) -> None:
    with ThreadPoolExecutor(3) as threads:
        running = [threads.submit(migrate, empty_url) for _ in range(3)]
        assert set(chain.from_iterable(one.result() for one in running)) == set(NAMES)
    assert schema(server, empty_url) == whole_schema
    assert applied(server, empty_url) == NAMES


@pytest.mark.parametrize("done", [0, 1, 5, 8, 12])
def test_a_runner_that_died_half_way_is_finished_by_the_next(
    empty_url: str, server: Client, whole_schema: Schema, done: int
) -> None:
    every = [statement for migration in KNOWN for statement in statements(migration.sql)]
    assert len(every) > 12
    migrate(empty_url, [])  # the database and the table of notes
    client = connect(ClickHouseSettings.load(empty_url))
    for statement in every[:done]:
        client.command(statement)
    client.close()
    assert migrate(empty_url) == NAMES
    assert schema(server, empty_url) == whole_schema


def test_a_missing_schema_is_told(empty_url: str, server: Client) -> None:
    with pytest.raises(SchemaVersionError, match="run `purser migrate`"):
        check_schema(empty_url)
    server.command(f"CREATE DATABASE {name_of(empty_url)}")
    with pytest.raises(SchemaVersionError, match="run `purser migrate`"):
        check_schema(empty_url)


def test_a_schema_that_is_behind_is_told(empty_url: str) -> None:
    migrate(empty_url, KNOWN[:1])
    with pytest.raises(SchemaVersionError, match=r"behind: 0002_views is missing"):
        check_schema(empty_url)
    assert migrate(empty_url) == NAMES[1:]
    check_schema(empty_url)


def test_a_newer_schema_is_left_alone(empty_url: str, server: Client) -> None:
    future = Migration.of(
        f"{len(KNOWN) + 1:04}_future",
        "CREATE TABLE IF NOT EXISTS tomorrow (a Int8) ENGINE = MergeTree ORDER BY a;\n",
    )
    migrate(empty_url, [*KNOWN, future])
    before = schema(server, empty_url)
    for attempt in (migrate, check_schema):
        with pytest.raises(SchemaVersionError, match=r"newer than this code.*_future"):
            attempt(empty_url)
    assert schema(server, empty_url) == before


def test_an_edited_migration_is_told(empty_url: str) -> None:
    migrate(empty_url)
    edited = [Migration.of(KNOWN[0].name, KNOWN[0].sql + "-- a remark\n"), *KNOWN[1:]]
    for attempt in (migrate, check_schema):
        with pytest.raises(SchemaVersionError, match=r"0001_tables was .*/upgrade-views"):
            attempt(empty_url, edited)


def test_a_migration_that_is_refused_is_named(empty_url: str, server: Client) -> None:
    wrong = Migration.of("0003_wrong", "CREATE TABLE IF NOT EXISTS x (a Nonsense);\n")
    said = r"migration 0003_wrong was refused: .*Nonsense.* run `purser migrate` again"
    with pytest.raises(SchemaVersionError, match=said):
        migrate(empty_url, [*KNOWN, wrong])
    assert applied(server, empty_url) == NAMES
    assert migrate(empty_url) == []


EVENT = {"payment_id", "seq"}
OF_THE_EVENT = {"occurred_at", "recorded_minute"}
"""Columns that never differ between rows of one event."""


@pytest.mark.parametrize(
    "table", [*TABLES.values(), DEAD_LETTER_REDRIVES], ids=lambda table: str(table.name)
)
def test_tables_are_what_the_rows_are(whole_schema: Schema, table: Table) -> None:
    """Columns in order, key and version; and rows of one key share a partition."""
    [(_, engine, sorting_key, partition_key, _, create)] = [
        row for row in whole_schema if row[0] == table.raw
    ]
    assert tuple(create.split("`")[1::2]) == table.columns
    assert tuple(sorting_key.split(", ")) == table.key
    version = f"({table.version})" if table.version is not None else " "
    assert engine.startswith(f"ReplacingMergeTree{version}")
    fixed_by_key = {*table.key, *(OF_THE_EVENT if set(table.key) >= EVENT else ())}
    assert columns_of_partition(partition_key) <= fixed_by_key


def test_recent_entries_are_entries_in_the_order_of_their_minutes(whole_schema: Schema) -> None:
    [(_, engine, sorting_key, partition_key, _, create)] = [
        row for row in whole_schema if row[0] == RECENT_ENTRIES
    ]
    assert tuple(create.split("`")[1::2]) == LEDGER_ENTRIES.columns
    assert tuple(sorting_key.split(", ")) == ("recorded_minute", *LEDGER_ENTRIES.key)
    assert engine.startswith("ReplacingMergeTree ")
    assert columns_of_partition(partition_key) == {"recorded_minute"}


def test_totals_have_the_measures_and_one_row_of_a_key_stays(whole_schema: Schema) -> None:
    [(_, engine, sorting_key, partition_key, _, create)] = [
        row for row in whole_schema if row[0] == TOTALS
    ]
    columns = re.findall(r"`(\w+)` (\w+)", create)
    key = tuple(sorting_key.split(", "))
    assert [name for name, _ in columns[: len(key)]] == list(key)
    measures = [(measure.name, measure.type) for measure in MEASURES]
    assert columns[len(key) :][: len(measures)] == measures
    assert engine.startswith("ReplacingMergeTree(version) ")
    assert columns_of_partition(partition_key) == {"kind", "level", "bucket"} < set(key)


def columns_of_partition(partition_key: str) -> set[str]:
    """The columns that a partition's expression names."""
    without_texts = re.sub(r"'[^']*'", "", partition_key)
    return set(re.findall(r"\b([a-z_]+)\b(?!\()", without_texts)) - {"AND"}
