"""Measures freshness as an analyst would: from PostgreSQL's commit until the row can be queried.

A sample of the appended events is looked for in ClickHouse every few milliseconds. The figure holds
everything in between: Debezium, Kafka, the worker, the insert, and the poll itself.
"""

import time
from collections.abc import Sequence
from threading import Event as Flag
from threading import Lock, Thread
from uuid import UUID

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.events import Event
from sinks.client import connect
from sinks.settings import ClickHouseSettings

POLL_SECONDS = 0.02
"""The question itself takes the server's time: asked more often, it would slow what it measures."""
WATCHED_MAX = 16
"""How many events are looked for at once."""
_QUERY = """
SELECT payment_id, seq FROM payment_events
WHERE payment_id IN {payments:Array(UUID)}
"""


class FreshnessProbe:
    """Collects seconds from commit to visible; `watch` is safe to call from any thread."""

    def __init__(self, clickhouse_url: str) -> None:
        self.seconds: list[float] = []
        self._client = connect(ClickHouseSettings.load(clickhouse_url))
        self._waiting: dict[tuple[UUID, int], float] = {}
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
        """Begin to look for the last of these events, committed just now, if there is room."""
        committed = time.monotonic()
        with self._lock:
            if len(self._waiting) < WATCHED_MAX:
                self._waiting[(events[-1].payment_id, events[-1].seq)] = committed

    def pending(self) -> int:
        """How many watched events have not been seen yet."""
        with self._lock:
            return len(self._waiting)

    def _poll(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            with self._lock:
                payments = {payment_id for payment_id, _ in self._waiting}
            if payments:
                self._look_for(payments)

    def _look_for(self, payments: set[UUID]) -> None:
        try:
            rows = self._client.query(
                _QUERY, parameters={"payments": [str(payment) for payment in payments]}
            ).result_rows
        except ClickHouseError:
            return  # the server is away: the events stay watched and only get older
        seen = time.monotonic()
        with self._lock:
            for key in rows:
                committed = self._waiting.pop((key[0], key[1]), None)
                if committed is not None:
                    self.seconds.append(seen - committed)


def quantile(seconds: Sequence[float], share: float) -> float:
    """The nearest-rank quantile (`share` 0..1) of some figures; 0 of none."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
