"""Offset tracking: which offset of a partition may be committed. Pure bookkeeping.

The consumer registers every batch that it hands to a stream. The stream acknowledges batches in any
order. A commit asks how far each partition is done. The tracker knows neither Faust nor Kafka, and
no clock except the one passed in. It must never return an offset above a batch that was handed out
and not acknowledged.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Partition = TypeVar("Partition", bound=Hashable)


@dataclass(slots=True, eq=False)
class Delivery(Generic[Partition]):
    """One batch handed to a stream: its offsets (inclusive), its size, when it was handed out."""

    partition: Partition
    offset_first: int
    offset_last: int
    record_count: int
    byte_count: int
    delivered_at: float
    acknowledged: bool = False


@dataclass(slots=True, eq=False)
class _Partition(Generic[Partition]):
    """State of one partition since its last start; offsets are exclusive ends."""

    committed: int | None
    done_to: int | None = None
    in_flight: deque[Delivery[Partition]] = field(default_factory=deque)


class OffsetTracker(Generic[Partition]):
    """Deliveries in flight, and the offsets that may be committed.

    A partition must be started before a batch of it can be delivered. Forgetting or restarting it
    voids all earlier deliveries: acknowledging one of them has no effect, because its records are
    fetched again, here or by another worker.
    """

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._partitions: dict[Partition, _Partition[Partition]] = {}
        self._records_in_flight = 0
        self._bytes_in_flight = 0

    def start(self, partition: Partition, committed: int | None) -> None:
        """Start at the committed offset (None if there is none) and void earlier deliveries."""
        self.forget([partition])
        self._partitions[partition] = _Partition(committed=committed)

    def forget(self, partitions: Iterable[Partition]) -> None:
        """Drop partitions that are no longer assigned to this worker."""
        for partition in partitions:
            state = self._partitions.pop(partition, None)
            for each in state.in_flight if state is not None else ():
                if not each.acknowledged:
                    self._count(each, -1)

    def __contains__(self, partition: Partition) -> bool:
        return partition in self._partitions

    def deliver(
        self,
        partition: Partition,
        *,
        offset_first: int,
        offset_last: int,
        record_count: int,
        byte_count: int,
    ) -> Delivery[Partition]:
        """Register a batch that is about to be handed out; KeyError for a partition not started."""
        assert 0 <= offset_first <= offset_last
        assert record_count > 0
        assert byte_count >= 0
        delivery = Delivery(
            partition=partition,
            offset_first=offset_first,
            offset_last=offset_last,
            record_count=record_count,
            byte_count=byte_count,
            delivered_at=self._clock(),
        )
        self._partitions[partition].in_flight.append(delivery)
        self._count(delivery, +1)
        return delivery

    def _count(self, delivery: Delivery[Partition], sign: int) -> None:
        self._records_in_flight += sign * delivery.record_count
        self._bytes_in_flight += sign * delivery.byte_count

    def acknowledge(self, delivery: Delivery[Partition]) -> bool:
        """Mark a batch as done; False if it was already, or if the delivery is void."""
        state = self._partitions.get(delivery.partition)
        # Compare identity, not offsets: the same batch may have been fetched again since.
        if state is None or all(each is not delivery for each in state.in_flight):
            return False
        if delivery.acknowledged:
            return False
        delivery.acknowledged = True
        self._count(delivery, -1)
        while state.in_flight and state.in_flight[0].acknowledged:
            done = state.in_flight.popleft().offset_last + 1
            state.done_to = done if state.done_to is None else max(state.done_to, done)
        return True

    def committable(self, partition: Partition) -> int | None:
        """Return the offset to commit (of the next record to read), or None if it has not moved.

        It is never above the first record of a batch in flight, and always above the committed
        offset.
        """
        state = self._partitions.get(partition)
        if state is None or state.done_to is None:
            return None
        # The first in flight is not always the lowest: a position can move backwards.
        unacknowledged = (each.offset_first for each in state.in_flight if not each.acknowledged)
        offset = min(unacknowledged, default=state.done_to)
        offset = min(offset, state.done_to)
        if state.committed is not None and offset <= state.committed:
            return None
        return offset

    def committed(self, partition: Partition, offset: int) -> None:
        """Record that the broker has stored this offset."""
        state = self._partitions.get(partition)
        if state is not None:
            state.committed = offset if state.committed is None else max(state.committed, offset)

    def partitions(self) -> list[Partition]:
        """The partitions that were started and not forgotten since."""
        return list(self._partitions)

    def batches_in_flight(self, partition: Partition) -> int:
        """Batches that hold back the partition's commit, with acknowledged ones behind them."""
        state = self._partitions.get(partition)
        return 0 if state is None else len(state.in_flight)

    @property
    def records_in_flight(self) -> int:
        """Records delivered and not acknowledged, of all partitions."""
        return self._records_in_flight

    @property
    def bytes_in_flight(self) -> int:
        """Memory of those records, as passed to `deliver`."""
        return self._bytes_in_flight

    def next_offset(self, partition: Partition) -> int | None:
        """The lowest offset that is not done; None if no delivery determines it."""
        state = self._partitions.get(partition)
        if state is None:
            return None
        lowest = min(
            (each.offset_first for each in state.in_flight if not each.acknowledged), default=None
        )
        return state.done_to if lowest is None else lowest

    def seconds_unacknowledged(self) -> float:
        """Age of the oldest unacknowledged delivery; 0.0 when there is none."""
        oldest = min(
            (
                each.delivered_at
                for state in self._partitions.values()
                for each in state.in_flight
                if not each.acknowledged
            ),
            default=None,
        )
        return 0.0 if oldest is None else max(0.0, self._clock() - oldest)
