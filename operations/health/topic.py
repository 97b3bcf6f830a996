"""The payments topic and its readers: does it exist, is it the one that was read, who reads it?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import ConfigResource, OffsetSpec

from connectors.debezium.topic import KEPT_WHOLE
from operations.health.states import LoudState, Problem
from sinks.source_topics import ReadTopic
from streams.source_topic import ANSWER_SECONDS, Brokers, ReaderGroup, SourceTopic

REPAIR = "`purser repair topic` fills it"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicHealth:
    """The topic as it is now; without a `topic_id` there is none.

    - `first_offsets`: the first offset of each partition; above 0, records were deleted.
    - `config`: the settings of `KEPT_WHOLE` as the brokers have them.
    - `group_state`, `unread`: Kafka's word for the readers' group; partitions without a reader.
    - `topics_read`: the topics of this name from which the views were made, the oldest first.
    """

    name: str
    group: str
    topic_id: str | None
    partitions: int = 0
    first_offsets: Mapping[int, int]
    config: Mapping[str, str]
    group_state: str
    unread: tuple[int, ...] = ()
    topics_read: Sequence[ReadTopic] = ()

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong, worst first; empty if nothing is."""
        if self.topic_id is None:
            return (
                Problem(
                    state=LoudState.TOPIC_MISSING,
                    text=f"topic {self.name} does not exist: no event reaches the views;"
                    " `purser repair topic` makes it",
                ),
            )
        return (*self._made_anew(), *self._cut_off(), *self._unread())

    def _made_anew(self) -> tuple[Problem, ...]:
        others = [each for each in self.topics_read if each.topic_id != self.topic_id]
        if not others:
            return ()
        now = [each for each in self.topics_read if each.topic_id == self.topic_id]
        since = f"; read since {now[0].first_read_at:%Y-%m-%d %H:%M:%S} UTC" if now else ""
        return (
            Problem(
                state=LoudState.TOPIC_MADE_ANEW,
                text=f"topic {self.name} was deleted and made anew{since}: events that were only in"
                f" the old one are missing from the views; {REPAIR}",
            ),
        )

    def _cut_off(self) -> tuple[Problem, ...]:
        if self.config.get("cleanup.policy", "delete") != "delete":
            text = (
                f"topic {self.name} has cleanup.policy={self.config['cleanup.policy']}: Kafka"
                " removes all but a payment's last event; set it to delete"
            )
            return (Problem(state=LoudState.TOPIC_CUT_OFF, text=text),)
        cut = {number: first for number, first in self.first_offsets.items() if first > 0}
        # Whoever limits the retention knows that the topic loses its history.
        if not cut or self.config != KEPT_WHOLE:
            return ()
        places = ", ".join(f"{number} at {first}" for number, first in sorted(cut.items()))
        text = (
            f"topic {self.name} has lost its first records, although it is to keep all: partition"
            f" {places}; {REPAIR}"
        )
        return (Problem(state=LoudState.TOPIC_CUT_OFF, text=text),)

    def _unread(self) -> tuple[Problem, ...]:
        if not self.unread:
            return ()
        numbers = ", ".join(map(str, self.unread))
        text = f"no views worker reads partition {numbers} of topic {self.name}"
        if self.group_state in ("DEAD", "EMPTY"):
            text = f"no views worker reads topic {self.name}: group {self.group} has no members"
        return (Problem(state=LoudState.PARTITIONS_UNREAD, text=text),)


def topic_health(
    name: str,
    group: str,
    found: SourceTopic | None,
    readers: ReaderGroup,
    *,
    first_offsets: Mapping[int, int],
    config: Mapping[str, str],
    topics_read: Sequence[ReadTopic],
) -> TopicHealth:
    """Put together what the servers have answered. Partitions that move just now count as read."""
    partitions = found.partitions if found is not None else frozenset()
    unread = frozenset() if readers.is_rebalancing else partitions - readers.owners.keys()
    return TopicHealth(
        name=name,
        group=group,
        topic_id=found.topic_id if found is not None else None,
        partitions=len(partitions),
        first_offsets=first_offsets,
        config=config,
        group_state=readers.state,
        unread=tuple(sorted(unread)),
        topics_read=topics_read,
    )


def examine_topic(
    bootstrap: str, name: str, group: str, topics_read: Sequence[ReadTopic]
) -> TopicHealth:
    """Ask the brokers; raises ServiceUnavailable if they do not answer."""
    brokers = Brokers(bootstrap, name)
    found = brokers.topic()
    try:
        firsts = _first_offsets(brokers, name, found) if found is not None else {}
        config = _config(brokers, name) if found is not None else {}
    except KafkaException as error:
        raise brokers.unavailable(error) from error
    return topic_health(
        name,
        group,
        found,
        brokers.group(group),
        first_offsets=firsts,
        config=config,
        topics_read=topics_read,
    )


def _first_offsets(brokers: Brokers, name: str, found: SourceTopic) -> dict[int, int]:
    asked = {TopicPartition(name, number): OffsetSpec.earliest() for number in found.partitions}
    answers: Any = brokers.admin.list_offsets(asked, request_timeout=ANSWER_SECONDS)
    return {place.partition: future.result().offset for place, future in answers.items()}


def _config(brokers: Brokers, name: str) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    [future] = brokers.admin.describe_configs([resource], request_timeout=ANSWER_SECONDS).values()
    entries: Any = future.result()
    return {key: str(entries[key].value) for key in KEPT_WHOLE}
