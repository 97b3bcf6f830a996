"""The payments topic as Kafka's brokers describe it: which topic it is, and who reads it.

Kafka gives each topic an id. A topic that was deleted and made anew has the same name and another
id, and its offsets begin at 0 again. So an offset means something only together with the id.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from schemas.errors import ServiceUnavailable

ANSWER_SECONDS = 5.0
REBALANCING = frozenset({"PREPARING_REBALANCING", "COMPLETING_REBALANCING"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTopic:
    """A topic that exists: its id, and its partitions."""

    topic_id: str
    partitions: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderGroup:
    """A consumer group: its state, and the id of the member that reads each partition.

    `state` is Kafka's: STABLE, EMPTY, DEAD (no such group), or one of `REBALANCING`.
    """

    state: str
    owners: Mapping[int, str]

    @property
    def is_rebalancing(self) -> bool:
        """Whether partitions are being given out just now."""
        return self.state in REBALANCING


class Brokers:
    """Asks Kafka's brokers about one topic; raises ServiceUnavailable if they do not answer.

    The calls block.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self.admin = self._connected()

    def topic(self) -> SourceTopic | None:
        """The topic, or None if there is none."""
        admin, asked = self.admin, TopicCollection([self._topic])
        try:
            [future] = admin.describe_topics(asked, request_timeout=ANSWER_SECONDS).values()
            found: Any = future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            self._replace(admin)
            raise self.unavailable(error) from error
        partitions = frozenset(partition.id for partition in found.partitions)
        return SourceTopic(topic_id=str(found.topic_id), partitions=partitions)

    def existing_topic(self) -> SourceTopic:
        """The topic; raises ServiceUnavailable also while there is none.

        `purser up` or `purser migrate` creates it when it registers the connector.
        """
        found = self.topic()
        if found is None:
            raise ServiceUnavailable(
                f"topic {self._topic} does not exist at {self._bootstrap}; is the connector"
                " registered?"
            )
        return found

    def group(self, name: str) -> ReaderGroup:
        """The group of that name."""
        admin = self.admin
        try:
            [future] = admin.describe_consumer_groups(
                [name], request_timeout=ANSWER_SECONDS
            ).values()
            found: Any = future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return ReaderGroup(state="DEAD", owners={})
            self._replace(admin)
            raise self.unavailable(error) from error
        owners = {
            place.partition: member.member_id
            for member in found.members
            for place in (member.assignment.topic_partitions if member.assignment else ())
            if place.topic == self._topic
        }
        return ReaderGroup(state=found.state.name, owners=owners)

    def _connected(self) -> AdminClient:
        # Silence librdkafka's log: the exceptions carry the same information.
        return AdminClient(
            {"bootstrap.servers": self._bootstrap, "log_level": 0},
            logger=logging.getLogger("purser.kafka"),
        )

    def _replace(self, admin: AdminClient) -> None:
        """Take a new client after one that had no answer.

        A broker that has just started has no controller for a moment. A client that was told so
        waits for a controller for minutes, and asks nobody.
        """
        if self.admin is admin:
            self.admin = self._connected()

    def unavailable(self, error: KafkaException) -> ServiceUnavailable:
        """The error for a broker that does not answer."""
        return ServiceUnavailable(
            f"Kafka at {self._bootstrap} does not describe topic {self._topic}:"
            f" {error.args[0].str()}; check that it runs"
        )
