"""The DDL for several nodes: what a single node can tell of it.

No Keeper and no second server are at hand: replication and the network are ClickHouse's own. What
is ours, which columns, keys and shards, is held here against the single-node tables, with the
statements executed as plain tables in one database per shard.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from schemas.topics import VIEWS_CONSUMER
from schemas.views import SELLER_REVENUE, TABLES, Table
from sinks import revenue
from sinks.clickhouse import INSERT_SETTINGS, ClickHouseSink
from sinks.client import connect
from sinks.cluster import FILE, SHARDING, cluster_ddl
from sinks.migrate import migrate, statements
from sinks.settings import ClickHouseSettings
from streams.fold import fold_batch
from tests.clickhouse_server import database
from tests.events import NOON, records
from tests.strategies import history

pytestmark = pytest.mark.integration

TEXT = FILE.read_text(encoding="utf-8")
SHARDS = 3
EVERY_TABLE: tuple[Table, ...] = (*TABLES.values(), SELLER_REVENUE)
SHARDED = [table for table in EVERY_TABLE if table.name in SHARDING]


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


def plain(statement: str) -> str:
    """A statement for one node without Keeper: the same table, not replicated."""
    statement = statement.replace(" ON CLUSTER '{cluster}'", "")
    return re.sub(
        r"ReplicatedReplacingMergeTree\('[^']*', '[^']*'(?:, (\w+))?\)",
        lambda found: f"ReplacingMergeTree({found[1] or ''})",
        statement,
    )


def locals_of(text: str) -> list[str]:
    return [part for part in statements(text) if "ENGINE = Replicated" in part]


@pytest.fixture(scope="module")
def single(clickhouse_server_url: str) -> Iterator[str]:
    """The migrated single-node database, with a history, some of it written twice."""
    with database(clickhouse_server_url) as url:
        migrate(url)
        sink = ClickHouseSink(ClickHouseSettings.load(url))
        source = records(history(Random(11), payments=40, payouts=10, steps=25))
        for _ in range(2):
            batch = fold_batch(source, consumer=VIEWS_CONSUMER, parked_at=NOON)
            sink.write(batch.columns)
            sink.refresh_revenue(batch.revenue_keys)
        sink.close()
        yield url


@pytest.fixture(scope="module")
def client(single: str) -> Iterator[Client]:
    client = connect(ClickHouseSettings.load(single))
    yield client
    client.close()


@pytest.fixture(scope="module")
def shards(clickhouse_server_url: str, single: str, client: Client) -> Iterator[list[str]]:
    """One database per shard: the generated local tables, filled by the sharding expressions.

    `seller_revenue` is left to be computed by each shard.
    """
    with ExitStack() as stack:
        urls = [stack.enter_context(database(clickhouse_server_url)) for _ in range(SHARDS)]
        for number, url in enumerate(urls):
            client.command(f"CREATE DATABASE {name_of(url)}")
            shard = connect(ClickHouseSettings.load(url))
            for statement in locals_of(TEXT):
                shard.command(plain(statement))
            shard.close()
            for table in SHARDED:
                if table is not SELLER_REVENUE:
                    # Twice, as the single node has it.
                    client.command(
                        f"INSERT INTO {name_of(url)}.{table.name}_local"
                        f" SELECT * FROM {table.raw}"
                        f" WHERE {SHARDING[table.name]} % {SHARDS} = {number}"
                    )
        yield urls


def layout(client: Client, database: str, table: str) -> list[Any]:
    """Columns, types, codecs, keys, partition and version of a table."""
    columns = client.query(
        "SELECT name, type, compression_codec FROM system.columns"
        " WHERE database = {database:String} AND table = {table:String} ORDER BY position",
        parameters={"database": database, "table": table},
    ).result_rows
    keys = client.query(
        "SELECT sorting_key, primary_key, partition_key, engine_full FROM system.tables"
        " WHERE database = {database:String} AND name = {table:String}",
        parameters={"database": database, "table": table},
    ).result_rows
    return [*columns, *keys]


def test_the_file_is_what_the_migrations_give(client: Client) -> None:
    assert cluster_ddl(client) == TEXT, "run `python -m sinks.cluster` against a migrated database"


def test_the_engine_can_read_every_statement(client: Client) -> None:
    every = statements(TEXT)
    assert len(every) > 3 * len(SHARDING)
    for statement in every:
        if not statement.startswith("INSERT"):
            formatted = client.command(
                "SELECT formatQuery({statement:String})", parameters={"statement": statement}
            )
            assert "{cluster}" in str(formatted)


@pytest.mark.parametrize("table", EVERY_TABLE, ids=lambda table: str(table.name))
def test_a_local_table_is_the_single_node_table(
    client: Client, single: str, shards: list[str], table: Table
) -> None:
    local = f"{table.name}_local" if table.name in SHARDING else table.raw
    expected = layout(client, name_of(single), table.raw)
    assert len(expected) > len(table.columns)
    assert layout(client, name_of(shards[0]), local) == expected


@pytest.mark.parametrize("table", SHARDED, ids=lambda table: str(table.name))
def test_a_distributed_table_shards_by_key_columns_alone(table: Table) -> None:
    [found] = re.findall(
        rf"^AS {table.name}_local\nENGINE = Distributed\('{{cluster}}', 'purser',"
        rf" '{table.name}_local', (.*)\);$",
        TEXT,
        re.MULTILINE,
    )
    assert found == SHARDING[table.name]
    named = set(re.findall(r"[a-z_]+", re.sub(r"'[^']*'", "", found)))
    assert named - {"if", "in", "city", "ash"} <= set(table.key)


def test_every_table_and_view_is_there(client: Client) -> None:
    names = {row[0] for row in client.query("SHOW TABLES").result_rows}
    made = re.findall(r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW) (\w+) ", TEXT, re.MULTILINE)
    assert set(made) == names | {f"{name}_local" for name in SHARDING}


@pytest.mark.parametrize("table", SHARDED, ids=lambda table: str(table.name))
def test_final_on_each_shard_is_final_of_the_whole(
    client: Client, shards: list[str], table: Table
) -> None:
    if table is SELLER_REVENUE:
        for url in shards:
            refresh_on(client, name_of(url))
    columns = ", ".join(table.columns)
    union = " UNION ALL ".join(
        f"SELECT * FROM {name_of(url)}.{table.name}_local FINAL" for url in shards
    )
    rows = client.query(f"SELECT {columns} FROM ({union}) ORDER BY {columns}").result_rows
    assert rows
    whole = client.query(f"SELECT {columns} FROM {table.raw} FINAL ORDER BY {columns}")
    assert rows == whole.result_rows
    filled = [
        int(str(client.command(f"SELECT count() > 0 FROM {name_of(url)}.{table.name}_local")))
        for url in shards
    ]
    assert sum(filled) > 1


def refresh_on(client: Client, shard: str) -> None:
    """Compute a shard's revenue from what lies on it, by the sink's own statement."""
    entries = f"{shard}.ledger_entries_local"
    keys = f"(SELECT DISTINCT account_id AS seller_id, currency, day FROM {entries})"
    sql = revenue.REFRESH
    for single_node, here in (
        ("INSERT INTO seller_revenue_raw", f"INSERT INTO {shard}.seller_revenue_local"),
        ("FROM ledger_entries_raw\n", f"FROM {entries} AS ledger_entries_raw\n"),
        ("FROM revenue_keys", f"FROM {keys}"),
    ):
        assert single_node in sql
        sql = sql.replace(single_node, here)
    client.command(
        sql, parameters={"account_types": list(revenue.ACCOUNT_TYPES)}, settings=INSERT_SETTINGS
    )
