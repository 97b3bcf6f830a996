"""payments = payment_events: the same events in both databases, to the row and the cent.

The first comparison is by (day, event type, currency): count, sum of amounts, sum of the hashes of
all columns. If a bucket differs, both sides stream the keys and hashes of its events in the same
order, and the streams are merged.
"""

import heapq
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from operations.verify.columns import NULLABLE
from operations.verify.cut import Cut
from operations.verify.missing import Fate, Judged, judge
from operations.verify.report import Finding, Scalar
from operations.verify.source import Bucket, BucketKey, EventKey, Fingerprint, Source, Window
from operations.verify.views import Views
from operations.verify.way import Way

POLL_FIRST_SECONDS = 0.2
POLL_MOST_SECONDS = 2.0
STALL_SECONDS = 5.0
"""After this time without new rows, check once whether a missing row is provably lost."""
JUDGED_MAX = 2_000
"""Most missing, extra and different events that are examined one by one."""

OnProgress = Callable[[str, int, int], None]
"""Arguments: the current activity, how much is done, of how much."""


@dataclass(slots=True)
class Difference:
    """Result of merging two streams; all differences are counted, only some keys are kept."""

    missing_count: int = 0
    extra: list[EventKey] = field(default_factory=list)
    extra_count: int = 0
    different: list[EventKey] = field(default_factory=list)
    different_count: int = 0
    _oldest_missing: list[tuple[float, str, Fingerprint]] = field(default_factory=list)

    def add_missing(self, event: Fingerprint) -> None:
        """Count a missing event; the oldest are kept, because late events are young."""
        self.missing_count += 1
        entry = (-event.recorded_at.timestamp(), f"{event.payment_id}/{event.seq}", event)
        if len(self._oldest_missing) < JUDGED_MAX:
            heapq.heappush(self._oldest_missing, entry)
        else:
            heapq.heappushpop(self._oldest_missing, entry)

    def add_extra(self, event: Fingerprint) -> None:
        """Count it, keep the first ones."""
        self.extra_count += 1
        if len(self.extra) < JUDGED_MAX:
            self.extra.append((event.payment_id, event.seq))

    def add_different(self, event: Fingerprint) -> None:
        """Count it, keep the first ones."""
        self.different_count += 1
        if len(self.different) < JUDGED_MAX:
            self.different.append((event.payment_id, event.seq))

    @property
    def missing(self) -> list[Fingerprint]:
        """The oldest missing events, oldest first."""
        return [event for _, _, event in sorted(self._oldest_missing, reverse=True)]


def merge(expected: Iterable[Fingerprint], found: Iterable[Fingerprint]) -> Difference:
    """Compare two streams of fingerprints that are ordered by (payment_id, seq)."""
    difference = Difference()
    left, right = iter(expected), iter(found)
    ours, theirs = next(left, None), next(right, None)
    while ours is not None or theirs is not None:
        if theirs is None or (ours is not None and ours[:2] < theirs[:2]):
            assert ours is not None
            difference.add_missing(ours)
            ours = next(left, None)
        elif ours is None or theirs[:2] < ours[:2]:
            difference.add_extra(theirs)
            theirs = next(right, None)
        else:
            if ours.hash != theirs.hash:
                difference.add_different(ours)
            ours, theirs = next(left, None), next(right, None)
    return difference


def differing(
    expected: Mapping[BucketKey, Bucket], found: Mapping[BucketKey, Bucket]
) -> list[BucketKey]:
    """Return the keys of buckets that differ in any of the three values."""
    keys = expected.keys() | found.keys()
    return sorted(key for key in keys if expected.get(key) != found.get(key))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventsOutcome:
    """Result of comparing the events at one cut.

    `extra`: events that only ClickHouse has and that PostgreSQL does not have even now.
    `misjudged`: why a newer cut is needed, because rows were on the wrong side of this one (for
    example during an initial snapshot).
    """

    postgres_events: int
    clickhouse_events: int
    buckets_differing: int = 0
    difference: Difference = field(default_factory=Difference)
    judged: tuple[Judged, ...] = ()
    extra: tuple[EventKey, ...] = ()
    misjudged: str = ""
    waited_seconds: float = 0.0

    def count(self, fate: Fate) -> int:
        """Count the judged events with this fate."""
        return sum(1 for event in self.judged if event.fate is fate)

    @property
    def proven(self) -> int:
        """Number of proven differences: lost, extra and different events."""
        return self.count(Fate.LOST) + len(self.extra) + self.difference.different_count

    @property
    def proven_at_least(self) -> bool:
        """Whether more events differ than were examined one by one."""
        difference = self.difference
        return bool(self.proven) and (
            difference.missing_count > len(self.judged)
            or difference.extra_count > len(difference.extra)
        )


class EventsCheck:
    """The comparison at one cut; `source` reads inside the cut, `now` outside of it."""

    def __init__(
        self,
        source: Source,
        now: Source,
        views: Views,
        way: Way,
        window: Window,
        on_progress: OnProgress,
    ) -> None:
        self._source, self._now, self._views, self._way = source, now, views, way
        self._window = window
        self._on_progress = on_progress

    def compare(self, cut: Cut, deadline: float) -> EventsOutcome:
        """Wait until ClickHouse has as many events of the cut as PostgreSQL, then compare.

        `deadline` is a time of `time.monotonic()`. Events that have not arrived by then are judged
        by evidence.
        """
        self._on_progress("reading PostgreSQL", 0, 0)
        expected = self._source.buckets(self._window)
        total = sum(bucket.events for bucket in expected.values())
        started = time.monotonic()
        found = self._wait(cut, expected, deadline)
        waited = time.monotonic() - started
        buckets = differing(expected, found)
        if not buckets:
            return EventsOutcome(
                postgres_events=total, clickhouse_events=total, waited_seconds=waited
            )
        self._on_progress("comparing the events of differing buckets", 0, len(buckets))
        difference = self._merge(cut, buckets)
        judged = judge(difference.missing, self._now, self._views, cut, self._way)
        newer = self._now.existing(difference.extra)
        return EventsOutcome(
            postgres_events=total,
            clickhouse_events=sum(bucket.events for bucket in found.values()),
            buckets_differing=len(buckets),
            difference=difference,
            judged=tuple(judged),
            extra=tuple(key for key in difference.extra if key not in newer),
            misjudged=_misjudged(judged, newer),
            waited_seconds=waited,
        )

    def _merge(self, cut: Cut, buckets: Collection[BucketKey]) -> Difference:
        return merge(
            self._source.fingerprints(self._window, buckets),
            self._views.fingerprints(cut, self._window, buckets),
        )

    def _wait(
        self, cut: Cut, expected: Mapping[BucketKey, Bucket], deadline: float
    ) -> dict[BucketKey, Bucket]:
        """Return ClickHouse's buckets once they have all events or more waiting is useless."""
        total = sum(bucket.events for bucket in expected.values())
        pause, best, grown_at = POLL_FIRST_SECONDS, -1, time.monotonic()
        patience = STALL_SECONDS
        while True:
            asked_at = time.monotonic()
            self._way.look()
            # Duplicates make this count too high, never too low. The exact count is expensive, so
            # take it only when this one is high enough or nothing moves.
            count = self._views.raw_count(cut, self._window)
            if count > best:
                best, grown_at = count, asked_at
            stalled = asked_at - grown_at >= patience
            if count >= total or stalled or asked_at >= deadline:
                found = self._views.buckets(cut, self._window)
                count = sum(bucket.events for bucket in found.values())
                if count >= total or asked_at >= deadline:
                    return found
                if stalled:
                    if self._something_is_lost(cut, differing(expected, found)):
                        return found
                    grown_at, patience = time.monotonic(), patience * 2
            self._on_progress("waiting for ClickHouse", count, total)
            took = time.monotonic() - asked_at
            time.sleep(max(0.0, min(max(pause, took), deadline - time.monotonic())))
            pause = min(pause * 1.5, POLL_MOST_SECONDS)

    def _something_is_lost(self, cut: Cut, buckets: Collection[BucketKey]) -> bool:
        """After arrivals have stopped: return whether some event is certainly lost."""
        self._on_progress("no new rows; checking the missing events", 0, 0)
        difference = self._merge(cut, buckets)
        judged = judge(difference.missing, self._now, self._views, cut, self._way)
        return any(event.fate is Fate.LOST for event in judged)

    def findings(self, outcome: EventsOutcome, limit: int) -> list[Finding]:
        """Return proven differences first, then late events, at most `limit`."""
        difference = outcome.difference
        findings = self._different_findings(difference.different[:limit])
        findings += [
            Finding(problem="extra", where=_where(key), note="not in PostgreSQL")
            for key in outcome.extra[:limit]
        ]
        for fate in (Fate.LOST, Fate.OUTSIDE, Fate.LATE):
            findings += [
                Finding(
                    problem=str(fate),
                    where=_where((judged.event.payment_id, judged.event.seq)),
                    note=judged.evidence or f"recorded at {judged.event.recorded_at.isoformat()}",
                )
                for judged in outcome.judged
                if judged.fate is fate
            ][:limit]
        return findings[:limit]

    def _different_findings(self, keys: list[EventKey]) -> list[Finding]:
        if not keys:
            return []
        expected, found = self._source.events(keys), self._views.events(keys)
        return [
            Finding(
                problem="different",
                where=_where(key),
                columns=_columns(expected.get(key, {}), found.get(key, {})),
            )
            for key in keys
        ]


def _misjudged(judged: Iterable[Judged], newer: Collection[EventKey]) -> str:
    """Return why a newer cut is needed, or an empty text."""
    for event in judged:
        if event.fate is Fate.ARRIVED:
            return "events arrived during the comparison"
        if event.fate is Fate.OUTSIDE:
            return event.evidence
    # PostgreSQL has them by now: Debezium's snapshot is running, or an assumption of the cut
    # failed.
    return "events newer than the cut count as part of it by their txid or op" if newer else ""


def _where(key: EventKey) -> dict[str, Scalar]:
    return {"payment_id": key[0], "seq": key[1]}


def _columns(
    expected: Mapping[str, str | None], found: Mapping[str, str]
) -> dict[str, tuple[Scalar, Scalar]]:
    """Return the columns whose texts differ; the views store null as an empty text."""
    return {
        name: (text, found.get(name))
        for name, text in expected.items()
        if ((text or "") if name in NULLABLE else text) != found.get(name)
    }
