"""Builds the connector's configuration for Kafka Connect: a pure function from settings to a dict.

A comment explains each less obvious line. Without most of these lines rows were lost or doubled.
"""

from collections.abc import Mapping
from datetime import datetime

from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.topic import FOREVER, topic_config
from schemas.topics import HEARTBEAT_TABLE, PAYMENTS_TABLE, TOPIC_PREFIX

# Without payments, only a write to another published table lets Debezium confirm WAL.
HEARTBEAT_QUERY = (
    f"INSERT INTO {HEARTBEAT_TABLE} (id, beat_at) VALUES (1, now())"
    " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
)
EVERYTHING = "(?s).*"
"""A regular expression; without `(?s)` it would not match a line break."""
SNAPSHOT_CONDITION = "snapshot.select.statement.overrides"
"""Set only while a repair takes a snapshot of a part of the table."""
TRANSACTION_TIMEOUT_MILLISECONDS = "10000"


def connector_config(settings: DebeziumSettings) -> dict[str, str]:
    """The whole configuration of the connector. All of Connect's values are strings."""
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",  # one replication slot is one task
        **_source(settings),
        **_records(settings),
        **_topics(settings),
        **_outages(),
    }


def with_partial_snapshot(config: Mapping[str, str], since: datetime) -> dict[str, str]:
    """The configuration for a snapshot of only the events recorded since then."""
    statement = f"SELECT * FROM {PAYMENTS_TABLE} WHERE recorded_at >= '{since.isoformat()}'"
    return with_whole_snapshot(config) | {
        SNAPSHOT_CONDITION: PAYMENTS_TABLE,
        f"{SNAPSHOT_CONDITION}.{PAYMENTS_TABLE}": statement,
    }


def with_whole_snapshot(config: Mapping[str, str]) -> dict[str, str]:
    """The same configuration without a condition for the snapshot."""
    return {key: value for key, value in config.items() if not key.startswith(SNAPSHOT_CONDITION)}


def _source(settings: DebeziumSettings) -> dict[str, str]:
    """What to read, and how to keep track of the position."""
    return {
        "database.hostname": settings.database_host,
        "database.port": str(settings.database_port),
        "database.dbname": settings.database_name,
        "database.user": settings.database_user,
        "database.password": settings.database_password,
        "plugin.name": "pgoutput",
        "slot.name": settings.slot,
        # Also keep the slot on standbys, so that a promoted standby can continue.
        "slot.failover": "true",
        # The migrations create it, because Debezium cannot publish sixteen partitions as one table.
        "publication.name": settings.publication,
        "publication.autocreate.mode": "disabled",
        "table.include.list": PAYMENTS_TABLE,
        # Logical messages, whatever their prefix, are no events. Debezium asks PostgreSQL for them
        # and cannot be told not to. A large one would stop the producer for good.
        "message.prefix.exclude.list": EVERYTHING,
        "snapshot.mode": "initial",
        "lsn.flush.mode": "connector",
        # A recreated slot must be an error, not a silent gap.
        "offset.mismatch.strategy": "trust_offset",
        "heartbeat.interval.ms": _milliseconds(settings.heartbeat_seconds),
        "heartbeat.action.query": HEARTBEAT_QUERY,
    }


def _records(settings: DebeziumSettings) -> dict[str, str]:
    """The form of a record, and the size of batches."""
    return {
        # Keeps all events of a payment in one partition, in order. The primary key would spread
        # them over several.
        "message.key.columns": f"{PAYMENTS_TABLE}:payment_id",
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "tombstones.on.delete": "false",
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
        # A transaction is one poll, so it takes milliseconds. A killed Connect leaves one open. Its
        # successor reads its own offsets to the end, so it waits for that transaction to time out,
        # by default for a minute.
        "producer.override.transaction.timeout.ms": TRANSACTION_TIMEOUT_MILLISECONDS,
        "poll.interval.ms": _milliseconds(settings.poll_seconds),
        "max.batch.size": str(settings.batch_records_most),
        "max.queue.size": str(settings.queue_records_most),
        "max.queue.size.in.bytes": str(settings.queue_bytes_most),
        # Takes a third to almost half less disk space than lz4, for a few microseconds an event.
        # Higher levels gain nothing (docs/capacity.md).
        "producer.override.compression.type": "zstd",
        "producer.override.compression.zstd.level": "1",
        "producer.override.linger.ms": "5",
        "producer.override.batch.size": "262144",
        "producer.override.max.request.size": str(settings.record_bytes_most),
    }


def _topics(settings: DebeziumSettings) -> dict[str, str]:
    """Topics that Connect creates: as Purser creates them."""
    own = topic_config(settings)
    return {
        "topic.prefix": TOPIC_PREFIX,
        "topic.creation.default.partitions": str(settings.topic_partitions),
        "topic.creation.default.replication.factor": str(settings.topic_replication_factor),
        **{f"topic.creation.default.{name}": value for name, value in own.items()},
    }


def _outages() -> dict[str, str]:
    """How long to retry while a server is down: for ever. `purser status` reports the problem."""
    return {
        "errors.max.retries": FOREVER,
        "retriable.restart.connector.wait.ms": "1000",
        "slot.max.retries": "120",
        "slot.retry.delay.ms": "500",
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
