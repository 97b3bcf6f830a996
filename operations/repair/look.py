"""Asks the servers for the facts of a repair; changes nothing."""

import logging
from collections.abc import Mapping

import psycopg
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec, ResourceType

from connectors.debezium.client import ConnectClient
from connectors.debezium.config import SNAPSHOT_CONDITION
from connectors.debezium.publication import read_publication
from connectors.debezium.settings import DebeziumSettings
from connectors.debezium.slot import read_slot
from connectors.debezium.topic import topic_config
from operations.repair.facts import Facts, TopicFacts
from operations.repair.settings import RepairSettings
from operations.verify.views import Views
from schemas.dsn import what_postgres_says
from schemas.errors import ServiceUnavailable
from sinks.source_topics import topics_read
from streams.source_topic import Brokers

ANSWER_SECONDS = 10.0
CONNECT_SECONDS = 5

_SLOT_POSITION = """
SELECT (confirmed_flush_lsn - '0/0')::bigint FROM pg_replication_slots WHERE slot_name = %s
"""
_MAY_DROP = """
SELECT pg_has_role(current_user, rolname, 'SET') AND (rolreplication OR rolsuper)
FROM pg_roles WHERE rolname = %s
"""


def look(settings: RepairSettings, debezium: DebeziumSettings) -> Facts:
    """Ask every server once.

    Raises:
        ServiceUnavailable: one does not answer; start it first.
        ConfigurationError, SchemaVersionError: an address, a password or a schema is wrong.
    """
    reader_dsn = settings.postgres_reader_dsn.get_secret_value()
    position, may_drop = _ask_postgres(settings, debezium)
    with ConnectClient(settings.connect_url) as client:
        health = client.health(debezium.connector)
        offset = client.offset(debezium.connector)
        config = client.config(debezium.connector) or {}
    dead_letters = Brokers(settings.kafka_bootstrap, settings.dead_letters_topic).topic()
    return Facts(
        connector=health,
        offset=offset,
        partial_snapshot=SNAPSHOT_CONDITION in config,
        slot=read_slot(reader_dsn, debezium.slot),
        slot_position=position,
        may_drop_slot=may_drop,
        publication=read_publication(reader_dsn, debezium.publication),
        topic=_topic(settings, debezium),
        dead_letters_topic=settings.dead_letters_topic,
        dead_letters_exist=dead_letters is not None,
    )


def _ask_postgres(settings: RepairSettings, debezium: DebeziumSettings) -> tuple[int | None, bool]:
    """The slot's position, and whether the owner may drop it."""
    try:
        with psycopg.connect(
            settings.postgres_admin_dsn.get_secret_value(), connect_timeout=CONNECT_SECONDS
        ) as session:
            position = session.execute(_SLOT_POSITION, [debezium.slot]).fetchone()
            may_drop = session.execute(_MAY_DROP, [debezium.database_user]).fetchone()
    except psycopg.Error as error:
        raise ServiceUnavailable(
            f"PostgreSQL does not answer its owner: {what_postgres_says(error)}; start it, and"
            " check PURSER_POSTGRES_ADMIN_DSN"
        ) from error
    return position[0] if position else None, bool(may_drop and may_drop[0])


def admin_client(settings: RepairSettings) -> AdminClient:
    """A client of Kafka that logs nothing: its exceptions carry the same information.

    Keep it until its answers are there: without it they never come.
    """
    return AdminClient(
        {"bootstrap.servers": settings.kafka_bootstrap, "log_level": 0},
        logger=logging.getLogger("purser.kafka"),
    )


def offsets_of(
    settings: RepairSettings, partitions: frozenset[int], spec: OffsetSpec
) -> dict[int, int]:
    """Each partition's first offset or its end, as `spec` says; raises ServiceUnavailable."""
    asked = {TopicPartition(settings.payments_topic, number): spec for number in partitions}
    if not asked:
        return {}
    admin = admin_client(settings)
    try:
        found = admin.list_offsets(asked, request_timeout=ANSWER_SECONDS)
        return {place.partition: future.result().offset for place, future in found.items()}
    except KafkaException as error:
        raise Brokers(settings.kafka_bootstrap, settings.payments_topic).unavailable(
            error
        ) from error


def _topic(settings: RepairSettings, debezium: DebeziumSettings) -> TopicFacts:
    name, url = settings.payments_topic, settings.clickhouse_url.get_secret_value()
    topic = Brokers(settings.kafka_bootstrap, name).topic()
    if topic is None:
        return TopicFacts(name=name, exists=False)
    # Before the topic's ends: what arrives meanwhile must not look like another topic's.
    known = positions(url)
    begins = offsets_of(settings, topic.partitions, OffsetSpec.earliest())
    config = _wrong_config(settings, debezium)
    # Whoever limits the retention knows that the topic loses its history.
    keeps_all = not {"retention.ms", "retention.bytes"} & config.keys()
    ends = offsets_of(settings, topic.partitions, OffsetSpec.latest())
    return TopicFacts(
        name=name,
        made_anew=any(each.topic_id != topic.topic_id for each in topics_read(url, name)),
        wrong_config=config,
        cut_off=tuple(sorted(each for each, first in begins.items() if first and keeps_all)),
        stale_positions=any(beyond(ends, found) for found in known),
    )


def positions(clickhouse_url: str) -> tuple[Mapping[int, int], Mapping[int, int]]:
    """Each partition's highest offset that the views name: as done, and in a row."""
    with Views(clickhouse_url) as views:
        return views.last_offsets(), views.frontier()


def beyond(ends: Mapping[int, int], found: Mapping[int, int]) -> dict[int, int]:
    """Those offsets, by partition, that are not in the topic."""
    return {number: offset for number, offset in found.items() if offset >= ends.get(number, 0)}


def _wrong_config(
    settings: RepairSettings, debezium: DebeziumSettings
) -> dict[str, tuple[str, str]]:
    resource = ConfigResource(ResourceType.TOPIC, settings.payments_topic)
    admin = admin_client(settings)
    try:
        [future] = admin.describe_configs([resource]).values()
        found = {name: str(entry.value) for name, entry in future.result().items()}
    except KafkaException as error:
        raise Brokers(settings.kafka_bootstrap, settings.payments_topic).unavailable(
            error
        ) from error
    return {
        key: (found[key], right)
        for key, right in topic_config(debezium).items()
        if found.get(key, right) != right
    }
