"""The worker's health: its state and the judgement on it. No input or output.

A worker can look alive and do nothing. The judgement therefore depends on work done: a partition
has stalled if records wait in it and its next offset does not move. It has also stalled if no
worker reads it, and a topic that was made anew needs a worker that starts anew.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from streams.source_topic import SourceTopic


@dataclass(frozen=True, slots=True, kw_only=True)
class StallLimits:
    """Seconds without progress, while records wait, until the worker is unhealthy or exits.

    `exit_seconds` does not apply while a step is retried: retries have their own limit.
    `unread_exit_seconds` is for partitions that no worker has. It is longer than a rebalance.
    """

    unhealthy_seconds: float
    exit_seconds: float
    unread_exit_seconds: float


@dataclass(slots=True)
class PartitionProgress:
    """One assigned partition: lag in records, lowest offset not done, when that last moved."""

    lag: int
    next_offset: int
    moved_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`reasons` is empty for a healthy worker; `stalled` is why it should exit, or None."""

    reasons: tuple[str, ...]
    stalled: str | None

    @property
    def healthy(self) -> bool:
        """Whether the worker is healthy."""
        return not self.reasons


@dataclass(slots=True)
class Health:
    """The worker's state; times are seconds of a monotonic clock."""

    limits: StallLimits
    topic: str
    topic_id: str
    """The topic that the worker began to read."""
    partitions: dict[int, PartitionProgress] = field(default_factory=dict)
    _no_topic: bool = False
    _made_anew: bool = False
    _unread_since: dict[int, float] = field(default_factory=dict)
    _retrying: dict[str, tuple[str, float]] = field(default_factory=dict)
    _starting: str | None = "starting"
    _failure: str | None = None
    _probe_failed: str | None = None

    def started(self) -> None:
        """The worker has passed all start-up checks."""
        self._starting = None

    def retrying(self, step: str, error: BaseException, now: float) -> None:
        """A step failed and will be retried."""
        since = self._retrying[step][1] if step in self._retrying else now
        self._retrying[step] = (str(error), since)

    def recovered(self, step: str, now: float) -> None:
        """A step succeeded after retries; the partitions' clocks restart."""
        self._retrying.pop(step, None)
        for partition in self.partitions.values():
            partition.moved_at = now

    def failed(self, error: BaseException) -> None:
        """The worker is about to exit."""
        self._failure = str(error)

    def probe_failed(self, error: BaseException) -> None:
        """Kafka did not answer; earlier values stay, but nobody can read a partition meanwhile."""
        self._probe_failed = str(error)
        self._unread_since.clear()

    def topic_looked(self, found: SourceTopic | None, read: Collection[int], now: float) -> None:
        """Record the topic (None: there is none), and the partitions that some worker reads."""
        self._no_topic = found is None
        self._made_anew = found is not None and found.topic_id != self.topic_id
        before, self._unread_since = self._unread_since, {}
        for partition in found.partitions - set(read) if found is not None else ():
            self._unread_since[partition] = before.get(partition, now)

    def looked(self, ends: Mapping[int, int], next_offsets: Mapping[int, int], now: float) -> None:
        """Record each partition's end (broker's) and lowest offset not done (consumer's).

        A partition missing from `next_offsets` is not assigned, or its position is not known yet.
        """
        self._probe_failed = None
        before, self.partitions = self.partitions, {}
        for partition, next_offset in next_offsets.items():
            lag = max(0, ends.get(partition, 0) - next_offset)
            known = before.get(partition)
            moved = known is None or known.next_offset != next_offset or known.lag == 0
            moved_at = now if known is None or moved else known.moved_at
            self.partitions[partition] = PartitionProgress(lag, next_offset, moved_at)

    def judge(self, now: float) -> Judgement:
        """Judge whether the worker is healthy, or has stalled so long that it must exit."""
        reasons = [text for text in (self._failure, self._starting) if text is not None]
        for step, (error, since) in self._retrying.items():
            reasons.append(f"{step} has been retried for {now - since:.1f} s: {error}")
        if self._probe_failed is not None:
            reasons.append(f"the lag is unknown: {self._probe_failed}")
        stalled = self._topic_reasons(reasons, now)
        for number, partition in sorted(self.partitions.items()):
            still = now - partition.moved_at if partition.lag else 0.0
            if still < self.limits.unhealthy_seconds:
                continue
            text = (
                f"partition {number} has been stuck at offset {partition.next_offset} "
                f"for {still:.1f} s with {partition.lag} records waiting"
            )
            reasons.append(text)
            if still >= self.limits.exit_seconds and not self._retrying:
                stalled = stalled or text
        return Judgement(reasons=tuple(reasons), stalled=stalled)

    def _topic_reasons(self, reasons: list[str], now: float) -> str | None:
        """Append what is wrong with the topic and its readers; return why the worker must exit."""
        stalled = None
        if self._no_topic:
            reasons.append(f"topic {self.topic} does not exist; `purser repair topic` makes it")
        if self._made_anew:
            stalled = f"topic {self.topic} was deleted and made anew; only a new worker reads it"
            reasons.append(stalled)
        for number, since in sorted(self._unread_since.items()):
            if now - since < self.limits.unhealthy_seconds:
                continue
            text = f"no worker has read partition {number} for {now - since:.1f} s"
            reasons.append(text)
            if now - since >= self.limits.unread_exit_seconds and not self._retrying:
                stalled = stalled or text
        return stalled

    def report(self, now: float) -> dict[str, Any]:
        """Return the body of `/health`: status, reasons, and each partition's progress."""
        judgement = self.judge(now)
        return {
            "status": "healthy" if judgement.healthy else "unhealthy",
            "reasons": list(judgement.reasons),
            "lag_records": sum(each.lag for each in self.partitions.values()),
            "partitions": {
                str(number): {
                    "lag_records": each.lag,
                    "next_offset": each.next_offset,
                    "seconds_since_progress": round(now - each.moved_at, 1) if each.lag else 0.0,
                }
                for number, each in sorted(self.partitions.items())
            },
        }
