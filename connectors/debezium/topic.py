"""Creates the payments topic before the first event, so that readers can start on an empty system.

Otherwise Debezium would create it with its first event, with the same settings (`topic_config`).
"""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from connectors.debezium.settings import DebeziumSettings
from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.record_size import LARGEST_RECORD_BYTES
from schemas.topics import PAYMENTS_TOPIC

ANSWER_SECONDS = 30.0
FOREVER = "-1"
LIMIT = "max.message.bytes"
KEPT_WHOLE = {"cleanup.policy": "delete", "retention.ms": FOREVER, "retention.bytes": FOREVER}
"""Settings of a topic that keeps the whole history, so that views can be rebuilt."""


def topic_config(settings: DebeziumSettings) -> dict[str, str]:
    """The topic's settings that differ from Kafka's defaults."""
    return KEPT_WHOLE | {LIMIT: str(settings.record_bytes_most)}


def ensure_topic(kafka_bootstrap: str, settings: DebeziumSettings) -> bool:
    """Create the topic unless it exists; return whether it was created.

    Raises:
        ServiceUnavailable: Kafka does not answer, or refuses.
        ConfigurationError: the topic exists and would refuse a row that the table accepts.
    """
    topic = NewTopic(
        PAYMENTS_TOPIC,
        num_partitions=settings.topic_partitions,
        replication_factor=settings.topic_replication_factor,
        config=topic_config(settings),
    )
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap, "log_level": 0})
    try:
        admin.create_topics([topic], request_timeout=ANSWER_SECONDS)[PAYMENTS_TOPIC].result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            _check_limit(admin, kafka_bootstrap)
            return False
        raise ServiceUnavailable(
            f"Kafka at {kafka_bootstrap} did not create topic {PAYMENTS_TOPIC}: {error.args[0]}"
        ) from error
    return True


def _check_limit(admin: AdminClient, kafka_bootstrap: str) -> None:
    resource = ConfigResource(ResourceType.TOPIC, PAYMENTS_TOPIC)
    try:
        answer = admin.describe_configs([resource], request_timeout=ANSWER_SECONDS)[resource]
        limit = int(answer.result()[LIMIT].value)
    except KafkaException as error:
        raise ServiceUnavailable(
            f"Kafka at {kafka_bootstrap} does not describe topic {PAYMENTS_TOPIC}: {error.args[0]}"
        ) from error
    if limit < LARGEST_RECORD_BYTES:
        raise ConfigurationError(
            f"topic {PAYMENTS_TOPIC}: {LIMIT} is {limit}, and a row of the table needs up to"
            f" {LARGEST_RECORD_BYTES}; raise it with kafka-configs, then run the command again"
        )
