"""Join the batches of all partitions into flushes: how much to write at once, and when.

An insert costs the same few milliseconds for one row as for thousands, so the busier the stream,
the longer it pays to wait. Pure bookkeeping: no clock, no task, no socket; whoever calls says what
time it is. It must never drop a record of a batch that is still ours, nor reorder a partition.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

Record = Any
"""A Kafka record as the client gives it: topic, partition, offset, timestamp, key, value."""

RATE_MEMORY_SECONDS = 1.0
"""How far back the rate of records looks: long enough to span a flush, short enough to notice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Records of one partition in the order of their offsets, to be acknowledged as one.

    `acknowledge` tells the transport that they are done. `is_current` is False once the partition
    was taken away, or fetched anew: the records come again, here or elsewhere.
    """

    topic: str
    partition: int
    records: list[Record]
    acknowledge: Callable[[], object]
    is_current: Callable[[], bool]

    def release(self) -> None:
        """Forget the records, also for whoever else holds the list; the ack needs none of them."""
        self.records.clear()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flush:
    """What is written together: records, and the batches that are complete with it."""

    records: list[Record]
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalescerLimits:
    """`linger_seconds` is reached at `busy_records_per_second` and proportional below it."""

    rows_max: int
    linger_seconds: float
    busy_records_per_second: float

    def __post_init__(self) -> None:
        assert self.rows_max > 0
        assert self.linger_seconds >= 0
        assert self.busy_records_per_second > 0


class Coalescer:
    """Batches that wait for their flush, oldest first."""

    def __init__(self, limits: CoalescerLimits) -> None:
        self._limits = limits
        self._waiting: deque[Batch] = deque()
        self._taken_of_first = 0  # records of the first batch that earlier flushes took
        self._rows = 0
        self._last_start = float("-inf")
        self._rate = 0.0
        self._rate_at = 0.0

    @property
    def rows(self) -> int:
        """Records waiting."""
        return self._rows

    @property
    def is_full(self) -> bool:
        """Whether a whole flush is waiting."""
        return self._rows >= self._limits.rows_max

    def add(self, batch: Batch, now: float) -> None:
        """Let a batch wait for the next flush."""
        self._waiting.append(batch)
        self._rows += len(batch.records)
        self._rate = self._rate_now(now) + len(batch.records) / RATE_MEMORY_SECONDS
        self._rate_at = now

    def linger(self, now: float) -> float:
        """Seconds to leave between the starts of two flushes that are not full, at this load."""
        share = self._rate_now(now) / self._limits.busy_records_per_second
        return self._limits.linger_seconds * min(1.0, share)

    def due_in(self, now: float) -> float | None:
        """Seconds until what waits may be flushed without being full; None: nothing waits.

        Counted from the start of the last flush, so that after a quiet time nothing waits at all.
        """
        if not self._rows:
            return None
        return max(0.0, self._last_start + self.linger(now) - now)

    def take(self, now: float) -> Flush | None:
        """The next flush, at most `rows_max` records, oldest first; None when nothing waits.

        A batch too large for what is left of a flush is split; it belongs to the flush that takes
        its last record. Batches that are no longer ours are dropped, unacknowledged.
        """
        records: list[Record] = []
        complete: list[Batch] = []
        while self._waiting and len(records) < self._limits.rows_max:
            batch = self._waiting[0]
            if not batch.is_current():
                self._drop_first()
                continue
            start = self._taken_of_first
            stop = min(len(batch.records), start + self._limits.rows_max - len(records))
            records.extend(batch.records[start:stop])
            self._rows -= stop - start
            if stop < len(batch.records):
                self._taken_of_first = stop
            else:
                complete.append(batch)
                self._waiting.popleft()
                self._taken_of_first = 0
        assert self._rows >= 0
        if not records and not complete:
            return None
        self._last_start = now
        return Flush(records=records, batches=tuple(complete))

    def clear(self) -> None:
        """Drop all that waits: it was never acknowledged, so it will be read again."""
        self._waiting.clear()
        self._taken_of_first = 0
        self._rows = 0

    def _drop_first(self) -> None:
        batch = self._waiting.popleft()
        self._rows -= len(batch.records) - self._taken_of_first
        self._taken_of_first = 0

    def _rate_now(self, now: float) -> float:
        """Records per second of about the last second, fading as time passes."""
        elapsed = max(0.0, now - self._rate_at)
        return self._rate * exp(-elapsed / RATE_MEMORY_SECONDS)
