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
from collections.abc import Collection, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, NamedTuple

import confluent_kafka
import confluent_kafka.admin
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, TransactionDescription, TransactionState
from kafka.errors import KafkaError
from kafka.protocol.producer.transaction import WriteTxnMarkersRequest

from connectors.debezium.transaction_log import LogRecord, Part, decisions, read_record
from schemas.errors import PurserError, ServiceUnavailable

ANSWER_SECONDS = 5.0
CLIENT = "purser-repair"
TRANSACTION_LOG = "__transaction_state"
_FINISHED = frozenset(
    {TransactionState.EMPTY, TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT}
)

_log = logging.getLogger("purser.connector-supervisor")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTransaction:
    """A transaction that is open in a partition, as the partition's leader tells it."""

    partition: TopicPartition
    producer_id: int
    producer_epoch: int
    coordinator_epoch: int
    start_offset: int

    @property
    def part(self) -> Part:
        """What it is to the coordinators' log."""
        return self.partition, self.producer_id, self.producer_epoch

    def __str__(self) -> str:
        return (
            f"{self.partition.topic}-{self.partition.partition} from offset {self.start_offset},"
            f" producer {self.producer_id}, epoch {self.producer_epoch}"
        )


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


class HangingTransactionRepair:
    """Looks for hanging transactions, ends them, and tells what is wrong now."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self.reasons: tuple[str, ...] = ("has not looked for hanging transactions yet",)
        self.ended = 0
        self._bootstrap = kafka_bootstrap
        self._unknown: set[OpenTransaction] = set()

    def look(self, _now: float) -> None:
        """One look, and markers for what hangs; never raises what a server does."""
        try:
            # Connected anew each time: nothing to reconnect, nothing old known of who leads what.
            with closing(_Cluster(self._bootstrap)) as cluster:
                self.reasons = tuple(self._end_hanging(cluster))
        except (KafkaError, confluent_kafka.KafkaException, PurserError, OSError) as error:
            self.reasons = (
                f"Kafka at {self._bootstrap} does not say whether a transaction hangs ({error});"
                " is it up?",
            )

    def report(self) -> dict[str, object]:
        """In how many partitions a hanging transaction was ended."""
        return {"transactions_ended": self.ended}

    def _end_hanging(self, cluster: "_Cluster") -> Iterator[str]:
        # Most that are open have ended between the answers.
        suspects = _not_in_progress(cluster)
        if suspects:
            suspects &= cluster.open_transactions()
        if not suspects <= self._unknown:  # else the log, which is long, has been read for them
            found = decisions(cluster.transaction_log())
            # Markers are written before a transaction is complete: what is open still, hangs. An
            # old client may have begun another one by now, under the same name.
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
    """What of Kafka's protocol is needed here; raises the errors of both client libraries.

    confluent-kafka knows the partitions and reads the log, kafka-python speaks of transactions.
    """

    def __init__(self, kafka_bootstrap: str) -> None:
        self._bootstrap = kafka_bootstrap
        self._client = confluent_kafka.admin.AdminClient(self._configuration())
        # Without a broker kafka-python would leave sockets behind: this one raises.
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
            for number, partition in topic.partitions.items()
            if partition.leader >= 0  # of one without a leader nobody knows
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
            ended: set[int | None] = set()  # an end is told again after more has come
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

        Its leader refuses it when one with a newer epoch has begun.
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

    def __init__(self, **configs: Any) -> None:
        try:
            super().__init__(**configs)
        except BaseException:
            # Its thread and sockets are there before it asks the broker, and would stay.
            if hasattr(self, "_client"):
                self._client.close()
            raise

    @staticmethod
    def _abort_transaction_request(spec: _Marker) -> WriteTxnMarkersRequest:
        request = KafkaAdminClient._abort_transaction_request(spec)
        for marker in request.markers:
            marker.transaction_result = spec.commit
        return request
