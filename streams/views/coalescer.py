"""Combine the batches of all partitions into flushes: how much to write at once, and when.

An insert costs the same few milliseconds for one row as for thousands, so waiting pays more under
higher load, and when processors are busy, which shows in how long a flush takes. Pure bookkeeping:
no clock, no task, no socket; the caller passes the time. It must never drop a record of a current
batch, and never reorder a partition.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import exp
from typing import Any

Record = Any
"""A Kafka record in the client's form: topic, partition, offset, timestamp, key, value."""

RATE_MEMORY_SECONDS = 1.0
"""Averaging time of the record rate: long enough to span a flush, short enough to react."""

REST_SECONDS_MOST = 0.25
"""Longest rest after a flush. One that was retried for a minute must not delay the next as long."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """Records of one partition in offset order, acknowledged as a whole.

    `acknowledge` marks them as done in the transport. `is_current` returns False once the partition
    was revoked or is read again: the records then arrive again, here or elsewhere.
    """

    topic: str
    partition: int
    records: list[Record]
    acknowledge: Callable[[], object]
    is_current: Callable[[], bool]

    def release(self) -> None:
        """Empty the list of records, also for others that hold it; the ack does not need them."""
        self.records.clear()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Flush:
    """Records that are written together, and the batches that are complete with them."""

    records: list[Record]
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoalescerLimits:
    """The linger is `linger_seconds` from `busy_records_per_second` on, proportional below it."""

    rows_max: int
    linger_seconds: float
    busy_records_per_second: float

    def __post_init__(self) -> None:
        assert self.rows_max > 0
        assert self.linger_seconds >= 0
        assert self.busy_records_per_second > 0


class Coalescer:
    """Batches that wait to be flushed, oldest first."""

    def __init__(self, limits: CoalescerLimits) -> None:
        self._limits = limits
        self._waiting: deque[Batch] = deque()
        self._taken_of_first = 0  # records of the first batch that earlier flushes contain
        self._rows = 0
        self._last_start = float("-inf")
        self._rest_until = float("-inf")
        self._rate = 0.0
        self._rate_at = 0.0

    @property
    def rows(self) -> int:
        """Records waiting."""
        return self._rows

    @property
    def is_full(self) -> bool:
        """Whether the waiting records fill a flush."""
        return self._rows >= self._limits.rows_max

    def add(self, batch: Batch, now: float) -> None:
        """Add a batch to the waiting ones."""
        self._waiting.append(batch)
        self._rows += len(batch.records)
        self._rate = self._rate_now(now) + len(batch.records) / RATE_MEMORY_SECONDS
        self._rate_at = now

    def linger(self, now: float) -> float:
        """Return the seconds between the starts of two flushes that are not full, at this load."""
        share = self._rate_now(now) / self._limits.busy_records_per_second
        return self._limits.linger_seconds * min(1.0, share)

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a flush that is not full is due; None if nothing waits.

        The linger counts from the start of the last flush and the rest from its end, so that after
        a quiet time nothing has to wait.
        """
        if not self._rows:
            return None
        return max(0.0, self._last_start + self.linger(now) - now, self._rest_until - now)

    def written(self, now: float) -> None:
        """Rest for as long as the flush took that was written now.

        Flushes take long when processors are busy. Fewer and larger ones then leave more for
        others. The start of the last flush is used; if two were under way, this one began earlier.
        """
        self._rest_until = now + min(REST_SECONDS_MOST, now - self._last_start)

    def take(self, now: float) -> Flush | None:
        """Return the next flush of at most `rows_max` records, oldest first; None if nothing waits.

        A batch that does not fit is split and belongs to the flush that takes its last record.
        Batches that are no longer current are dropped without acknowledgement.
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
        """Drop all waiting batches: they were not acknowledged, so they are read again."""
        self._waiting.clear()
        self._taken_of_first = 0
        self._rows = 0

    def _drop_first(self) -> None:
        batch = self._waiting.popleft()
        self._rows -= len(batch.records) - self._taken_of_first
        self._taken_of_first = 0

    def _rate_now(self, now: float) -> float:
        """Return the records per second of about the last second; decays as time passes."""
        elapsed = max(0.0, now - self._rate_at)
        return self._rate * exp(-elapsed / RATE_MEMORY_SECONDS)
