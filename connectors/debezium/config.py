"""The connector's configuration as Kafka Connect wants it: pure, from settings to a dict.

What each line is for stands beside it; most were found by losing or doubling rows without them.
"""

from connectors.debezium.settings import DebeziumSettings
from schemas.topics import HEARTBEAT_TABLE, PAYMENTS_TABLE, TOPIC_PREFIX

# Only a write to a published table lets Debezium confirm WAL while no payment comes in.
HEARTBEAT_QUERY = (
    f"INSERT INTO {HEARTBEAT_TABLE} (id, beat_at) VALUES (1, now())"
    " ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
)
FOREVER = "-1"
TRANSACTION_TIMEOUT_MILLISECONDS = "10000"


def connector_config(settings: DebeziumSettings) -> dict[str, str]:
    """The whole configuration of the connector; Connect's values are all strings."""
    return {
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "tasks.max": "1",  # one replication slot is one task
        **_source(settings),
        **_records(settings),
        **_topics(settings),
        **_outages(),
    }


def _source(settings: DebeziumSettings) -> dict[str, str]:
    """What is read, and how far it was read."""
    return {
        "database.hostname": settings.database_host,
        "database.port": str(settings.database_port),
        "database.dbname": settings.database_name,
        "database.user": settings.database_user,
        "database.password": settings.database_password,
        "plugin.name": "pgoutput",
        "slot.name": settings.slot,
        # Kept on standbys as well, so that a promoted one can go on.
        "slot.failover": "true",
        # The migrations make it: only they can publish sixteen partitions as one table.
        "publication.name": settings.publication,
        "publication.autocreate.mode": "disabled",
        "table.include.list": PAYMENTS_TABLE,
        "snapshot.mode": "initial",
        "lsn.flush.mode": "connector",
        # A slot that was made anew is an error, never a silent gap.
        "offset.mismatch.strategy": "trust_offset",
        "heartbeat.interval.ms": _milliseconds(settings.heartbeat_seconds),
        "heartbeat.action.query": HEARTBEAT_QUERY,
    }


def _records(settings: DebeziumSettings) -> dict[str, str]:
    """What a record looks like, and how many travel together."""
    return {
        # All events of a payment in one partition, in order; the primary key would spread them.
        "message.key.columns": f"{PAYMENTS_TABLE}:payment_id",
        "decimal.handling.mode": "string",
        "time.precision.mode": "isostring",
        "tombstones.on.delete": "false",
        "exactly.once.support": "required",
        "transaction.boundary": "poll",
        # A transaction is one poll, so it takes milliseconds. One that a killed Connect has left
        # open holds up its successor, which reads its own offsets to the end, until it times out:
        # by default a minute.
        "producer.override.transaction.timeout.ms": TRANSACTION_TIMEOUT_MILLISECONDS,
        "poll.interval.ms": _milliseconds(settings.poll_seconds),
        "max.batch.size": str(settings.batch_records_most),
        "max.queue.size": str(settings.queue_records_most),
        # A third to almost half less on disk than lz4, for a few microseconds an event; higher
        # levels gain nothing (docs/capacity.md).
        "producer.override.compression.type": "zstd",
        "producer.override.compression.zstd.level": "1",
        "producer.override.linger.ms": "5",
        "producer.override.batch.size": "262144",
        "producer.override.max.request.size": str(settings.record_bytes_most),
    }


def _topics(settings: DebeziumSettings) -> dict[str, str]:
    """Topics that Connect makes: the whole history, for ever, so that views can be rebuilt."""
    return {
        "topic.prefix": TOPIC_PREFIX,
        "topic.creation.default.partitions": str(settings.topic_partitions),
        "topic.creation.default.replication.factor": str(settings.topic_replication_factor),
        "topic.creation.default.cleanup.policy": "delete",
        "topic.creation.default.retention.ms": FOREVER,
        "topic.creation.default.max.message.bytes": str(settings.record_bytes_most),
    }


def _outages() -> dict[str, str]:
    """How long to try again while a server is away: for ever; `purser status` is loud meanwhile."""
    return {
        "errors.max.retries": FOREVER,
        "retriable.restart.connector.wait.ms": "1000",
        "slot.max.retries": "120",
        "slot.retry.delay.ms": "500",
    }


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))
