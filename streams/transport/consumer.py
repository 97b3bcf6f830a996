"""The batch consumer: one Faust message per fetched partition batch, committed strictly in order.

It stands between Kafka and the streams. It must never commit past a batch that a stream has not
acknowledged, never exceed the limits of `limits.py`, and never lose a fetched record: what cannot
be handed out is fetched again.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from operator import attrgetter
from time import monotonic
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import ack_lock

from streams.transport.health import ConsumerHealth, describe
from streams.transport.limits import TransportLimits
from streams.transport.offsets import Delivery, OffsetTracker
from streams.transport.thread import BatchConsumerThread, FetchedBatch, PositionStamp

logger = logging.getLogger("purser.transport")

FETCH_WAIT_SECONDS = 1.0
# How often to check whether partitions that are held back have room again.
HELD_BACK_WAIT_SECONDS = 0.02
RETRY_WAIT_SECONDS = 0.5
# Memory of a record besides its key and value; 335 were measured.
RECORD_OVERHEAD_BYTES = 350
COMMITS_TO_BE_SURE = 2  # one may already be running, without the last acknowledgements


class BatchMessage(ConsumerMessage):
    """A batch as a Faust message: `value` is the list of records, `offset` that of the last one."""

    delivery: Delivery[TP]


class BatchConsumer(driver.Consumer):
    """Faust's Kafka consumer with batches as messages and its own acknowledgement tracker."""

    _thread: BatchConsumerThread
    mundane_level = "debug"  # no message for starting and stopping

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._tracker: OffsetTracker[TP] = OffsetTracker(clock=monotonic)
        self._handed_out: dict[TP, tuple[PositionStamp, int]] = {}
        self._room = asyncio.Event()
        self._last_commit_at: float | None = None
        self._records_total = 0
        self._batches_total = 0
        self._commits_total = 0
        self._commit_failures_total = 0
        self._rewinds_total = 0

    @property
    def limits(self) -> TransportLimits:
        """The limits of the transport this consumer belongs to."""
        limits: TransportLimits = self.transport.limits
        return limits

    def _new_consumer_thread(self) -> BatchConsumerThread:
        return BatchConsumerThread(self, loop=self.loop, beacon=self.beacon)

    # -- fetching

    async def _drain_messages(self, fetcher: Any) -> None:
        """Hand batches to the streams until the consumer or the fetcher stops.

        Replaces the stock loop, which drops messages that it believes were already read. A dropped
        batch would hold back its partition's commit for ever.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(timeout=FETCH_WAIT_SECONDS):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise

    async def getmany(
        self,
        timeout: float,  # noqa: ASYNC109 - the driver's signature
    ) -> AsyncIterator[tuple[TP, BatchMessage]]:
        """Fetch once and yield a message for each partition that had records."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        active = set(self._get_active_partitions())
        if not active:
            await self.sleep(FETCH_WAIT_SECONDS)
            return
        if not self._is_in_step(active) and not await self._go_back():
            return
        roomy = self._with_room(active)
        if not roomy:
            await self._wait_for_room(timeout)
            return
        wait = timeout if roomy == active else min(timeout, HELD_BACK_WAIT_SECONDS)
        fetched: Mapping[TP, FetchedBatch] = await self._getmany(roomy, wait)
        for tp, batch in fetched.items():
            if self.should_stop or not self.flow_active:
                # The batch is dropped. The next call notices, because the thread counted the fetch.
                return
            if self._is_next(tp, batch):
                yield tp, self._to_batch_message(tp, batch)

    def _is_next(self, tp: TP, batch: FetchedBatch) -> bool:
        """Return whether the batch follows the last one handed out; if not, it is fetched again."""
        if tp not in self._tracker or not batch.stamp.same_start(self._thread.stamp(tp)):
            return False
        return batch.number == self._next_number(tp, batch.stamp)

    def _next_number(self, tp: TP, stamp: PositionStamp) -> int:
        before = self._handed_out.get(tp)
        return before[1] + 1 if before is not None and before[0].same_start(stamp) else 0

    def _is_in_step(self, active: Iterable[TP]) -> bool:
        """Return whether every fetched batch of the active partitions was handed out.

        This is not so if a fetch returned while the flow was stopped, if its task was cancelled, or
        if seeking to the committed offsets failed.
        """
        for tp in active:
            last = self._thread.last_fetched(tp)
            if tp not in self._tracker:
                return False
            if last is not None and last.number >= self._next_number(tp, last.stamp):
                return False
        return True

    async def _go_back(self) -> bool:
        """Read again from the committed offsets; False if that failed and must be retried."""
        self._rewinds_total += 1
        await self.perform_seek()
        if self._tracker.partitions():
            return True
        await self.sleep(RETRY_WAIT_SECONDS)
        return False

    def _to_batch_message(self, tp: TP, batch: FetchedBatch) -> BatchMessage:
        records = batch.records
        first, last = records[0], records[-1]
        self._handed_out[tp] = (batch.stamp, batch.number)
        self._records_total += len(records)
        self._batches_total += 1
        self.app.monitor.track_tp_end_offset(tp, self.highwater(tp))
        message = BatchMessage(
            last.topic,
            last.partition,
            last.offset,
            last.timestamp / 1000.0,
            last.timestamp_type,
            [],
            None,
            records,
            None,
            tp=tp,
            generation_id=self.app.consumer_generation_id,
        )
        message.delivery = self._tracker.deliver(
            tp,
            offset_first=first.offset,
            offset_last=last.offset,
            record_count=len(records),
            byte_count=memory_of(records),
        )
        return message

    # -- back-pressure

    def _with_room(self, active: set[TP]) -> set[TP]:
        """The partitions that may be fetched from under the in-flight limits."""
        limits = self.limits
        if self._tracker.bytes_in_flight >= limits.in_flight_bytes_max:
            return set()
        batches_in_flight = self._tracker.batches_in_flight
        return {tp for tp in active if batches_in_flight(tp) < limits.in_flight_batches_max}

    async def _wait_for_room(self, seconds: float) -> None:
        self._room.clear()
        # The group expels a member that does not fetch for a long time.
        await self._thread.stay_member()
        try:
            async with asyncio.timeout(seconds):
                await self._room.wait()
        except TimeoutError:
            pass

    # -- acknowledging

    def ack(self, message: Any) -> bool:
        """Mark a batch as done by its stream; True if it was not marked before.

        Has no effect if the batch's partition was revoked or sought since, or if the batch was
        skipped: during a rebalance, a stream also acknowledges the batches that it skips.
        """
        with ack_lock:
            if not isinstance(message, BatchMessage) or self._was_skipped(message):
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            news = self._tracker.acknowledge(message.delivery)
        if news:
            self.loop.call_soon_threadsafe(self._room.set)
        return news

    def _was_skipped(self, message: BatchMessage) -> bool:
        if not message.tracked:
            return True
        # With several streams, one may have skipped a batch that another one received.
        streams = len(self.app.topics._tp_index.get(message.tp, ()))
        return streams > 1 and not self.app.flow_control.is_active()

    # -- committing

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (
            tp
            for tp in self._tracker.partitions()
            if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        with ack_lock:
            return self._tracker.committable(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return True  # the tracker returns only offsets that are not committed yet

    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        # Read the generation before the first await: the offsets were computed in it.
        generation = self.app.consumer_generation_id
        await self.app.producer.flush()
        if not await self._thread.commit_in_generation(offsets, generation):
            self._commit_failures_total += 1
            return False
        for tp, offset in offsets.items():
            self._tracker.committed(tp, offset)
        self._committed_offset.update(offsets)
        self._commits_total += 1
        self._last_commit_at = monotonic()
        self.app.monitor.on_tp_commit(offsets)
        return True

    async def on_stop(self) -> None:
        """Commit everything acknowledged so far, then stop."""
        for _ in range(COMMITS_TO_BE_SURE):
            await self.commit()
        await super().on_stop()

    # -- positions and rebalances

    async def perform_seek(self) -> None:
        """Seek all partitions to their committed offsets; batches in flight become void."""
        self._tracker.forget(self._tracker.partitions())
        try:
            committed = await self._thread.seek_to_committed()
        except (KafkaError, TimeoutError) as error:
            # Not raised: Faust's recovery would treat it as the end of the service and never resume
            # the streams. `getmany` sees that the tracker was not started, and seeks again.
            logger.warning("Cannot seek to the committed offsets; retrying: %r", error)
            return
        for tp in committed.keys() & self.assignment():
            self._tracker.start(tp, committed[tp])
            self._committed_offset[tp] = committed[tp]
        self._room.set()

    async def seek(self, partition: TP, offset: int) -> None:
        """Seek to an offset; the partition's batches in flight become void.

        The committed offset moves only once this position passes it: it never goes back.
        """
        await super().seek(partition, offset)
        tp = ensure_TP(partition)
        if tp in self._tracker:
            self._tracker.start(tp, self._committed_offset[tp])
        self._room.set()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what was acknowledged and forget the rest: the partitions may move elsewhere."""
        if revoked:
            logger.info("Revoked: %s", describe(revoked))
        self.stop_flow()
        # This also waits for a running commit, so that none extends into the next generation.
        for _ in range(COMMITS_TO_BE_SURE):
            await self.commit()
        self._tracker.forget(revoked)
        for tp in revoked:
            self._handed_out.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Log the assignment; reading starts after Faust has sought the committed offsets."""
        logger.info("Assigned in generation %d: %s", generation_id, describe(assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: the stock check logs pages of guesses; see `health` instead."""

    # -- health

    def member_id(self) -> str:
        """This consumer's id in its group; empty before it has joined."""
        return self._thread.member_id()

    def next_offsets(self) -> dict[TP, int]:
        """Return each assigned partition's lowest offset that is not done, once it is known.

        When nothing is in flight this is the position, which passes transaction markers.
        """
        found = {}
        for tp in self.assignment():
            progress = self._thread.progress(tp)
            done = None if progress is None else progress.position
            if self._tracker.batches_in_flight(tp):
                done = self._tracker.next_offset(tp)
            if done is not None:
                found[tp] = done
        return found

    def lag(self) -> dict[TP, int]:
        """Return each assigned partition's end minus its lowest offset that is not done.

        Transaction markers count, as they do in offsets, except those behind the last record. A
        partition whose end or position is not known yet is left out.
        """
        found = {}
        for tp, done in self.next_offsets().items():
            progress = self._thread.progress(tp)
            if progress is not None and progress.end is not None:
                found[tp] = max(0, progress.end - done)
        return found

    def _seconds_since_answer(self) -> float | None:
        progress = (self._thread.progress(tp) for tp in self.assignment())
        answers = [each.answered_at for each in progress if each and each.answered_at is not None]
        return max(0.0, time.time() - max(answers)) if answers else None

    def health(self) -> ConsumerHealth:
        """Return a snapshot for metrics and the health endpoint."""
        last = self._last_commit_at
        return ConsumerHealth(
            lag=self.lag(),
            batches_in_flight={
                tp: self._tracker.batches_in_flight(tp) for tp in self._tracker.partitions()
            },
            records_in_flight=self._tracker.records_in_flight,
            bytes_in_flight=self._tracker.bytes_in_flight,
            seconds_unacknowledged=self._tracker.seconds_unacknowledged(),
            seconds_since_commit=None if last is None else monotonic() - last,
            seconds_since_answer=self._seconds_since_answer(),
            records_total=self._records_total,
            batches_total=self._batches_total,
            commits_total=self._commits_total,
            commit_failures_total=self._commit_failures_total,
            rewinds_total=self._rewinds_total,
        )


def memory_of(records: list[Any]) -> int:
    """Estimate the memory of a batch's records in bytes."""
    values = sum(map(attrgetter("serialized_value_size"), records))
    keys = sum(map(attrgetter("serialized_key_size"), records))
    # A missing key or value has size -1.
    return max(0, int(values + keys)) + RECORD_OVERHEAD_BYTES * len(records)
