"""Judges whether a process's memory is flat, from samples of each of its generations.

A generation is one life of a process, from a start to the next kill. A process that has just
started fills its caches, so only the second half of a generation counts, and only if the generation
was long enough. Its growth is the median of the slopes between all pairs of samples, which a single
large batch distorts less than a fitted line. A Java server touches its heap gradually, so its peak
is judged instead. Shared memory is not counted: PostgreSQL's buffers are touched gradually too, and
their size is fixed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from statistics import median

import psutil

MEGABYTE = 1024 * 1024
GENERATION_SECONDS_MIN = 420.0
"""Because of ClickHouse's merges, short lives mislead. With memory that is flat over 17 minutes,
the second half of a life of 180 s seems to grow or shrink by up to 13 MB a minute, of 300 s by 8,
of 420 s by 4.
"""
SAMPLES_MIN = 8
GROWTH_MAX = 12.0
"""Megabytes per minute; keeping 100 bytes of each event would be as much at 208 payments/s."""
JAVA = frozenset({"kafka", "connect"})
JAVA_BESIDE_HEAP_MEGABYTES = 450


@dataclass(slots=True)
class Generation:
    """One life of a process: seconds and bytes of each sample, in order."""

    name: str
    pid: int
    samples: list[tuple[float, int]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return self.samples[-1][0] - self.samples[0][0] if self.samples else 0.0

    @property
    def peak_megabytes(self) -> float:
        """The highest sample."""
        return max((size for _, size in self.samples), default=0) / MEGABYTE

    def growth(self) -> float | None:
        """Megabytes per minute in the second half; None if the life was too short."""
        half = self.samples[len(self.samples) // 2 :]
        if self.seconds < GENERATION_SECONDS_MIN or len(half) < SAMPLES_MIN:
            return None
        return 60.0 * slope(half) / MEGABYTE


def slope(samples: Sequence[tuple[float, float]]) -> float:
    """The Theil-Sen estimate: the median slope between two samples; robust against outliers."""
    return median((y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in combinations(samples, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The verdict on a process; `flat` is None if no generation was long enough."""

    name: str
    value: float
    unit: str
    limit: float
    flat: bool | None
    generations: int
    judged: int
    peak_megabytes: float


def judge(name: str, generations: Sequence[Generation], heap_megabytes: int) -> Verdict:
    """The worst generation of a process against its limit."""
    peak = max(each.peak_megabytes for each in generations)
    flat: bool | None
    if name in JAVA:
        limit = float(heap_megabytes + JAVA_BESIDE_HEAP_MEGABYTES)
        value, unit, flat, judged = peak, "MB", peak <= limit, len(generations)
    else:
        grown = [each for one in generations if (each := one.growth()) is not None]
        limit, unit, judged = GROWTH_MAX, "MB/minute", len(grown)
        value = max(grown, default=0.0)
        flat = value <= limit if grown else None
    return Verdict(
        name=name,
        value=value,
        unit=unit,
        limit=limit,
        flat=flat,
        generations=len(generations),
        judged=judged,
        peak_megabytes=peak,
    )


def memory_bytes(pid: int, *, children: bool) -> int | None:
    """Bytes of a process with its children; None if it is gone.

    Files that they share count once. Shared memory does not count.
    """
    try:
        parent = psutil.Process(pid)
        total = _own_bytes(pid)
        family = parent.children(recursive=True) if children else []
    except (psutil.Error, OSError):
        return None
    for child in family:
        try:
            total += _own_bytes(child.pid)
        except OSError:  # a connection that was just closed
            continue
    return total


def _own_bytes(pid: int) -> int:
    """The proportional set size without shared memory; raises OSError if it is gone."""
    kilobytes = {
        name: int(rest.split()[0])
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]
        for name, _, rest in (line.partition(":"),)
    }
    # A zombie has no memory and an empty list.
    return 1024 * (kilobytes.get("Pss", 0) - kilobytes.get("Pss_Shmem", 0))
