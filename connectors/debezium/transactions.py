"""Ends transactions that Kafka has decided about and left open: hanging ones.

Kafka's transaction coordinator decides (commit or abort), writes a marker to every partition of
the transaction, and notes it as complete. While a broker starts its partitions have no leader for
moments; a coordinator that comes upon one then takes it for deleted, and completes without the
marker. Whoever reads the partition read-committed stands still at that transaction for ever: the
views' workers, and Kafka Connect itself, which reads its own offsets so
(docs/how-to/hanging-transaction.md).

Found without a guess at time: a partition has a transaction open, the coordinator's log says that
it is complete, and it is still open afterwards, although markers are written before that. The
marker that is missing is then written, and says what the log says was decided.
"""

import logging
import struct
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import confluent_kafka
import confluent_kafka.admin
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, TransactionDescription, TransactionState
from kafka.errors import KafkaError
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest

from schemas.errors import PurserError, ServiceUnavailable

ANSWER_SECONDS = 5.0
UNDECIDED_SECONDS = 60.0
"""Until the next look at what the log did not decide: it is read whole each time."""
CLIENT = "purser-keeper"
TRANSACTION_LOG = "__transaction_state"
KEY_VERSION = 0
VALUE_VERSIONS = (0, 1)
_KEY = struct.Struct(">hh")  # version, length of the transactional id
_VALUE = struct.Struct(">hqhib")  # version, producer id, producer epoch, timeout, status
_ONGOING = 1
_COMPLETE = {4: True, 5: False}
_FINISHED = frozenset(
    {TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT}
)

_log = logging.getLogger("purser.keeper")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction that is open in a partition, as the partition's leader tells it."""

    partition: TopicPartition
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    start_offset: int

    @property
    def name(self) -> tuple[int, int]:
        """What the coordinator's log calls it."""
        return self.producer_id, self.producer_epoch

    def __str__(self) -> str:
        return (
            f"{self.partition.topic}-{self.partition.partition} from offset {self.start_offset},"
            f" producer {self.producer_id}, epoch {self.producer_epoch}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LogRecord:
    """A state of one transactional id, from the coordinator's log.

    `status` is 0 empty, 1 ongoing, 2 and 3 about to commit and to abort, 4 and 5 committed and
    aborted, 6 dead, 7 being fenced (Kafka's TransactionState).
    """

    transactional_id: str
    producer_id: int
    producer_epoch: int
    status: int


def read_record(key: bytes | None, value: bytes | None) -> LogRecord | None:
    """Decode a record of the coordinator's log; None for what is no state of a transaction.

    Only the beginning of the value is read, which both its versions share
    (Kafka's TransactionLogKey.json and TransactionLogValue.json).
    """
    if key is None or value is None or len(key) < _KEY.size or len(value) < _VALUE.size:
        return None
    key_version, length = _KEY.unpack_from(key)
    value_version, producer_id, producer_epoch, _timeout, status = _VALUE.unpack_from(value)
    if key_version != KEY_VERSION or value_version not in VALUE_VERSIONS:
        return None
    return LogRecord(
        transactional_id=key[_KEY.size : _KEY.size + length].decode(),
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        status=status,
    )


def decisions(records: Iterable[LogRecord]) -> dict[tuple[int, int], bool]:
    """What was decided about each completed transaction: True to commit, False to abort.

    By producer id and the epoch it was written with. The decision itself carries the epoch after
    that, which a decision about the transaction before has, too: so what a decision is about is
    the last that was ongoing. Records of one transactional id must come in the log's order.
    """
    ongoing: dict[str, tuple[int, int]] = {}
    decided: dict[tuple[int, int], bool] = {}
    for record in records:
        if record.status == _ONGOING:
            ongoing[record.transactional_id] = (record.producer_id, record.producer_epoch)
        elif record.status in _COMPLETE:
            name = ongoing.pop(record.transactional_id, None)
            if name is not None:
                decided[name] = _COMPLETE[record.status]
    return decided


def in_progress(
    transaction: OpenTransaction, described: Collection[TransactionDescription]
) -> bool:
    """Whether a coordinator is still at work on it, and will write its marker.

    Once it is being decided about, the coordinator's epoch is one ahead of the partition's (since
    Kafka 4's transactions, version 2).
    """
    for each in described:
        if each.producer_id != transaction.producer_id or each.state in _FINISHED:
            continue
        ahead = each.producer_epoch - transaction.producer_epoch
        if ahead == 0 or (ahead == 1 and each.state != TransactionState.ONGOING):
            return True
    return False


class TransactionKeeper:
    """Looks for hanging transactions, ends them, and tells what is wrong now."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self.reasons: tuple[str, ...] = ("has not looked for hanging transactions yet",)
        self.ended = 0
        self._bootstrap = kafka_bootstrap
        self._look_at = 0.0

    def look(self, now: float) -> None:
        """One look, and markers for what hangs; never raises what a server does."""
        if now < self._look_at:
            return
        try:
            # Connected anew each time: nothing to reconnect, nothing old known of who leads what.
            with closing(_Cluster(self._bootstrap)) as cluster:
                self.reasons = tuple(self._end_hanging(cluster))
            if self.reasons:
                self._look_at = now + UNDECIDED_SECONDS
        except (KafkaError, confluent_kafka.KafkaException, PurserError, OSError) as error:
            self.reasons = (
                f"Kafka at {self._bootstrap} does not say whether a transaction hangs ({error});"
                " is it up?",
            )

    def report(self) -> dict[str, object]:
        """In how many partitions a hanging transaction was ended."""
        return {"transactions_ended": self.ended}

    def _end_hanging(self, cluster: "_Cluster") -> Iterator[str]:
        found = cluster.open_transactions()
        described = cluster.described_transactions() if found else ()
        suspects = {each for each in found if not in_progress(each, described)}
        # Most have ended between the two answers.
        if not suspects or not (suspects := suspects & cluster.open_transactions()):
            return
        decided = decisions(cluster.transaction_log())
        # Markers are written before a transaction is complete: what is open still, hangs.
        for transaction in suspects & cluster.open_transactions():
            commit = decided.get(transaction.name)
            if commit is None:
                yield (
                    f"a transaction hangs in {transaction}, and its coordinator's log does not say"
                    " what was decided; see docs/how-to/hanging-transaction.md"
                )
                continue
            cluster.write_marker(transaction, commit=commit)
            self.ended += 1
            _log.warning(
                "a transaction hung in %s: %s, as its coordinator had decided",
                transaction,
                "committed" if commit else "aborted",
            )


class _Cluster:
    """What of Kafka's protocol is needed here; raises the errors of both client libraries.

    confluent-kafka knows the partitions and reads the log, kafka-python speaks of transactions.
    """

    def __init__(self, kafka_bootstrap: str) -> None:
        self._bootstrap = kafka_bootstrap
        self._client = confluent_kafka.admin.AdminClient(self._configuration())
        # Without a broker kafka-python would leave sockets and a thread behind: this one raises.
        self._client.list_topics(timeout=ANSWER_SECONDS)
        milliseconds = round(1000 * ANSWER_SECONDS)
        self._admin = _Admin(
            bootstrap_servers=kafka_bootstrap,
            client_id=CLIENT,
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
        )

    def close(self) -> None:
        self._admin.close()

    def open_transactions(self) -> set[OpenTransaction]:
        """Every transaction that is open in a partition."""
        topics = self._client.list_topics(timeout=ANSWER_SECONDS).topics
        partitions = [
            TopicPartition(name, number)
            for name, topic in topics.items()
            for number in topic.partitions
        ]
        return {
            OpenTransaction(
                partition=partition,
                producer_id=producer.producer_id,
                producer_epoch=producer.producer_epoch,
                coordinator_epoch=producer.coordinator_epoch,
                start_offset=producer.current_transaction_start_offset,
            )
            for partition, state in self._admin.describe_producers(partitions).items()
            for producer in state.active_producers
            if producer.current_transaction_start_offset >= 0
        }

    def described_transactions(self) -> Collection[TransactionDescription]:
        """What each coordinator knows of each transactional id."""
        listed = self._admin.list_transactions().values()
        ids = [each.transactional_id for listing in listed for each in listing]
        return tuple(self._admin.describe_transactions(ids).values())

    def transaction_log(self) -> Iterator[LogRecord]:
        """The coordinators' log, each of its partitions from the beginning to its present end."""
        consumer = confluent_kafka.Consumer(
            self._configuration()
            | {
                "group.id": CLIENT,  # required, and never used: nothing is committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
        )
        topics = self._client.list_topics(TRANSACTION_LOG, timeout=ANSWER_SECONDS).topics
        partitions = [
            confluent_kafka.TopicPartition(
                TRANSACTION_LOG, number, confluent_kafka.OFFSET_BEGINNING
            )
            for number in topics[TRANSACTION_LOG].partitions
        ]
        with closing(consumer):
            consumer.assign(partitions)
            ends = 0
            while ends < len(partitions):
                message = consumer.poll(ANSWER_SECONDS)
                if message is None:
                    raise ServiceUnavailable(f"no answer about {TRANSACTION_LOG}")
                if (error := message.error()) is None:
                    record = read_record(message.key(), message.value())
                    if record is not None:
                        yield record
                elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    ends += 1
                else:
                    raise confluent_kafka.KafkaException(error)

    def write_marker(self, transaction: OpenTransaction, *, commit: bool) -> None:
        """End a transaction in one partition; its leader refuses it when a newer one is open."""
        self._admin.abort_transaction(
            _Marker(
                topic_partition=transaction.partition,
                producer_id=transaction.producer_id,
                producer_epoch=transaction.producer_epoch,
                coordinator_epoch=max(0, transaction.coordinator_epoch),
                commit=commit,
            )
        )

    def _configuration(self) -> dict[str, object]:
        # What it says about a broker that is away, /health says better.
        return {"bootstrap.servers": self._bootstrap, "client.id": CLIENT, "log_level": 0}


class _Marker(NamedTuple):
    """What kafka-python calls AbortTransactionSpec, and how the transaction ends."""

    topic_partition: TopicPartition
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    commit: bool


class _Admin(KafkaAdminClient):  # type: ignore[misc]
    """Also commits: the library, as Kafka's own tools, aborts only."""

    @staticmethod
    def _abort_transaction_request(spec: _Marker) -> WriteTxnMarkersRequest:
        request = KafkaAdminClient._abort_transaction_request(spec)
        for marker in request.markers:
            marker.transaction_result = spec.commit
        return request
