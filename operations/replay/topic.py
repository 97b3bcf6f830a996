"""The replay's reader of the topic: where it begins and ends, and its records batch by batch.

It reads committed records and joins no group: a replay moves no offset that others rely on.
"""

import logging
import time
from collections.abc import Mapping
from operator import methodcaller
from types import TracebackType
from typing import Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from operations.replay.settings import ReplaySettings
from schemas.errors import ConfigurationError, ServiceUnavailable
from streams.records import Records, records_of_messages

ANSWER_SECONDS = 10.0
POLL_RECORDS_MAX = 10_000
# The broker never stores this group: nothing is committed and nobody joins.
GROUP = "purser-replay"

_PARTITION, _OFFSET = methodcaller("partition"), methodcaller("offset")

Offsets = Mapping[int, int]
"""Partition -> offset."""


class TopicCutOff(ConfigurationError):  # noqa: N818 - named for what the topic is
    """The topic no longer has its first records, so it cannot rebuild the views."""


class Topic:
    """A reader of some partitions; without any, it only returns where partitions begin and end."""

    def __init__(self, settings: ReplaySettings, positions: Offsets | None = None) -> None:
        """Read from `positions`, the next offset of each partition; raises ServiceUnavailable."""
        self._bootstrap = settings.kafka_bootstrap
        self._name = settings.payments_topic
        self._positions = dict(positions or {})
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": GROUP,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "isolation.level": "read_committed",
                # A deleted offset must be an error. Skipping it would leave a hole in the views.
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                # Check a full queue again after 5 ms instead of a second.
                "fetch.queue.backoff.ms": 5,
                "fetch.message.max.bytes": settings.replay_fetch_bytes_max,
                "queued.max.messages.kbytes": 64 * 1024,
                "fetch.wait.max.ms": 50,
                "log_level": 0,  # its errors carry the same information
            },
            logger=logging.getLogger("purser.kafka"),
        )
        if self._positions:
            self._consumer.assign(
                [
                    TopicPartition(self._name, partition, offset)
                    for partition, offset in self._positions.items()
                ]
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._consumer.close()

    @property
    def positions(self) -> dict[int, int]:
        """Each partition's next offset, past the transaction markers behind the last record."""
        return dict(self._positions)

    def ranges(self) -> dict[int, tuple[int, int]]:
        """Return each partition's first offset and its end (exclusive).

        Raises:
            ServiceUnavailable: Kafka does not answer, or there is no such topic.
        """
        try:
            metadata = self._consumer.list_topics(self._name, timeout=ANSWER_SECONDS)
            described = metadata.topics[self._name]
            if described.error is not None:
                raise ServiceUnavailable(
                    f"topic {self._name} does not exist at {self._bootstrap}; is the connector"
                    " registered? `purser replay --source postgres` does not need its history"
                )
            return {
                partition: self._watermarks(partition) for partition in sorted(described.partitions)
            }
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error

    def ends(self) -> dict[int, int]:
        """Return each partition's end (exclusive); raises ServiceUnavailable."""
        return {partition: end for partition, (_, end) in self.ranges().items()}

    def read(self, records_max: int, wait_seconds: float) -> Records:
        """Read at most `records_max` records, ordered within a partition, waiting at most so long.

        Raises:
            TopicCutOff: an offset that should be read is gone.
            ServiceUnavailable: the broker refuses to be read.
        """
        found: list[Message] = []
        deadline = time.monotonic() + wait_seconds
        while (room := records_max - len(found)) > 0:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            messages = self._consume(min(room, POLL_RECORDS_MAX), min(remaining, 0.1))
            if not messages:
                continue
            errors = [message for message in messages if message.error() is not None]
            records = messages
            if errors:
                records = [message for message in messages if message.error() is None]
            found += records
            # Records are ordered within a partition, so its last one is the furthest.
            last = dict(zip(map(_PARTITION, records), map(_OFFSET, records), strict=True))
            self._positions.update({partition: last[partition] + 1 for partition in last})
            for message in errors:
                self._take_error(message, message.error())
            if not records:
                break  # only notices that partitions are at their ends
        return records_of_messages(found)

    def _consume(self, count: int, seconds: float) -> list[Message]:
        try:
            messages: list[Message] = self._consumer.consume(count, seconds)
            return messages
        except KafkaException as error:
            raise self._unavailable(error.args[0]) from error

    def _take_error(self, message: Message, error: KafkaError) -> None:
        code = error.code()
        if code == KafkaError._PARTITION_EOF:
            partition, offset = message.partition(), message.offset()
            if partition is not None and offset is not None:
                self._positions[partition] = max(self._positions[partition], offset)
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            raise TopicCutOff(
                f"topic {self._name}: offset {self._positions.get(message.partition() or 0)} of"
                f" partition {message.partition()} was deleted while being read; rebuild with"
                " `purser replay --source postgres`"
            )
        elif not error.retriable() and code not in _PASSING:
            raise self._unavailable(error)

    def _watermarks(self, partition: int) -> tuple[int, int]:
        place = TopicPartition(self._name, partition)
        low, high = self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS)
        return low, high

    def _unavailable(self, error: Any) -> ServiceUnavailable:
        text = error.str() if isinstance(error, KafkaError) else str(error)
        return ServiceUnavailable(
            f"Kafka at {self._bootstrap} does not answer: {text}; check that it runs, then run the"
            " same command again"
        )


_PASSING = frozenset(
    {
        KafkaError._TRANSPORT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._RESOLVE,
        KafkaError._TIMED_OUT,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_LEADER_FOR_PARTITION,
    }
)
"""Errors during reading from which the client recovers by itself."""


def check_kept(ranges: Mapping[int, tuple[int, int]], positions: Offsets, topic: str) -> None:
    """Check that the topic has every record from these positions on, which old tables lack.

    Raises:
        TopicCutOff: retention, or somebody, has deleted some of them.
    """
    for partition, position in positions.items():
        first, _end = ranges.get(partition, (0, 0))
        if position < first:
            raise TopicCutOff(
                f"topic {topic}: partition {partition} begins at offset {first}, and the old tables"
                f" need its records from {position} on; nothing was changed. The live tables stay:"
                " drop the old ones with `purser replay --cleanup`, and if the live ones are wrong,"
                " rebuild them with `purser replay --source postgres`"
            )


def begin(ranges: Mapping[int, tuple[int, int]], topic: str) -> dict[int, int]:
    """Return the positions of the very first records.

    Raises:
        TopicCutOff: retention, or somebody, has deleted the first records.
    """
    for partition, (first, _end) in ranges.items():
        if first > 0:
            raise TopicCutOff(
                f"topic {topic}: partition {partition} begins at offset {first} and not at 0, so"
                " its first records are gone (see retention.ms); rebuild from PostgreSQL with"
                " `purser replay --source postgres`"
            )
    return dict.fromkeys(ranges, 0)
