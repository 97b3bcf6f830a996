"""How far the views are behind, seen from the end: the age of what can be queried.

The lag is that of the Kafka partition furthest behind, from its newest visible row's commit in
PostgreSQL until now: whatever stands still anywhere on the way makes it grow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from types import TracebackType

from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import PurserError, ServiceUnavailable
from sinks.client import connect
from sinks.settings import ClickHouseSettings

LOOK_SECONDS = 1.0
QUERY = (
    # Without a row it is NULL, and not the beginning of Unix time.
    "SELECT minOrNull(newest) FROM"
    " (SELECT max(committed_at) AS newest FROM payment_events_raw GROUP BY kafka_partition)"
)

VISIBLE = "SELECT uniqExact(payment_id, seq) FROM payment_events_raw"
VISIBLE_LOOK_SECONDS = 0.2


def wait_until_visible(clickhouse_url: str, events: int, seconds: float) -> None:
    """Wait until so many events can be queried; raises ServiceUnavailable after so long."""
    deadline = time.monotonic() + seconds
    with connect(ClickHouseSettings.load(clickhouse_url)) as client:
        while (visible := client.query(VISIBLE).result_rows[0][0]) < events:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"{visible} of {events} events visible in {seconds:g} s")
            time.sleep(VISIBLE_LOOK_SECONDS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What followed a kill: the longest lag, and when it was small again for good.

    `seconds` is counted from the kill; None: it was not small again before the next one.
    """

    target: str
    lag_max_seconds: float
    seconds: float | None


def recoveries(
    samples: Sequence[tuple[float, float]],
    kills: Sequence[tuple[float, str]],
    *,
    end: float,
    small_seconds: float,
) -> list[Recovery]:
    """One for each kill; times are those of one clock, samples are (time, lag in seconds)."""
    found = []
    for number, (killed_at, target) in enumerate(kills):
        until = kills[number + 1][0] if number + 1 < len(kills) else end
        window = [(at, lag) for at, lag in samples if killed_at <= at < until]
        large = [at for at, lag in window if lag > small_seconds]
        seconds: float | None = 0.0
        if large:
            after = [at for at, _ in window if at > large[-1]]
            seconds = after[0] - killed_at if after else None
        found.append(
            Recovery(
                target=target,
                lag_max_seconds=max((lag for _, lag in window), default=0.0),
                seconds=seconds,
            )
        )
    return found


class LagWatch:
    """Looks at the lag all the time; while nobody answers, it grows with the clock."""

    def __init__(self, clickhouse_url: str) -> None:
        self._settings = ClickHouseSettings.load(clickhouse_url)
        self.samples: list[tuple[float, float]] = []
        self._newest: datetime | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, name="lag", daemon=True)

    def __enter__(self) -> "LagWatch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(LOOK_SECONDS * 10)

    @property
    def now(self) -> float:
        """The last lag that was seen, in seconds; 0 before the first row."""
        return self.samples[-1][1] if self.samples else 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._settings) as client:
                    while not self._stop.wait(LOOK_SECONDS):
                        self._look(client.query(QUERY).result_rows[0][0])
            except (PurserError, ClickHouseError, OSError):
                self._look(None)
                self._stop.wait(LOOK_SECONDS)

    def _look(self, newest: datetime | None) -> None:
        if newest is not None:
            zoned = newest if newest.tzinfo is not None else newest.replace(tzinfo=UTC)
            # Rows can come late; what was visible stays visible.
            self._newest = max(zoned, self._newest or zoned)
        if self._newest is not None:
            lag = (datetime.now(UTC) - self._newest).total_seconds()
            self.samples.append((time.monotonic(), max(0.0, lag)))
