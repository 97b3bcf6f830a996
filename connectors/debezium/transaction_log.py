"""Reads the decisions of Kafka's transaction coordinators from `__transaction_state`. Pure.

The format is that of Kafka's TransactionLogKey.json and TransactionLogValue.json.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kafka import TopicPartition

KEY_VERSION = 0
OLD_VALUE, COMPACT_VALUE = 0, 1
ONGOING = 1
COMPLETE = {4: True, 5: False}
_KEY = struct.Struct(">hh")  # version, length of the transactional id
_VALUE = struct.Struct(">hqhib")  # version, producer id, producer epoch, timeout, status

Part = tuple[TopicPartition, int, int]
"""A transaction in one partition, with the producer id and epoch under which it was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """The state of one transactional id.

    `status` is 0 empty, 1 ongoing, 2 and 3 about to commit and to abort, 4 and 5 committed and
    aborted, 6 dead, 7 being fenced (Kafka's TransactionState). `partitions` are those of the
    transaction so far; there are none once it is complete.
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    status: int
    partitions: frozenset[TopicPartition] = frozenset()


def read_record(key: bytes | None, value: bytes | None) -> LogRecord | None:
    """Decode a record; None if it is not a transaction's state, for example after it expired."""
    if key is None or value is None:
        return None
    try:
        key_version, length = _KEY.unpack_from(key)
        version, producer_id, producer_epoch, _timeout, status = _VALUE.unpack_from(value)
        if key_version != KEY_VERSION or version not in (OLD_VALUE, COMPACT_VALUE):
            return None
        return LogRecord(
            transactional_id=key[_KEY.size : _KEY.size + length].decode(),
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            status=status,
            partitions=frozenset(_Reader(value, _VALUE.size, version).partitions()),
        )
    except (struct.error, IndexError, UnicodeDecodeError):
        return None


@dataclass(slots=True)
class Decisions:
    """The decision about each part of a transaction, and the parts that are not decided yet."""

    decided: dict[Part, bool] = field(default_factory=dict)
    """True for commit, False for abort; complete transactions only, whose markers are due."""
    undecided: set[Part] = field(default_factory=set)


def decisions(records: Iterable[LogRecord]) -> Decisions:
    """Collect the decisions in a log; records of one transactional id must be in log order.

    Since Kafka 4 (version 2 of transactions) a decision carries the epoch after its transaction's,
    which is also the epoch of the next transaction. Before, it carried the transaction's own epoch,
    and so did all later transactions. So the epoch alone does not identify the transaction. A
    decision belongs to the last ongoing transaction and to that transaction's partitions.
    """
    found = Decisions()
    ongoing: dict[str, LogRecord] = {}
    for record in records:
        if record.status == ONGOING:
            ongoing[record.transactional_id] = record
        elif record.status in COMPLETE:
            begun = ongoing.pop(record.transactional_id, None)
            if begun is not None and _completes(record, begun):
                for part in _parts(begun):
                    found.decided[part] = COMPLETE[record.status]
    for record in ongoing.values():
        for part in _parts(record):
            found.undecided.add(part)
            found.decided.pop(part, None)  # an old client's previous transaction, same name
    return found


def _completes(record: LogRecord, begun: LogRecord) -> bool:
    """Whether the record completes this transaction; compaction may have removed others between."""
    if record.producer_id != begun.producer_id:
        return record.producer_epoch == 0  # epochs were used up
    return record.producer_epoch - begun.producer_epoch in (0, 1)


def _parts(record: LogRecord) -> Iterator[Part]:
    for partition in record.partitions:
        yield partition, record.producer_id, record.producer_epoch


class _Reader:
    """Reads the partitions after the status, with fixed lengths or with compact ones and tags."""

    def __init__(self, data: bytes, at: int, version: int) -> None:
        self._data = data
        self._at = at
        self._compact = version == COMPACT_VALUE

    def partitions(self) -> Iterator[TopicPartition]:
        for _ in range(self._length(">i")):
            size = self._length(">h")
            topic = self._data[self._at : self._at + size].decode()
            self._at += size
            for _ in range(self._length(">i")):
                yield TopicPartition(topic, self._fixed(">i"))
            if self._compact:
                self._varint()  # no tag is defined here

    def _length(self, fixed: str) -> int:
        """A length. Compact lengths are one higher, so that 0 can mean null."""
        return max(0, self._varint() - 1 if self._compact else self._fixed(fixed))

    def _fixed(self, form: str) -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return int(value)

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value
