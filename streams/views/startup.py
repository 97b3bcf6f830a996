"""The topics of the views worker: the one that it reads, and the one of its dead letters."""

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.record_size import DEAD_LETTER_BYTES_MOST
from streams.source_topic import Brokers

ANSWER_SECONDS = 5.0


def check_topics(bootstrap: str, source_topic: str, dead_letters_topic: str) -> str:
    """Return the source topic's id, and create the dead letters' topic without expiry.

    Raises:
        ServiceUnavailable: Kafka does not answer, or the source topic does not exist yet.
        ConfigurationError: Kafka refuses to create the dead letters' topic.
    """
    brokers = Brokers(bootstrap, source_topic)
    try:
        topics = brokers.admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise ServiceUnavailable(
            f"Kafka at {bootstrap} does not answer: {error.args[0].str()}"
        ) from error
    if dead_letters_topic not in topics:
        _create_dead_letters_topic(brokers.admin, dead_letters_topic)
    return brokers.existing_topic().topic_id


def _create_dead_letters_topic(admin: AdminClient, topic: str) -> None:
    new = NewTopic(
        topic,
        num_partitions=1,
        config={
            "cleanup.policy": "delete",
            "retention.ms": "-1",
            "max.message.bytes": str(DEAD_LETTER_BYTES_MOST),
        },
    )
    try:
        admin.create_topics([new], operation_timeout=ANSWER_SECONDS)[topic].result()
    except KafkaException as error:
        reason = error.args[0]
        if reason.code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return
        if reason.retriable():
            raise ServiceUnavailable(f"topic {topic}: {reason.str()}") from error
        raise ConfigurationError(
            f"topic {topic} cannot be created: {reason.str()}; create it by hand"
        ) from error
