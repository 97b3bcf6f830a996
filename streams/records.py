"""Records as columns, from any Kafka client: the fastest form for folding a batch.

This module stands between Kafka's clients and the fold. It imports no client and knows only the
shape of a client's records.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter, methodcaller
from typing import Protocol

from streams.decode import Record, SourceRecord


class Message(Protocol):
    """A message of confluent_kafka, which has methods where a `SourceRecord` has attributes."""

    def topic(self) -> str: ...
    def partition(self) -> int: ...
    def offset(self) -> int: ...
    def timestamp(self) -> tuple[int, int]: ...
    def key(self) -> bytes | None: ...
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Records:
    """Records of any topics and partitions, with one list per field."""

    topics: Sequence[str]
    partitions: Sequence[int]
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]

    def __len__(self) -> int:
        return len(self.offsets)

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Record:
        return Record(
            self.topics[index],
            self.partitions[index],
            self.offsets[index],
            self.timestamps[index],
            self.keys[index],
            self.values[index],
        )

    def pieces(self, size: int) -> Iterator["Records"]:
        """Split into pieces of at most `size` records."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield Records(
                self.topics[part],
                self.partitions[part],
                self.offsets[part],
                self.timestamps[part],
                self.keys[part],
                self.values[part],
            )


_FIELDS = attrgetter(*Record._fields)


def records_of(source: Iterable[SourceRecord]) -> Records:
    """Convert records with attributes, such as aiokafka's or `Record`s, to columns."""
    if isinstance(source, Records):
        return source
    columns = list(zip(*map(_FIELDS, source), strict=True))
    return Records(*columns) if columns else Records((), (), (), (), (), ())


def records_of_messages(messages: Sequence[Message]) -> Records:
    """Convert confluent_kafka's messages to columns; they must be records, not errors."""
    return Records(
        topics=list(map(methodcaller("topic"), messages)),
        partitions=list(map(methodcaller("partition"), messages)),
        offsets=list(map(methodcaller("offset"), messages)),
        timestamps=[message.timestamp()[1] for message in messages],
        keys=list(map(methodcaller("key"), messages)),
        values=list(map(methodcaller("value"), messages)),
    )
