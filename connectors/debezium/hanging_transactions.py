"""Ends hanging transactions: Kafka has decided them but left them open in a partition.

Kafka's transaction coordinator decides (commit or abort), writes a marker to every partition of
the transaction, and records it as complete. While a broker starts, its partitions briefly have no
leader. A coordinator that finds such a partition takes it for deleted and completes the transaction
without the marker. Readers of committed data then stop at that transaction for ever: the views
workers, and Kafka Connect when it reads its own offsets (docs/how-to/hanging-transaction.md).

No time-out is guessed. A transaction hangs if a partition has it open, the coordinator's log says
that it is complete, and it is still open afterwards: Kafka writes markers before it records a
transaction as complete. The repair then writes the missing marker with the decision from the log.
"""

import logging
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import confluent_kafka
import confluent_kafka.admin
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, TransactionDescription, TransactionState
from kafka.errors import KafkaError
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest

from connectors.debezium.kafka_admin import CLIENT, AdminClient
from connectors.debezium.transaction_log import LogRecord, Part, decisions, read_record
from schemas.errors import PurserError, ServiceUnavailable

ANSWER_SECONDS = 5.0
TRANSACTION_LOG = "__transaction_state"
_FINISHED = frozenset(
    {TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT}
)

_log = logging.getLogger("purser.connector-supervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction that is open in a partition, according to the partition's leader."""

    partition: TopicPartition
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    start_offset: int

    @property
    def part(self) -> Part:
        """The key by which the coordinators' log is searched."""
        return self.partition, self.producer_id, self.producer_epoch

    def __str__(self) -> str:
        return (
            f"{self.partition.topic}-{self.partition.partition} from offset {self.start_offset},"
            f" producer {self.producer_id}, epoch {self.producer_epoch}"
        )


def in_progress(
    transaction: OpenTransaction, described: Collection[TransactionDescription]
) -> bool:
    """Whether a coordinator is still working on the transaction and will write its marker.

    While a transaction is being decided, the coordinator's epoch is one ahead of the partition's
    (since version 2 of Kafka's transactions, in Kafka 4).
    """
    for each in described:
        if each.producer_id != transaction.producer_id or each.state in _FINISHED:
            continue
        ahead = each.producer_epoch - transaction.producer_epoch
        if ahead == 0 or (ahead == 1 and each.state != TransactionState.ONGOING):
            return True
    return False


class HangingTransactionRepair:
    """Finds hanging transactions, ends them, and reports current problems."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self.reasons: tuple[str, ...] = ("has not checked for hanging transactions yet",)
        self.ended = 0
        self._bootstrap = kafka_bootstrap
        self._unknown: set[OpenTransaction] = set()

    def look(self, _now: float) -> None:
        """Check once and write the missing markers; never raises a server's errors."""
        try:
            # A new connection each time, so there is no stale metadata about partition leaders.
            with closing(_Cluster(self._bootstrap)) as cluster:
                self.reasons = tuple(self._end_hanging(cluster))
        except (KafkaError, confluent_kafka.KafkaException, PurserError, OSError) as error:
            self.reasons = (
                f"Kafka at {self._bootstrap} cannot be asked whether a transaction hangs ({error});"
                " is it up?",
            )

    def report(self) -> dict[str, object]:
        """The number of partitions in which a hanging transaction was ended."""
        return {"transactions_ended": self.ended}

    def _end_hanging(self, cluster: "_Cluster") -> Iterator[str]:
        # Most open transactions end between the two answers.
        suspects = _not_in_progress(cluster)
        if suspects:
            suspects &= cluster.open_transactions()
        if not suspects <= self._unknown:  # otherwise the long log was already read for them
            found = decisions(cluster.transaction_log())
            # Markers are written before a transaction is recorded as complete, so what is still
            # open hangs. An old client may have begun another one meanwhile, under the same name.
            suspects &= _not_in_progress(cluster)
            for transaction in suspects:
                if transaction.part in found.decided:
                    yield from self._end(cluster, transaction, found.decided[transaction.part])
            told = found.undecided.union(found.decided)
            suspects = {each for each in suspects if each.part not in told}
        self._unknown = suspects
        for transaction in suspects:
            yield (
                f"a transaction hangs in {transaction}, and its coordinator's log does not say"
                " what was decided; see docs/how-to/hanging-transaction.md"
            )

    def _end(
        self, cluster: "_Cluster", transaction: OpenTransaction, commit: bool
    ) -> Iterator[str]:
        try:
            cluster.write_marker(transaction, commit=commit)
        except (KafkaError, OSError) as error:
            yield f"the transaction that hangs in {transaction} could not be ended: {error}"
            return
        self.ended += 1
        _log.warning(
            "a transaction hung in %s: %s, as its coordinator had decided",
            transaction,
            "committed" if commit else "aborted",
        )


def _not_in_progress(cluster: "_Cluster") -> set[OpenTransaction]:
    found = cluster.open_transactions()
    described = cluster.described_transactions() if found else ()
    return {each for each in found if not in_progress(each, described)}


class _Cluster:
    """The requests that are needed here; raises the errors of both client libraries.

    confluent-kafka lists the partitions and reads the log; kafka-python has the transaction
    requests.
    """

    def __init__(self, kafka_bootstrap: str) -> None:
        self._bootstrap = kafka_bootstrap
        self._client = confluent_kafka.admin.AdminClient(self._configuration())
        self._admin = _Admin(kafka_bootstrap, ANSWER_SECONDS)

    def close(self) -> None:
        self._admin.close()

    def open_transactions(self) -> set[OpenTransaction]:
        """Every transaction that is open in a partition."""
        topics = self._client.list_topics(timeout=ANSWER_SECONDS).topics
        partitions = [
            TopicPartition(name, number)
            for name, topic in topics.items()
            for number, partition in topic.partitions.items()
            if partition.leader >= 0  # without a leader there is nobody to ask
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
        """Each coordinator's description of its transactional ids."""
        listed = self._admin.list_transactions().values()
        ids = [each.transactional_id for listing in listed for each in listing]
        return tuple(self._admin.describe_transactions(ids).values())

    def transaction_log(self) -> Iterator[LogRecord]:
        """The coordinators' log, each partition from its beginning to its current end."""
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
            ended: set[int | None] = set()  # the client reports an end again after new records
            while len(ended) < len(partitions):
                message = consumer.poll(ANSWER_SECONDS)
                if message is None:
                    raise ServiceUnavailable(f"no answer about {TRANSACTION_LOG}")
                if (error := message.error()) is None:
                    record = read_record(message.key(), message.value())
                    if record is not None:
                        yield record
                elif error.code() == confluent_kafka.KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise confluent_kafka.KafkaException(error)

    def write_marker(self, transaction: OpenTransaction, *, commit: bool) -> None:
        """End a transaction in one partition.

        The partition's leader refuses if a transaction with a newer epoch has begun.
        """
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
        # /health reports an unreachable broker better than the library's log.
        return {"bootstrap.servers": self._bootstrap, "client.id": CLIENT, "log_level": 0}


class _Marker(NamedTuple):
    """kafka-python's AbortTransactionSpec, plus whether to commit or abort."""

    topic_partition: TopicPartition
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    commit: bool


class _Admin(AdminClient):
    """An admin client that can also commit; the library, like Kafka's own tools, only aborts."""

    @staticmethod
    def _abort_transaction_request(spec: _Marker) -> WriteTxnMarkersRequest:
        request = KafkaAdminClient._abort_transaction_request(spec)
        for marker in request.markers:
            marker.transaction_result = spec.commit
        return request
