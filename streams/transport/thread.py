"""The consumer's thread: a read-committed Kafka consumer that stamps its fetches.

Group membership, fetching and committing run in a separate thread, so that heartbeats continue
while the main thread works. This module decides nothing about records: `consumer` decides which
part of a fetch is handed out.
"""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import aiokafka
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import (
    IllegalGenerationError,
    KafkaError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.enums import ProcessingGuarantee

from schemas.errors import ConfigurationError
from streams.transport.health import describe
from streams.transport.limits import TransportLimits

logger = logging.getLogger("purser.transport")

CALL_SECONDS = 1.0  # queueing time of a call in the thread, on top of its own time
# The next request gathers if this fetch came within so many gatherings of the one before. More than
# 1, because a fetch that gathered comes a whole gathering after it.
CLOSE_GATHERS = 1.5

# The group has moved on without this worker. The partition's new owner reads the records again and
# commits their offsets.
MEMBERSHIP_LOST = (IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError)


@dataclass(frozen=True, slots=True, eq=False)
class PositionStamp:
    """Identifies the start of reading from which a partition's records were fetched.

    A new assignment and a seek each restart a partition at another position. Records with an
    earlier stamp are read again and must not be used.
    """

    assignment: Any
    seeks: int

    def same_start(self, other: "PositionStamp") -> bool:
        """Return whether both belong to one uninterrupted reading of the partition."""
        return self.assignment is other.assignment and self.seeks == other.seeks


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProgress:
    """A partition's end, the next offset to fetch, and when the broker answered (epoch seconds).

    Each is None while unknown.
    """

    end: int | None
    position: int | None
    answered_at: float | None


@dataclass(frozen=True, slots=True, eq=False)
class FetchedBatch:
    """Records of one partition in offset order, from fetch `number` (0, 1, …) since the start."""

    stamp: PositionStamp
    number: int
    records: list[Any]


class BatchConsumerThread(driver.AIOKafkaConsumerThread):
    """The stock thread, but read-committed, with stamped fetches and generation-checked commits."""

    mundane_level = "debug"  # no message for starting and stopping

    def __post_init__(self) -> None:
        super().__post_init__()
        self._seeks: dict[TP, int] = {}
        self._fetched: dict[TP, FetchedBatch] = {}
        self._gathers = False
        self._fetched_at = float("-inf")

    @property
    def limits(self) -> TransportLimits:
        """The limits of the transport this thread belongs to."""
        limits: TransportLimits = self.transport.limits
        return limits

    def member_id(self) -> str:
        """This consumer's id in its group."""
        return str(self._ensure_consumer()._coordinator.member_id)

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        """Create the consumer like the stock driver, with the differences in the comments below.

        Raises ConfigurationError for an app whose settings this transport cannot honour.
        """
        conf = self.app.conf
        refuse_unfit_app(self.app)
        self._assignor = RoundRobinPartitionAssignor
        return aiokafka.AIOKafkaConsumer(
            client_id=conf.broker_client_id,
            group_id=conf.id,
            group_instance_id=conf.consumer_group_instance_id,
            bootstrap_servers=driver.server_list(transport.url, transport.default_port),
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=int(conf.broker_max_poll_interval * 1000.0),
            max_partition_fetch_bytes=conf.consumer_max_fetch_size,
            # The stock driver waits 1.5 s and uses the client's default of 50 MB.
            fetch_max_wait_ms=self.limits.idle_wait_milliseconds,
            fetch_min_bytes=1,
            fetch_max_bytes=self.limits.fetch_response_bytes_max,
            request_timeout_ms=int(conf.broker_request_timeout * 1000.0),
            check_crcs=conf.broker_check_crcs,
            session_timeout_ms=int(conf.broker_session_timeout * 1000.0),
            rebalance_timeout_ms=int(conf.broker_rebalance_timeout * 1000.0),
            heartbeat_interval_ms=int(conf.broker_heartbeat_interval * 1000.0),
            # The stock driver reads uncommitted records outside its own transactions: wrong totals.
            isolation_level="read_committed",
            metadata_max_age_ms=conf.consumer_metadata_max_age_ms,
            connections_max_idle_ms=conf.consumer_connections_max_idle_ms,
            **driver.credentials_to_aiokafka_auth(conf.broker_credentials, conf.ssl_context),
        )

    async def on_thread_stop(self) -> None:
        """Leave the group even as a static member, so that its partitions move without a timeout.

        The client keeps a static member in the group because it may return soon. But a worker that
        was told to stop may have been removed for good.
        """
        # Same as the driver's method, with one change between its two steps.
        await super(driver.AIOKafkaConsumerThread, self).on_thread_stop()
        if self._consumer is not None:
            self._consumer._coordinator._group_instance_id = None
            await self._consumer.stop()

    # -- reading

    def stamp(self, tp: TP) -> PositionStamp:
        """The stamp of the partition's current start."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        return PositionStamp(assignment, self._seeks.get(tp, 0))

    async def _fetch_records(
        self,
        consumer: aiokafka.AIOKafkaConsumer,
        active_partitions: set[TP],
        timeout: float | None = None,  # noqa: ASYNC109 - the driver's signature
        max_records: int | None = None,
    ) -> dict[TP, FetchedBatch]:
        gather_seconds = self.limits.gather_milliseconds / 1000
        if self._gathers and timeout is not None:
            # If nothing comes, the next request shall not gather.
            timeout = min(timeout, 2 * gather_seconds)
        fetched = await super()._fetch_records(consumer, active_partitions, timeout, max_records)
        # Nothing is awaited between taking the records and these lines, so the stamp is theirs, and
        # their broker was not asked for more yet.
        if fetched:
            now = monotonic()
            close = now - self._fetched_at < CLOSE_GATHERS * gather_seconds
            self._ask(consumer._fetcher, gather=close)
            self._fetched_at = now
        elif timeout is None or timeout >= 2 * gather_seconds:
            self._ask(consumer._fetcher, gather=False)
        return {tp: self._stamped(ensure_TP(tp), fetched[tp]) for tp in fetched}

    def _ask(self, fetcher: Any, *, gather: bool) -> None:
        """Make brokers gather records from the next request on, or answer the first one at once."""
        limits = self.limits
        self._gathers = gather
        # Brokers count no more of a partition, or in all, than they may send.
        most = min(fetcher._max_partition_fetch_bytes, limits.fetch_response_bytes_max)
        fetcher._fetch_min_bytes = min(limits.gather_bytes, most) if gather else 1
        fetcher._fetch_max_wait_ms = (
            limits.gather_milliseconds if gather else limits.idle_wait_milliseconds
        )

    def _stamped(self, tp: TP, records: list[Any]) -> FetchedBatch:
        stamp = self.stamp(tp)
        before = self._fetched.get(tp)
        number = before.number + 1 if before and before.stamp.same_start(stamp) else 0
        batch = FetchedBatch(stamp, number, records)
        # Do not keep the records, only how far this start has been read.
        self._fetched[tp] = FetchedBatch(stamp, number, [])
        return batch

    def last_fetched(self, tp: TP) -> FetchedBatch | None:
        """The partition's last fetch of this start, without its records; None before the first."""
        last = self._fetched.get(tp)
        return last if last is not None and last.stamp.same_start(self.stamp(tp)) else None

    async def stay_member(self) -> None:
        """Prevent the group from expelling this worker while it cannot fetch anything."""
        await self.call_thread(self._note_activity)

    async def _note_activity(self) -> None:
        with self._ensure_consumer()._subscription.fetch_context():
            pass

    def progress(self, tp: TP) -> "PartitionProgress | None":
        """The broker's latest report on an assigned partition; None for any other partition."""
        subscription = self._ensure_consumer()._subscription.subscription
        assignment = None if subscription is None else subscription.assignment
        if assignment is None or driver.ensure_aiokafka_TP(tp) not in assignment.tps:
            return None
        state = assignment.state_value(driver.ensure_aiokafka_TP(tp))
        return PartitionProgress(
            end=state.highwater,
            position=state._position,
            answered_at=None if state.timestamp is None else state.timestamp / 1000,
        )

    # -- positions

    def seek(self, partition: TP, offset: int) -> None:
        """Seek to an offset; records fetched before are stale."""
        super().seek(partition, offset)
        self._seeks[partition] = self._seeks.get(partition, 0) + 1

    async def seek_to_committed(self) -> Mapping[TP, int | None]:
        """Seek every assigned partition to its committed offset; None: to the beginning.

        An offset of an earlier topic of that name is none: it says nothing about this topic. The
        stock seek does not move a partition without a committed offset. Records that were
        fetched and dropped would then never be read again. Raises KafkaError or TimeoutError; some
        partitions may have been moved by then.
        """
        async with asyncio.timeout(self._patience_seconds + CALL_SECONDS):
            committed: Mapping[TP, int | None] = await self.call_thread(self._seek_to_committed)
        return committed

    @property
    def _patience_seconds(self) -> float:
        return self.limits.answer_timeout_milliseconds / 1000

    async def _seek_to_committed(self) -> Mapping[TP, int | None]:
        consumer = self._ensure_consumer()
        fetch_committed = consumer._coordinator.fetch_committed_offsets
        found: dict[TP, int | None] = {}
        # A call that waits for a dead broker must not block one of the thread's few workers.
        async with asyncio.timeout(self._patience_seconds):
            for partition in consumer.assignment():
                tp = ensure_TP(partition)
                committed = (await fetch_committed([partition])).get(partition)
                offset = self._in_this_topic(tp, committed)
                # No await between this and the seek, so that no fetch comes between them.
                self._seeks[tp] = self._seeks.get(tp, 0) + 1
                if offset is None:
                    await consumer.seek_to_beginning(partition)
                else:
                    consumer.seek(partition, offset)
                found[tp] = offset
        return found

    def _in_this_topic(self, tp: TP, committed: OffsetAndMetadata | None) -> int | None:
        """The committed offset, unless it was committed in another topic of the same name."""
        if committed is None:
            return None
        topic_id = self._topic_id(tp)
        if committed.metadata and topic_id and committed.metadata != topic_id:
            logger.warning("%s was made anew; reading it from its beginning", describe([tp]))
            return None
        return int(committed.offset)

    def _topic_id(self, tp: TP) -> str:
        topic_ids: Mapping[str, str] = self.transport.topic_ids
        return topic_ids.get(tp.topic, "")

    # -- committing

    async def commit_in_generation(self, offsets: Mapping[TP, int], generation: int) -> bool:
        """Commit offsets unless the group has moved on since `generation`; True when stored.

        Tries once; the caller retries. Raises KafkaError for errors that a retry cannot cure.
        """
        try:
            # A second timeout: all workers of the thread may be waiting for a rebalance to end.
            async with asyncio.timeout(self._patience_seconds + CALL_SECONDS):
                stored: bool = await self.call_thread(self._commit_once, offsets, generation)
                return stored
        except TimeoutError:
            logger.warning("Commit timed out; the next commit retries it")
        except MEMBERSHIP_LOST as error:
            logger.info("Commit refused because the group is rebalancing: %s", type(error).__name__)
        except KafkaError as error:
            if not error.retriable:
                raise
            logger.warning("Commit failed; the next commit retries it: %r", error)
        return False

    async def _commit_once(self, offsets: Mapping[TP, int], generation: int) -> bool:
        async with asyncio.timeout(self._patience_seconds):
            if not await self._try_to_commit(offsets, generation):
                return False
        self.tp_last_committed_at.update(dict.fromkeys(offsets, monotonic()))
        return True

    async def _try_to_commit(self, offsets: Mapping[TP, int], generation: int) -> bool:
        consumer = self._ensure_consumer()
        coordinator = consumer._coordinator
        await coordinator.ensure_coordinator_known()
        async with coordinator._commit_lock:
            # Nothing is awaited from here to the request. The client's own commit retries across
            # rebalances with whatever generation is current then. It can move a partition's offset
            # backwards after another worker has moved it forwards.
            assigned = self.assignment()
            if coordinator.generation != generation or not offsets.keys() <= assigned:
                return False
            request = {
                driver.ensure_aiokafka_TP(tp): OffsetAndMetadata(offset, self._topic_id(tp))
                for tp, offset in offsets.items()
            }
            assignment = consumer._subscription.subscription.assignment
            await asyncio.shield(coordinator._do_commit_offsets(assignment, request))
        return True


def refuse_unfit_app(app: Any) -> None:
    """Raise ConfigurationError for settings with which this transport would lose records."""
    if app.tables:
        raise ConfigurationError(
            "Faust tables cannot be recovered through the batch transport; keep state elsewhere"
        )
    if app.conf.stream_wait_empty:
        raise ConfigurationError(
            "stream_wait_empty hangs on unacknowledged batches; set it to False"
        )
    if app.conf.consumer_auto_offset_reset != "earliest":
        raise ConfigurationError(
            "consumer_auto_offset_reset other than earliest skips records; set it to earliest"
        )
    if app.conf.processing_guarantee != ProcessingGuarantee.AT_LEAST_ONCE:
        raise ConfigurationError(
            "processing_guarantee exactly_once is not supported; set it to at_least_once"
        )
