"""Start-up checks: the servers that must answer before the worker reads a record.

The worker waits for a server that is down. It rejects a wrong setting, password or schema
immediately, because waiting would not cure it. These checks block, so they run before the event
loop.
"""

import logging
import socket
import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.errors import ConfigurationError, ServiceUnavailable
from schemas.record_size import DEAD_LETTER_BYTES_MOST
from streams.source_topic import Brokers

ANSWER_SECONDS = 5.0
RETRY_SECONDS = 1.0
REPORT_SECONDS = 10.0
"""How often to log a message while waiting."""

_log = logging.getLogger("purser.views")

Answer = TypeVar("Answer")


def wait_for(
    what: str,
    check: Callable[[], Answer],
    *,
    wait_seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Answer:
    """Repeat a check until it no longer raises ServiceUnavailable; return its answer.

    Raises the last ServiceUnavailable after `wait_seconds`, and any other exception immediately.
    """
    started = clock()
    reported = float("-inf")
    while True:
        try:
            return check()
        except ServiceUnavailable as error:
            now = clock()
            if now - started >= wait_seconds:
                raise ServiceUnavailable(
                    f"{what}: gave up after {wait_seconds:g} s: {error}"
                ) from error
            if now - reported >= REPORT_SECONDS:
                _log.warning("waiting for %s: %s", what, error)
                reported = now
            sleep(RETRY_SECONDS)


def check_topics(bootstrap: str, source_topic: str, dead_letters_topic: str) -> str:
    """Return the source topic's id, and create the dead letters' topic without expiry.

    Raises:
        ServiceUnavailable: Kafka does not answer, or the source topic does not exist yet:
            `purser up` or `purser migrate` creates it when it registers the connector.
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
    topic = brokers.topic()
    if topic is None:
        raise ServiceUnavailable(
            f"topic {source_topic} does not exist at {bootstrap}; is the connector registered?"
        )
    return topic.topic_id


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


def check_port_free(port: int) -> None:
    """Raise ConfigurationError if the port of the metrics is already in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigurationError(
                f"PURSER_WORKER_METRICS_PORT: {port} cannot be used ({error.strerror}); "
                "set it to a free port"
            ) from error
