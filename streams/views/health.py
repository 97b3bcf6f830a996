"""Is the worker well? What it reports of itself, and the judgement over it; no input or output.

A worker can look alive and do nothing, so the judgement rests on work done: records wait in a
partition and its next offset does not move.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class StallLimits:
    """Seconds without progress, while records wait, after which the worker is unhealthy, or ends.

    `exit_seconds` is not counted while a step is being tried again: that has its own limit.
    """

    unhealthy_seconds: float
    exit_seconds: float


@dataclass(slots=True)
class PartitionProgress:
    """One partition of ours: records behind, the lowest offset not done, when it last moved."""

    lag: int
    next_offset: int
    moved_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """`reasons` is empty for a healthy worker; `stalled` says why it should end, or is None."""

    reasons: tuple[str, ...]
    stalled: str | None

    @property
    def healthy(self) -> bool:
        """Whether all is well."""
        return not self.reasons


@dataclass(slots=True)
class Health:
    """What is known of the worker's state; times are a monotonic clock's seconds."""

    limits: StallLimits
    partitions: dict[int, PartitionProgress] = field(default_factory=dict)
    _retrying: dict[str, tuple[str, float]] = field(default_factory=dict)
    _starting: str | None = "starting"
    _failure: str | None = None
    _probe_failed: str | None = None

    def started(self) -> None:
        """Every check at the start is passed."""
        self._starting = None

    def retrying(self, step: str, error: BaseException, now: float) -> None:
        """A step failed and will be tried again."""
        since = self._retrying[step][1] if step in self._retrying else now
        self._retrying[step] = (str(error), since)

    def recovered(self, step: str, now: float) -> None:
        """A step has succeeded after tries that did not; the partitions' clocks begin anew."""
        self._retrying.pop(step, None)
        for partition in self.partitions.values():
            partition.moved_at = now

    def failed(self, error: BaseException) -> None:
        """The worker ends."""
        self._failure = str(error)

    def probe_failed(self, error: BaseException) -> None:
        """The partitions' ends could not be asked for; what is known of them stays."""
        self._probe_failed = str(error)

    def looked(self, ends: Mapping[int, int], next_offsets: Mapping[int, int], now: float) -> None:
        """Take in each partition's end, from the broker, and its lowest offset not done, from us.

        A partition that is not in `next_offsets` is not ours, or its position is not known yet.
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
        """Whether the worker is well, and whether it stood still so long that it should end."""
        reasons = [text for text in (self._failure, self._starting) if text is not None]
        for step, (error, since) in self._retrying.items():
            reasons.append(f"{step} is being tried again for {now - since:.1f} s: {error}")
        if self._probe_failed is not None:
            reasons.append(f"the lag is unknown: {self._probe_failed}")
        stalled = None
        for number, partition in sorted(self.partitions.items()):
            still = now - partition.moved_at if partition.lag else 0.0
            if still < self.limits.unhealthy_seconds:
                continue
            text = (
                f"partition {number} stands still at offset {partition.next_offset} "
                f"for {still:.1f} s with {partition.lag} records waiting"
            )
            reasons.append(text)
            if still >= self.limits.exit_seconds and not self._retrying:
                stalled = stalled or text
        return Judgement(reasons=tuple(reasons), stalled=stalled)

    def report(self, now: float) -> dict[str, Any]:
        """The body of `/health`: status, reasons, and each partition's lag and stillness."""
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
