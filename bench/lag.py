"""Measures how far the views are behind: the age of the newest data that can be queried.

The lag is that of the Kafka partition furthest behind, from the PostgreSQL commit of its newest
visible row until now. Any stage that stops makes it grow.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event, Thread
from types import TracebackType

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import PurserError, ServiceUnavailable
from sinks.client import connect
from sinks.settings import ClickHouseSettings

LOOK_SECONDS = 1.0
QUERY = (
    # NULL without rows, instead of the beginning of Unix time.
    "SELECT minOrNull(newest) FROM (SELECT max(committed_at) AS newest FROM payment_events_raw"
    " WHERE committed_at >= {since:DateTime64(3, 'UTC')} GROUP BY kafka_partition)"
)
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# Only the newest rows: counting a full day takes seconds of CPU from what is measured.
VISIBLE = (
    "SELECT uniqExact(payment_id, seq) FROM payment_events_raw"
    " WHERE committed_at >= {since:DateTime64(3, 'UTC')}"
)
VISIBLE_LOOK_SECONDS = 0.2


def wait_until_visible(
    clickhouse_url: str, events: int, *, since: datetime, seconds: float
) -> None:
    """Wait until so many events committed since then can be queried.

    Raises ServiceUnavailable after `seconds`.
    """
    deadline = time.monotonic() + seconds
    asked = {"since": since}
    with connect(ClickHouseSettings.load(clickhouse_url)) as client:
        while (visible := client.query(VISIBLE, asked).result_rows[0][0]) < events:
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"{visible} of {events} events visible in {seconds:g} s")
            time.sleep(VISIBLE_LOOK_SECONDS)


def wait_until_newer(clickhouse_url: str, moment: datetime, seconds: float) -> float:
    """Wait until every partition shows an event that was committed after `moment`.

    Returns the time of the monotonic clock. A server that does not answer is asked again. Raises
    ServiceUnavailable after `seconds`.
    """
    deadline = time.monotonic() + seconds
    newest: datetime | None = None
    while time.monotonic() < deadline:
        try:
            with connect(ClickHouseSettings.load(clickhouse_url)) as client:
                while time.monotonic() < deadline:
                    newest = _newest(client, BEGINNING)
                    if newest is not None and newest > moment:
                        return time.monotonic()
                    time.sleep(VISIBLE_LOOK_SECONDS)
        except (PurserError, ClickHouseError, OSError):
            time.sleep(VISIBLE_LOOK_SECONDS)
    raise ServiceUnavailable(
        f"after {seconds:g} s some partition shows no event committed since"
        f" {moment:%H:%M:%S} UTC; its newest is of {newest}"
    )


def _newest(client: Client, since: datetime) -> datetime | None:
    """The newest commit of the partition furthest behind, of those with commits since then."""
    return _zoned(client.query(QUERY, {"since": since}).result_rows[0][0])


def _zoned(moment: datetime | None) -> datetime | None:
    if moment is None or moment.tzinfo is not None:
        return moment
    return moment.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The recovery after a kill: the longest lag, and when it became small and stayed so.

    `seconds` is counted from the kill; None means that it was not small before the next kill.
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
    """One recovery per kill; all times are of one clock, samples are (time, lag in seconds)."""
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
    """Samples the lag continuously; while the server does not answer, the lag grows with time."""

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
        """The last sampled lag in seconds; 0 before the first row."""
        return self.samples[-1][1] if self.samples else 0.0

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with connect(self._settings) as client:
                    while not self._stop.wait(LOOK_SECONDS):
                        # Not the rows of a full day each second: that would take a tenth of a
                        # second of CPU from what is measured. A partition that had rows at the
                        # look before has one that is not older than what was found.
                        self._look(_newest(client, self._newest or BEGINNING))
            except (PurserError, ClickHouseError, OSError):
                self._look(None)
                self._stop.wait(LOOK_SECONDS)

    def _look(self, newest: datetime | None) -> None:
        if newest is not None:
            # Rows can arrive late, but a visible row stays visible.
            self._newest = max(newest, self._newest or newest)
        if self._newest is not None:
            lag = (datetime.now(UTC) - self._newest).total_seconds()
            self.samples.append((time.monotonic(), max(0.0, lag)))
