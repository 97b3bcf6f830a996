"""The batch consumer: one Faust message per fetched partition batch, committed strictly in order.

It stands between Kafka and the streams. It must never let a commit pass a batch that a stream
has not acknowledged, never hold more than the named limits, and never drop a record that was
fetched: what cannot be handed out is fetched again.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from aiokafka.errors import KafkaError
from faust.transport.consumer import ensure_TP
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from faust.types.tuples import ack_lock

from streams.transport.ledger import Delivery, Ledger
from streams.transport.limits import TransportLimits
from streams.transport.thread import BatchConsumerThread, FetchedBatch, PositionStamp

FETCH_WAIT_SECONDS = 1.0
# With some partitions held back, look again this often whether they have room.
HELD_BACK_WAIT_SECONDS = 0.02
RETRY_WAIT_SECONDS = 0.5
FINAL_COMMITS_MAX = 2  # one may be under way already, and not have the last acknowledgements


class BatchMessage(ConsumerMessage):
    """A batch as Faust's message: `value` is the list of its records, `offset` the last one's."""

    delivery: Delivery[TP]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHealth:
    """What an operator and the metrics want to know; times in seconds."""

    lag: Mapping[TP, int]
    """Records (and transaction markers) per assigned partition that are not done yet."""
    batches_in_flight: Mapping[TP, int]
    records_in_flight: int
    seconds_unacknowledged: float
    """Age of the oldest batch that the stream has not acknowledged."""
    seconds_since_commit: float | None
    """None before the first commit of this process."""
    records_total: int
    batches_total: int
    commits_total: int
    commit_failures_total: int
    rewinds_total: int


class BatchConsumer(driver.Consumer):
    """Faust's Kafka consumer with batches for messages and its own acknowledgement ledger."""

    _thread: BatchConsumerThread

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ledger: Ledger[TP] = Ledger(clock=monotonic)
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

        Replaces the stock loop, which drops what it takes for already read; a batch dropped there
        would hold back its partition's commit for ever.
        """
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(timeout=FETCH_WAIT_SECONDS):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.transport.app.should_stop:
                raise
            self.log.info("Consumer is closed, stopping")
        except asyncio.CancelledError:
            if not self.transport.app.should_stop:
                raise
            self.log.info("Cancelled, stopping")

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
        if not await self._read_again_what_was_dropped(active):
            return
        roomy = self._with_room(active)
        if not roomy:
            await self._wait_for_room(timeout)
            return
        wait = timeout if roomy == active else min(timeout, HELD_BACK_WAIT_SECONDS)
        fetched: Mapping[TP, FetchedBatch] = await self._getmany(roomy, wait)
        for tp, batch in fetched.items():
            if self.should_stop or not self.flow_active:
                # Dropped, and noticed by the next call: the fetch was counted by the thread.
                return
            if self._is_next(tp, batch):
                yield tp, self._to_batch_message(tp, batch)

    def _is_next(self, tp: TP, batch: FetchedBatch) -> bool:
        """Whether the batch follows what was handed out last; anything else is fetched again."""
        if tp not in self._ledger or not batch.stamp.same_start(self._thread.stamp(tp)):
            return False
        return batch.number == self._next_number(tp, batch.stamp)

    def _next_number(self, tp: TP, stamp: PositionStamp) -> int:
        before = self._handed_out.get(tp)
        return before[1] + 1 if before is not None and before[0].same_start(stamp) else 0

    async def _read_again_what_was_dropped(self, active: Iterable[TP]) -> bool:
        """Go back to the committed offsets if the thread fetched what nobody was handed.

        That happens when a fetch comes back while the flow is stopped or its task is cancelled.
        Returns False when going back failed; nothing may be fetched before it succeeds.
        """
        for tp in active:
            last = self._thread.last_fetched(tp)
            if last is not None and last.number >= self._next_number(tp, last.stamp):
                break
        else:
            return True
        self.log.info("Reading again from the committed offsets, a fetch was not handed out")
        self._rewinds_total += 1
        try:
            await self.perform_seek()
        except KafkaError as error:
            self.log.warning("Cannot go back to the committed offsets, trying again: %r", error)
            await self.sleep(RETRY_WAIT_SECONDS)
            return False
        return True

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
        message.delivery = self._ledger.deliver(
            tp, offset_first=first.offset, offset_last=last.offset, record_count=len(records)
        )
        return message

    # -- back-pressure

    def _with_room(self, active: set[TP]) -> set[TP]:
        """The partitions that may be fetched from, by the limits on what is in flight."""
        limits = self.limits
        if self._ledger.records_in_flight >= limits.in_flight_records_max:
            return set()
        batches_in_flight = self._ledger.batches_in_flight
        return {tp for tp in active if batches_in_flight(tp) < limits.in_flight_batches_max}

    async def _wait_for_room(self, seconds: float) -> None:
        self._room.clear()
        # A group member that does not fetch for long is put out of the group.
        await self._thread.stay_member()
        try:
            async with asyncio.timeout(seconds):
                await self._room.wait()
        except TimeoutError:
            pass

    # -- acknowledging

    def ack(self, message: Any) -> bool:
        """Note that a stream is done with a batch; True when that was news.

        Without effect for a batch whose partition was revoked or sought since, and for one that
        was skipped instead of handed out: a stream acknowledges what it skips during a rebalance.
        """
        with ack_lock:
            if not isinstance(message, BatchMessage) or self._was_skipped(message):
                return False
            message.acked = True
            self._unacked_messages.discard(message)
            news = self._ledger.acknowledge(message.delivery)
        if news:
            self._n_acked += 1
            self.loop.call_soon_threadsafe(self._room.set)
        return news

    def _was_skipped(self, message: BatchMessage) -> bool:
        if not message.tracked:
            return True
        # Among several streams, one may have skipped what another one was handed.
        streams = len(self.app.topics._tp_index.get(message.tp, ()))
        return streams > 1 and not self.app.flow_control.is_active()

    # -- committing

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return (
            tp
            for tp in self._ledger.partitions()
            if topics is None or tp in topics or tp.topic in topics
        )

    def _new_offset(self, tp: TP) -> int | None:
        with ack_lock:
            return self._ledger.committable(tp)

    def _should_commit(self, tp: TP, offset: int) -> bool:
        return True  # the ledger names no offset that is committed already

    async def _commit_offsets(
        self, offsets: Mapping[TP, int], start_new_transaction: bool = True
    ) -> bool:
        # The generation is taken before anything is awaited: the offsets were computed in it.
        generation = self.app.consumer_generation_id
        await self.app.producer.flush()
        current = {tp: offset for tp, offset in offsets.items() if self._new_offset(tp) == offset}
        if not current:
            return False
        if not await self._thread.commit_in_generation(current, generation):
            self._commit_failures_total += 1
            return False
        for tp, offset in current.items():
            self._ledger.committed(tp, offset)
        self._committed_offset.update(current)
        self._commits_total += 1
        self._last_commit_at = monotonic()
        self.app.monitor.on_tp_commit(current)
        return True

    async def on_stop(self) -> None:
        """Commit what was acknowledged until now, then stop."""
        for _ in range(FINAL_COMMITS_MAX):
            await self.commit()
        await super().on_stop()

    # -- positions and rebalances

    async def perform_seek(self) -> None:
        """Go back to the committed offsets of all partitions; batches in flight are void."""
        committed = await self._thread.seek_to_committed()
        for tp, offset in committed.items():
            self._ledger.start(tp, offset)
            self._committed_offset[tp] = offset
        self._room.set()

    async def seek(self, partition: TP, offset: int) -> None:
        """Go to an offset; the partition's batches in flight are void.

        The committed offset follows once it is passed: it never goes back.
        """
        await super().seek(partition, offset)
        tp = ensure_TP(partition)
        self._ledger.start(tp, self._committed_offset[tp])
        self._room.set()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Commit what was acknowledged, forget the rest: the partitions may go elsewhere."""
        self.stop_flow()
        # Also waits for a commit under way, so that none reaches over into the next generation.
        for _ in range(FINAL_COMMITS_MAX):
            await self.commit()
        self._ledger.forget(revoked)
        for tp in revoked:
            self._handed_out.pop(tp, None)
        await super().on_partitions_revoked(revoked)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: the stock check writes pages of guesses to the log; see `health`."""

    # -- health

    def lag(self) -> dict[TP, int]:
        """Per assigned partition: end of the partition minus the lowest offset not done.

        Counts transaction markers, as offsets do, but not those behind the last record. A partition
        whose end or position is not known yet is left out.
        """
        found = {}
        for tp in self.assignment():
            end, position = self._thread.end_and_position(tp)
            done = self._ledger.next_offset(tp) if self._ledger.batches_in_flight(tp) else position
            if end is not None and done is not None:
                found[tp] = max(0, end - done)
        return found

    def health(self) -> ConsumerHealth:
        """A snapshot for metrics and the health endpoint."""
        last = self._last_commit_at
        return ConsumerHealth(
            lag=self.lag(),
            batches_in_flight={
                tp: self._ledger.batches_in_flight(tp) for tp in self._ledger.partitions()
            },
            records_in_flight=self._ledger.records_in_flight,
            seconds_unacknowledged=self._ledger.seconds_unacknowledged(),
            seconds_since_commit=None if last is None else monotonic() - last,
            records_total=self._records_total,
            batches_total=self._batches_total,
            commits_total=self._commits_total,
            commit_failures_total=self._commit_failures_total,
            rewinds_total=self._rewinds_total,
        )
