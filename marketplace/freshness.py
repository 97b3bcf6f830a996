"""Measures freshness as an analyst sees it: from PostgreSQL's commit until a query returns the row.

The probe looks for a sample of the appended events in ClickHouse, in short bursts with pauses. A
query costs the server as much as an insert, so constant polling would slow what it measures. The
figure includes Debezium, Kafka, the worker, the insert, and the wait for the next query, so it is
rather too high than too low.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from threading import Event as Flag
from threading import Lock, Thread
from uuid import UUID

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.events import Event
from sinks.client import connect
from sinks.settings import ClickHouseSettings

Key = tuple[UUID, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeLimits:
    """How many events the probe looks for, and how often.

    - `burst_events_max`: events in one burst, each at least `spacing_seconds` after the previous
      one, so that they are not all in one batch.
    - `look_seconds`: the time between two queries. It grows with the age of the oldest event of
      the burst, by `look_share` of that age, because less precision suffices then.
    - `rest_seconds`: the pause between bursts, drawn from this range. Bursts in step with the
      worker's flushes would always see the same part of their cycle.
    """

    burst_events_max: int = 8
    spacing_seconds: float = 0.01
    look_seconds: float = 0.015
    look_share: float = 0.05
    rest_seconds: tuple[float, float] = (0.1, 0.4)


@dataclass(slots=True, kw_only=True)
class Bursts:
    """Decides which events to look for, and when. Pure bookkeeping; the caller passes the time.

    It must never give up an accepted event: one that never arrives stays `waiting`.
    """

    limits: ProbeLimits
    random: Random
    waiting: dict[Key, float] = field(default_factory=dict)
    _taken: int = 0
    _open_at: float = float("-inf")
    _last_taken_at: float = float("-inf")

    def offer(self, key: Key, now: float) -> bool:
        """Accept an event into the burst if there is room for it now."""
        if (
            now < self._open_at
            or self._taken >= self.limits.burst_events_max
            or now < self._last_taken_at + self.limits.spacing_seconds
        ):
            return False
        self.waiting[key] = now
        self._taken += 1
        self._last_taken_at = now
        return True

    def seen(self, key: Key, now: float) -> bool:
        """Note a visible event; False if it was not awaited. The last one ends the burst."""
        if self.waiting.pop(key, None) is None:
            return False
        if not self.waiting:
            self._taken = 0
            self._open_at = now + self.random.uniform(*self.limits.rest_seconds)
        return True

    def seconds_to_look(self, now: float) -> float:
        """Seconds to wait until the next query."""
        oldest = min(self.waiting.values(), default=now)
        return max(self.limits.look_seconds, self.limits.look_share * (now - oldest))


# Reads the raw table. Its view shows a row at the same moment, but with FINAL this many queries
# would use half a core. The row carries PostgreSQL's commit time; the writer learns of the commit
# later.
_QUERY = """
SELECT payment_id, seq, toUnixTimestamp64Milli(committed_at) FROM payment_events_raw
WHERE payment_id IN {payments:Array(UUID)}
"""


class FreshnessProbe:
    """Collects seconds from commit to visible; `watch` is safe to call from any thread.

    PostgreSQL's clock and the clock of this process must agree, as they do on one machine.
    """

    def __init__(self, clickhouse_url: str, limits: ProbeLimits | None = None) -> None:
        self.seconds: list[float] = []
        self._client = connect(ClickHouseSettings.load(clickhouse_url))
        self._bursts = Bursts(limits=limits or ProbeLimits(), random=Random(0))
        self._lock = Lock()
        self._stop = Flag()
        self._thread = Thread(target=self._poll, name="freshness")

    def __enter__(self) -> "FreshnessProbe":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    def watch(self, events: Sequence[Event]) -> None:
        """Start looking for the last of these just committed events, if there is room."""
        self.watch_event(events[-1].payment_id, events[-1].seq)

    def watch_event(self, payment_id: UUID, seq: int) -> None:
        """Start looking for a just committed event, if there is room."""
        with self._lock:
            self._bursts.offer((payment_id, seq), time.monotonic())

    def pending(self) -> int:
        """How many watched events have not been seen yet."""
        with self._lock:
            return len(self._bursts.waiting)

    def _poll(self) -> None:
        while not self._stop.wait(self._bursts.seconds_to_look(time.monotonic())):
            with self._lock:
                payments = {payment_id for payment_id, _ in self._bursts.waiting}
            if payments:
                self._look_for(payments)

    def _look_for(self, payments: set[UUID]) -> None:
        try:
            rows = self._client.query(
                _QUERY, parameters={"payments": [str(payment) for payment in payments]}
            ).result_rows
        except ClickHouseError:
            return  # the server is down: the events stay watched and grow older
        now, clock = time.monotonic(), time.time()
        with self._lock:
            for payment_id, seq, committed_milliseconds in rows:
                if self._bursts.seen((payment_id, seq), now):
                    self.seconds.append(clock - committed_milliseconds / 1000)


def quantile(seconds: Sequence[float], share: float) -> float:
    """The nearest-rank quantile (`share` 0..1) of the figures; 0 if there are none."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
