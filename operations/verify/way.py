"""The way of an event from PostgreSQL to ClickHouse: the replication slot, then the topic.

An event that ClickHouse does not have is somewhere on this way, or lost. Two facts decide:

- The slot has passed the cut. PostgreSQL hands commits to a slot in one order. Debezium confirms a
  position only after Kafka has stored everything before it. From then on every event of the cut is
  in the topic, or it will never be.
- The topic holds the event unread, or it does not. What the views have acknowledged is read. The
  records after that are read here, one by one.

No clock and no log position of a row is needed for this. Only `missing` uses it, to tell lost from
late. Nothing here calls anything equal.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import (
    Consumer,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from operations.verify.source import EventKey, Source

ANSWER_SECONDS = 10.0
READ_SECONDS = 20.0
UNREAD_MAX = 100_000
"""Most unread records of a partition that are looked through. Beyond that the views lag."""
POLL_RECORDS = 5_000
# Nothing is committed and nobody joins, so the broker never stores this group.
GROUP = "purser-verify"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unread:
    """What a topic holds that the views have not acknowledged.

    `events` are the unread records: key -> where the record is. `drained` are the partitions of
    which every record was either acknowledged or is in `events`. `known` is whether the topic could
    be looked through at all; `missing` is whether there is no such topic.
    """

    events: Mapping[EventKey, str]
    drained: frozenset[int]
    partitions: frozenset[int]
    known: bool = True
    missing: bool = False

    def lacks(self, key: EventKey, partition: int | None) -> bool:
        """Whether the event is certainly in no record that the views have not acknowledged.

        `partition` is where the event's payment is, if that is known.
        """
        if not self.known or key in self.events:
            return False
        candidates = self.partitions if partition is None else self.partitions & {partition}
        return candidates <= self.drained


UNKNOWN = Unread(events={}, drained=frozenset(), partitions=frozenset(), known=False)


class Way(Protocol):
    """The way of events, as seen during one verification."""

    def begin(self) -> None:
        """A cut was just taken: remember where PostgreSQL's log ends."""

    def look(self) -> None:
        """Note where the slot is; called again and again while `verify` waits."""

    def passed(self) -> bool:
        """Whether every event of the cut is in the topic by now, or never will be."""

    def unread(self, acknowledged: Mapping[int, int]) -> Unread:
        """What the topic holds after each partition's last acknowledged offset."""


class NoWay:
    """Used if Kafka's address is not known: proves nothing."""

    def begin(self) -> None:
        """Remember nothing."""

    def look(self) -> None:
        """Note nothing."""

    def passed(self) -> bool:
        """Return False: not known."""
        return False

    def unread(self, acknowledged: Mapping[int, int]) -> Unread:
        """Return that nothing is known."""
        return UNKNOWN


class SlotAndTopic:
    """The real way. A Kafka that does not answer proves nothing, and is no error here."""

    def __init__(self, now: Source, slot: str, bootstrap: str, topic: str) -> None:
        """`now` reads PostgreSQL outside of the cut."""
        self._now, self._slot = now, slot
        self._bootstrap, self._topic = bootstrap, topic
        self._end_of_cut = 0
        self._beyond: int | None = None
        self._passed = False

    def begin(self) -> None:
        """Remember the end of PostgreSQL's log: every event of the cut is before it."""
        self._end_of_cut = self._now.log_position()
        self._beyond, self._passed = None, False

    def look(self) -> None:
        """Note the slot's position, and whether it has moved since it was first beyond the cut."""
        confirmed = self._now.confirmed_position(self._slot)
        if confirmed is None or confirmed < self._end_of_cut:
            return
        if self._beyond is None:
            self._beyond = confirmed
        elif confirmed > self._beyond:
            self._passed = True

    def passed(self) -> bool:
        """Return whether the slot was beyond the cut, and has moved on from there.

        To be beyond is not enough. A new slot begins beyond the cut, although the snapshot that
        brings the older events may still be running. Debezium moves a slot only once its snapshot
        is complete.
        """
        self.look()
        return self._passed

    def unread(self, acknowledged: Mapping[int, int]) -> Unread:
        """Read what is behind the acknowledged offsets."""
        try:
            return _unread(self._bootstrap, self._topic, acknowledged)
        except KafkaException:
            return UNKNOWN


def _unread(bootstrap: str, topic: str, acknowledged: Mapping[int, int]) -> Unread:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": GROUP,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
            "log_level": 0,  # its errors carry the same information
        },
        logger=logging.getLogger("purser.kafka"),
    )
    try:
        described = consumer.list_topics(topic, timeout=ANSWER_SECONDS).topics[topic]
        if described.error is not None:
            if described.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                return UNKNOWN
            nothing = frozenset[int]()
            return Unread(events={}, drained=nothing, partitions=nothing, missing=True)
        partitions = frozenset(described.partitions)
        ends = _ends(bootstrap, topic, partitions)
        starts = {}
        for partition in partitions:
            place = TopicPartition(topic, partition)
            first, _ = consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS)
            start = max(first, acknowledged.get(partition, -1) + 1)
            # An offset beyond the end belongs to an earlier topic of this name.
            starts[partition] = start if start <= ends[partition] else first
        return _read(consumer, topic, starts, ends)
    finally:
        consumer.close()


def _ends(bootstrap: str, topic: str, partitions: frozenset[int]) -> dict[int, int]:
    """Return the ends of the partitions, including transactions that are still open."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    futures = admin.list_offsets(
        {TopicPartition(topic, partition): OffsetSpec.latest() for partition in partitions},
        isolation_level=IsolationLevel.READ_UNCOMMITTED,
        request_timeout=ANSWER_SECONDS,
    )
    return {place.partition: future.result().offset for place, future in futures.items()}


def _read(
    consumer: Consumer, topic: str, starts: Mapping[int, int], ends: Mapping[int, int]
) -> Unread:
    """Read the committed records from `starts` until there are no more, or time is up.

    A partition whose end is not reached then has an open transaction.
    """
    events: dict[EventKey, str] = {}
    opaque: set[int] = set()  # partitions with a record that does not say which event it is
    reached = dict(starts)
    reading = {p for p in starts if 0 < ends[p] - starts[p] <= UNREAD_MAX}
    consumer.assign([TopicPartition(topic, p, starts[p]) for p in reading])
    deadline = time.monotonic() + READ_SECONDS
    while reading and time.monotonic() < deadline:
        for message in consumer.consume(POLL_RECORDS, 0.2):
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            error = message.error()
            if error is None:
                reached[partition] = offset + 1
                if (key := _key(message)) is None:
                    opaque.add(partition)
                else:
                    events[key] = f"unread in {topic}, partition {partition}, offset {offset}"
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[partition] = max(reached[partition], offset)
                reading.discard(partition)
    drained = {p for p in starts if reached[p] >= ends[p]} - opaque
    return Unread(events=events, drained=frozenset(drained), partitions=frozenset(starts))


def _key(message: Message) -> EventKey | None:
    """Return which event a record brings, or None if it does not say."""
    try:
        after = json.loads(message.value() or b"")["after"]
        return str(after["payment_id"]), int(after["seq"])
    except (ValueError, KeyError, TypeError):
        return None
