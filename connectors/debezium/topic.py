"""Creates the payments topic before the first event, so that readers can start on an empty system.

Otherwise Debezium would create it with its first event, with the same settings (`config._topics`).
"""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.debezium.settings import DebeziumSettings
from schemas.errors import ServiceUnavailable
from schemas.topics import PAYMENTS_TOPIC

ANSWER_SECONDS = 30.0
FOREVER = "-1"


def topic_config(settings: DebeziumSettings) -> dict[str, str]:
    """The topic's settings that differ from Kafka's defaults."""
    return {
        "cleanup.policy": "delete",
        "retention.ms": FOREVER,
        "max.message.bytes": str(settings.record_bytes_most),
    }


def ensure_topic(kafka_bootstrap: str, settings: DebeziumSettings) -> bool:
    """Create the topic unless it exists; return whether it was created.

    Raises:
        ServiceUnavailable: Kafka does not answer, or refuses.
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
            return False
        raise ServiceUnavailable(
            f"Kafka at {kafka_bootstrap} did not create topic {PAYMENTS_TOPIC}: {error.args[0]}"
        ) from error
    return True
