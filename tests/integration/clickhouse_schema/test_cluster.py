"""The DDL for several nodes: what a single node can tell of it.

No Keeper and no second server are at hand: replication and the network are ClickHouse's own. What
is ours, which columns, keys and shards, is held here against the single-node tables, with the
statements executed as plain tables in one database per shard. In another database, which stands for
the node that is asked, a Merge table over the shards takes the place of each Distributed table.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from msgspec.structs import replace

from schemas.clickhouse.catalogue import VIEWS
from schemas.topics import VIEWS_CONSUMER
from schemas.views import LEDGER_ENTRIES, RAW_SUFFIX, RECENT_ENTRIES, TABLES, TOTALS
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.cluster import FILE, SHARDING, cluster_ddl
from sinks.migrate import check_schema, migrate, statements
from sinks.settings import ClickHouseSettings
from streams.fold import FoldedBatch, fold_batch
from tests.clickhouse_server import database
from tests.events import NOON, records
from tests.strategies import history
from tests.totals import note, roll_up

pytestmark = pytest.mark.integration

TEXT = FILE.read_text(encoding="utf-8")
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "cluster.md"
[WHAT_TO_DROP] = re.findall(r"```sql\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
SHARDS = 3
KEYS = {table.name: table.key for table in TABLES.values()}
KEYS["recent_entries"] = LEDGER_ENTRIES.key
RAW_TABLES = (*(table.raw for table in TABLES.values()), RECENT_ENTRIES, TOTALS)
SHARDED = tuple(SHARDING)
AGES = (timedelta(days=400), timedelta(hours=30), timedelta(hours=5), timedelta(minutes=20))
"""How long ago the payments of the history were recorded: late, both late and recent, recent."""
LONG_AGO = f"{{}} < now() - INTERVAL {(AGES[0] - timedelta(days=2)).days} DAY"
"""Condition: a time is that of the oldest payments; the column is to be filled in."""


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


def is_of_shards(statement: str) -> bool:
    """Whether a statement makes what each shard has for itself."""
    return "ENGINE = Replicated" in statement or "MATERIALIZED VIEW" in statement


def for_the_node(statement: str, shards: Iterable[str]) -> str:
    """A statement for the node that is asked: it reads the shards, wherever they are."""
    first, *_ = names = [name_of(url) for url in shards]
    return re.sub(
        r"AS (\w+_local)\nENGINE = Distributed\(.*\)$",
        rf"AS {first}.\1\nENGINE = Merge(REGEXP('^({'|'.join(names)})$'), '^\1$')",
        plain(statement),
    )


def run(url: str, every: Iterable[str]) -> None:
    with closing(connect(ClickHouseSettings.load(url))) as client:
        for statement in every:
            client.command(statement)


@dataclass(frozen=True, slots=True)
class Single:
    """The migrated single-node database, with a history, some of it written twice."""

    url: str
    batch: FoldedBatch


@pytest.fixture(scope="module")
def single(clickhouse_server_url: str) -> Iterator[Single]:
    now = datetime.now(UTC)
    with database(clickhouse_server_url) as url:
        migrate(url)
        events = [
            replace(event, recorded_at=now - AGES[event.payment_id.int % len(AGES)])
            for event in history(Random(11), payments=40, payouts=10, steps=25)
        ]
        batch = fold_batch(records(events), consumer=VIEWS_CONSUMER, parked_at=NOON)
        with closing(ClickHouseSink(ClickHouseSettings.load(url))) as sink:
            for _ in range(2):
                sink.write(batch.columns)
                sink.note_minutes(batch.minutes)
        yield Single(url, batch)


@pytest.fixture(scope="module")
def client(single: Single) -> Iterator[Client]:
    client = connect(ClickHouseSettings.load(single.url))
    yield client
    client.close()


@pytest.fixture(scope="module")
def shards(clickhouse_server_url: str, single: Single, client: Client) -> Iterator[list[str]]:
    """One database per shard: the generated local tables, filled by the sharding expressions.

    `recent_entries` is left to be copied by each shard.
    """
    with ExitStack() as stack:
        urls = [stack.enter_context(database(clickhouse_server_url)) for _ in range(SHARDS)]
        for number, url in enumerate(urls):
            client.command(f"CREATE DATABASE {name_of(url)}")
            run(url, (plain(each) for each in statements(TEXT) if is_of_shards(each)))
            for name in SHARDED:
                if name != "recent_entries":
                    # Twice, as the single node has it.
                    client.command(
                        f"INSERT INTO {name_of(url)}.{name}_local"
                        f" SELECT * FROM {name}{RAW_SUFFIX}"
                        f" WHERE {SHARDING[name]} % {SHARDS} = {number}"
                    )
        yield urls


@pytest.fixture(scope="module")
def node(
    clickhouse_server_url: str, single: Single, client: Client, shards: list[str]
) -> Iterator[str]:
    """The URL of the node that is asked; the minutes of the history are noted there."""
    with database(clickhouse_server_url) as url:
        client.command(f"CREATE DATABASE {name_of(url)}")
        whole = [
            each
            for each in statements(TEXT)
            if "MATERIALIZED VIEW" not in each and not re.search(r"EXISTS \w+_local ", each)
        ]
        run(url, (for_the_node(each, shards) for each in whole))
        note(url, single.batch.minutes)
        for table in TABLES.values():
            if table.name not in SHARDING:
                client.command(f"INSERT INTO {name_of(url)}.{table.raw} SELECT * FROM {table.raw}")
        yield url


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


@pytest.mark.parametrize("table", RAW_TABLES)
def test_a_local_table_is_the_single_node_table(
    client: Client, single: Single, shards: list[str], table: str
) -> None:
    name = table.removesuffix(RAW_SUFFIX)
    expected = layout(client, name_of(single.url), table)
    assert len(expected) > 2
    assert layout(client, name_of(shards[0]), f"{name}_local" if name in SHARDING else table) == (
        expected
    )


@pytest.mark.parametrize("name", SHARDED)
def test_a_distributed_table_shards_by_key_columns_alone(name: str) -> None:
    [found] = re.findall(
        rf"^AS {name}_local\nENGINE = Distributed\('{{cluster}}', 'purser',"
        rf" '{name}_local', (.*)\);$",
        TEXT,
        re.MULTILINE,
    )
    assert found == SHARDING[name]
    named = set(re.findall(r"[a-z_]+", re.sub(r"'[^']*'", "", found)))
    assert named - {"if", "in", "city", "ash"} <= set(KEYS[name])


def test_every_table_and_view_is_there(client: Client) -> None:
    names = {row[0] for row in client.query("SHOW TABLES").result_rows}
    made = re.findall(
        r"^CREATE (?:TABLE IF NOT EXISTS|OR REPLACE VIEW|MATERIALIZED VIEW IF NOT EXISTS) (\w+) ",
        TEXT,
        re.MULTILINE,
    )
    assert len(made) == len(set(made))
    assert set(made) == names | {f"{name}_local" for name in SHARDING}


@pytest.mark.parametrize("name", SHARDED)
def test_final_on_each_shard_is_final_of_the_whole(
    client: Client, shards: list[str], name: str
) -> None:
    union = " UNION ALL ".join(f"SELECT * FROM {name_of(url)}.{name}_local FINAL" for url in shards)
    rows = client.query(f"SELECT * FROM ({union}) ORDER BY ALL").result_rows
    assert rows
    whole = client.query(f"SELECT * FROM {name}{RAW_SUFFIX} FINAL ORDER BY ALL")
    assert rows == whole.result_rows
    filled = [
        int(str(client.command(f"SELECT count() > 0 FROM {name_of(url)}.{name}_local")))
        for url in shards
    ]
    assert sum(filled) > 1


def test_a_shard_copies_its_own_recent_entries(client: Client, shards: list[str]) -> None:
    for url in shards:
        copied, recent, all_of_them = (
            client.query(f"SELECT * FROM {name_of(url)}.{what} ORDER BY ALL").result_rows
            for what in (
                "recent_entries_local FINAL",
                "ledger_entries_local FINAL WHERE recorded_minute > now() - INTERVAL 40 HOUR",
                "ledger_entries_local FINAL",
            )
        )
        assert copied == recent
        assert 0 < len(copied) < len(all_of_them)


# -- the node that is asked


def test_the_worker_accepts_the_schema(node: str) -> None:
    check_schema(node)


def test_views_over_the_shards_show_what_a_single_node_shows(
    client: Client, single: Single, shards: list[str], node: str
) -> None:
    """Before anything is rolled up and after; the accounts of a provider lie on all shards."""
    provider = "account_type = 'psp_receivable' AND account_id = 'stripe'"
    for shard in map(name_of, shards):
        found = client.query(f"SELECT 1 FROM {shard}.ledger_entries_local WHERE {provider} LIMIT 1")
        assert found.result_rows
    for url in (single.url, node):
        note(url, single.batch.minutes)
    filled = assert_equal_views(client, node)
    assert filled >= {"seller_revenue", "seller_balances", "account_days", "account_balances"}
    for url in (single.url, node):
        assert roll_up(url).minutes
    assert assert_equal_views(client, node) == filled
    # What is over by now is rolled up on both.
    same = f"kind = 'total' AND (level = 'minute' OR level = 'day' AND {LONG_AGO.format('bucket')})"
    rows, expected = (
        client.query(
            f"SELECT * EXCEPT (rolled_at) FROM {name}.totals_raw FINAL WHERE {same} ORDER BY ALL"
        ).result_rows
        for name in (name_of(node), name_of(single.url))
    )
    assert rows == expected
    assert {row[1] for row in rows} == {"minute", "day"}


def test_the_page_names_the_days_of_recent_entries_that_may_be_dropped(
    client: Client, single: Single, shards: list[str], node: str
) -> None:
    """Entries that were recorded long ago stand in for recent ones that have become old."""
    old = LONG_AGO.format("recorded_minute")
    for shard in map(name_of, shards):
        client.command(
            f"INSERT INTO {shard}.recent_entries_local"
            f" SELECT * FROM {shard}.ledger_entries_local WHERE {old}"
        )
    note(node, single.batch.minutes)
    assert not any(drops(client, shard, node) for shard in shards)
    roll_up(node)
    for url in shards:
        [statement] = drops(client, url, node)
        client.command(plain(statement).replace("purser.", f"{name_of(url)}."))
        kept = f"SELECT countIf({old}), count() > 0 FROM {name_of(url)}.recent_entries_local"
        assert client.query(kept).result_rows == [(0, 1)]
    assert_equal_views(client, node)


def drops(client: Client, shard: str, node: str) -> list[str]:
    """What the page's question gives on a node of this shard."""
    here = (
        ("clusterAllReplicas('{cluster}', system.parts)", "system.parts"),
        ("database = 'purser'", f"database = '{name_of(shard)}'"),
        ("FROM purser.totals", f"FROM {name_of(node)}.totals"),
    )
    sql = WHAT_TO_DROP
    for on_cluster, on_one in here:
        assert on_cluster in sql
        sql = sql.replace(on_cluster, on_one)
    return [statement for (statement,) in client.query(sql).result_rows]


def assert_equal_views(client: Client, node: str) -> set[str]:
    """Compare each view of the node that is asked with the single node's; those with rows."""
    filled = set()
    for view in VIEWS:
        rows, expected = (
            client.query(f"SELECT * FROM {prefix}{view} ORDER BY ALL").result_rows
            for prefix in (f"{name_of(node)}.", "")
        )
        assert rows == expected, view
        if rows:
            filled.add(view)
    return filled
