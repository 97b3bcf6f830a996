"""The database beside the live one, in which views are rebuilt.

It has the same tables and views under the same names, created by the same migrations, so the sink
and `verify` work on it unchanged. Raw tables are swapped by `EXCHANGE TABLES`, which is atomic per
table. A view always reads the table that has its table's name.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

from clickhouse_connect.driver.client import Client

from operations.replay.state import Exchange, State
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.topics import VIEWS_CONSUMER
from schemas.views import PIPELINE_PROGRESS, Table
from sinks.clickhouse import INSERT_SETTINGS
from sinks.client import connect, translated
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings

SUFFIX = "_replay"
DRY_RUN_SUFFIX = "_dry_run"
"""A dry run builds in a separate database: it neither needs nor disturbs a replay's."""
STATE_TABLE = "replay_state"
SPACE_FACTOR = 1.5
"""Factor on the live tables' size: the new tables, and what merging them takes meanwhile."""
SPACE_RESERVE_BYTES = 256 * 1024**2

_CREATE_STATE = f"""
CREATE TABLE IF NOT EXISTS {{database}}.{STATE_TABLE}
(
    id UInt8,
    version UInt64,
    document String
)
ENGINE = ReplacingMergeTree(version)
ORDER BY id
"""


class ReplayDatabase:
    """The live database and the replay's database, if there is one."""

    def __init__(self, live_url: str, suffix: str = SUFFIX) -> None:
        """Connect; raises the errors of `sinks.client.connect`."""
        settings = ClickHouseSettings.load(live_url)
        self._address = settings.address()
        self.live = self._address.database
        self.name = f"{self.live}{suffix}"
        parts = urlsplit(live_url)
        self.live_url = live_url
        self.url = urlunsplit(parts._replace(path=f"/{self.name}"))
        self._client: Client = connect(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    # -- its life

    def exists(self) -> bool:
        """Return whether a replay exists: running, interrupted, or done with old tables kept."""
        named = {"name": self.name}
        found = self._rows("SELECT 1 FROM system.databases WHERE name = {name:String}", named)
        return bool(found)

    def create(self, state: State) -> None:
        """Create the database with empty tables; repeatable. Raises as `sinks.migrate.migrate`."""
        migrate(self.url)
        self._command(_CREATE_STATE.format(database=self.name))
        self.save(state)

    def drop(self) -> None:
        """Remove the database and everything in it."""
        self._command(f"DROP DATABASE IF EXISTS {self.name} SYNC")

    def state(self) -> State | None:
        """Return the replay's state; None if there is no replay or it has not stored any state.

        Raises:
            ConfigurationError: it was written by another version.
        """
        tables = self._rows(
            "SELECT 1 FROM system.tables"
            " WHERE database = {database:String} AND name = {name:String}",
            {"database": self.name, "name": STATE_TABLE},
        )
        if not tables:
            return None
        rows = self._rows(
            f"SELECT document FROM {self.name}.{STATE_TABLE} ORDER BY version DESC LIMIT 1"
        )
        return State.decode(str(rows[0][0]), self.name) if rows else None

    def save(self, state: State) -> None:
        """Store the state; returns when it is stored."""
        self._command(
            f"INSERT INTO {self.name}.{STATE_TABLE} SELECT 1,"
            f" 1 + (SELECT max(version) FROM {self.name}.{STATE_TABLE}), {{document:String}}",
            {"document": state.encode()},
        )

    # -- positions

    def positions(self) -> dict[int, int]:
        """Return each partition's next offset; the replay's tables hold everything before it."""
        return self._next_offsets(self.name)

    def live_positions(self) -> dict[int, int]:
        """Return each partition's next offset that the live tables may lack."""
        return self._next_offsets(self.live)

    def _next_offsets(self, database: str) -> dict[int, int]:
        rows = self._rows(
            f"SELECT toInt64(partition), toInt64(max(last_offset)) + 1"
            f" FROM {database}.{PIPELINE_PROGRESS.raw} WHERE consumer = {{consumer:String}}"
            " GROUP BY partition",
            {"consumer": VIEWS_CONSUMER},
        )
        return {int(partition): int(offset) for partition, offset in rows}

    # -- the tables

    def uuids(self, tables: Sequence[Table]) -> dict[str, Exchange]:
        """Return each raw table's UUIDs: in the replay's database (`new`) and live (`old`)."""
        names = [name for table in tables for name in table.stored_in]
        rows = self._rows(
            "SELECT database, name, toString(uuid) FROM system.tables"
            " WHERE database IN ({live:String}, {replay:String})"
            " AND has({names:Array(String)}, name)",
            {"live": self.live, "replay": self.name, "names": names},
        )
        found = {(database, name): uuid for database, name, uuid in rows}
        missing = [
            f"{database}.{name}"
            for name in names
            for database in (self.live, self.name)
            if (database, name) not in found
        ]
        if missing:
            raise ConfigurationError(f"ClickHouse has no table {missing[0]}; run `purser migrate`")
        return {
            name: Exchange(new=found[self.name, name], old=found[self.live, name]) for name in names
        }

    def exchange(self, name: str) -> None:
        """Exchange the two raw tables of this name: atomic, and no query is disturbed."""
        self._command(f"EXCHANGE TABLES {self.live}.{name} AND {self.name}.{name}")

    def copy_missing_dead_letters(self) -> None:
        """Copy dead letters that the live table lacks from the replay's; delete none."""
        self._command(
            f"INSERT INTO {self.live}.dead_letters_raw"
            f" SELECT * FROM {self.name}.dead_letters_raw FINAL"
            " WHERE (topic, partition, kafka_offset) NOT IN"
            f" (SELECT topic, partition, kafka_offset FROM {self.live}.dead_letters_raw)"
        )

    def live_counts(self, tables: Sequence[Table]) -> dict[str, int]:
        """Count the rows of live views."""
        return {
            table.name: int(self._rows(f"SELECT count() FROM {self.live}.{table.name}")[0][0])
            for table in tables
        }

    def check_space(self, tables: Sequence[Table]) -> None:
        """Check that the disk has room for the new tables.

        Raises:
            ServiceUnavailable: less space is free than the new tables are likely to take.
        """
        stored_in = [name for table in tables for name in table.stored_in]
        names = {"database": self.live, "names": stored_in}
        used = self._rows(
            "SELECT toInt64(sum(bytes_on_disk)) FROM system.parts WHERE active"
            " AND database = {database:String} AND has({names:Array(String)}, table)",
            names,
        )[0][0]
        free = self._rows("SELECT toInt64(max(unreserved_space)) FROM system.disks")[0][0]
        wanted = int(SPACE_FACTOR * used) + SPACE_RESERVE_BYTES
        if free < wanted:
            raise ServiceUnavailable(
                f"ClickHouse at {self._address.host}:{self._address.port} has"
                f" {free / 1024**2:,.0f} MiB free and a second copy of the views takes about"
                f" {wanted / 1024**2:,.0f} MiB; free some space, or replay one view at a time"
            )

    # -- asking

    def _rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        with translated(self._address):
            return list(self._client.query(sql, parameters=dict(parameters or {})).result_rows)

    def _command(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        with translated(self._address):
            self._client.command(
                sql, parameters=dict(parameters or {}), settings=dict(INSERT_SETTINGS)
            )
