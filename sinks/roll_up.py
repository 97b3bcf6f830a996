"""Rolls the totals up, from minutes to months, beside the path of acknowledgement.

`schemas.clickhouse.totals` explains the buckets. Each step reads which buckets are open, computes
the totals of those that are over, and then records what they contain. The order makes it safe:
entries are written before they are noted, notes are read before the entries are added up, and what
is recorded as rolled up is what the notes said. So a roll-up may be killed at any moment and race
with others; readers always see the same totals, only faster or slower.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from typing import Any
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.totals import (
    DAY,
    HOUR,
    MEASURES,
    MINUTE,
    MONTH,
    NOTED_LEVELS,
    RECENT_DAYS,
    SIX_HOURS,
    STARTS,
    TEN_MINUTES,
    UNROLLED,
    added_up,
    from_entries,
)
from schemas.views import LEDGER_ENTRIES, RECENT_ENTRIES, TOTALS
from sinks.clickhouse import INSERT_SETTINGS
from sinks.client import connect, translated
from sinks.roll_up_plan import Open, day_of, month_of, planned
from sinks.settings import ClickHouseSettings

KEPT_DAYS = RECENT_DAYS + 1
"""Recent entries, and roll-ups finer than a day, are dropped after so many days."""

DROPPED_AFTER_SECONDS = 3600
"""Least age of a day's roll-up before its parts are dropped: no query from before it runs then."""

ENTRIES_AT_ONCE = 4_000_000
"""Most entries of one statement; adding them up takes less than a few hundred MiB."""

AT_ONCE = {MINUTE: 10, TEN_MINUTES: 6, HOUR: 4, SIX_HOURS: 2, DAY: 1, MONTH: 1}
"""Most buckets of one statement: together they have a few million rows at the peak rate."""
LATE_DAYS_AT_ONCE = 200
"""Most late days of one statement: they are parameters, which travel in the request's address."""

_INTO = (
    f"INSERT INTO {TOTALS} (kind, level, account_id, currency, day, bucket,"
    f" {', '.join(measure.name for measure in MEASURES)})"
)
_BUCKETS = "{buckets:Array(DateTime('UTC'))}"

_MINUTES = f"""
{_INTO}
SELECT 'total', '{MINUTE}', account_id, currency, day, recorded_minute, {from_entries()}
FROM {RECENT_ENTRIES} FINAL
WHERE has({_BUCKETS}, recorded_minute)
GROUP BY account_id, currency, day, recorded_minute
"""


def _coarser(level: str, finer: str) -> str:
    """Return the statement that adds up the totals of the level below."""
    # A month's totals are those of its days' months.
    day = "toStartOfMonth(finer.day)" if level == MONTH else "finer.day"
    bucket = STARTS[level]("finer.bucket")
    return f"""
    {_INTO}
    SELECT 'total', '{level}', account_id, currency, {day} AS of_day, {bucket} AS of_bucket,
        {added_up(of="finer")}
    FROM {TOTALS} AS finer FINAL
    WHERE kind = 'total' AND finer.level = '{finer}' AND has({_BUCKETS}, of_bucket)
    GROUP BY account_id, currency, of_day, of_bucket
    """


_STATEMENTS = {MINUTE: _MINUTES} | {
    level: _coarser(level, finer) for finer, level in pairwise(STARTS)
}
_LATE_DAYS = f"""
{_INTO}
SELECT 'total', '{DAY}', account_id, currency, day, toStartOfDay(recorded_minute) AS of_bucket,
    {from_entries()}
FROM {LEDGER_ENTRIES.raw} FINAL
WHERE of_bucket IN (SELECT arrayJoin({_BUCKETS}))
    AND cityHash64(account_id) % {{parts:UInt32}} = {{part:UInt32}}
GROUP BY account_id, currency, day, of_bucket
"""
_LATE_ENTRIES = f"""
SELECT toStartOfDay(recorded_minute) AS of_bucket, count() FROM {LEDGER_ENTRIES.raw}
WHERE of_bucket IN (SELECT arrayJoin({_BUCKETS})) GROUP BY of_bucket
"""
# The table is looked up before the condition: if a replay has exchanged it since the notes were
# read, they say nothing about the table that it put there.
_TABLE_ID = (
    f"SELECT any(uuid) FROM system.tables WHERE database = currentDatabase() AND name = '{TOTALS}'"
)
_BEGIN = f"SELECT ({_TABLE_ID}), now('UTC')"
_NOTES = "{notes:Array(Tuple(String, String, DateTime('UTC'), String, UInt64))}"
_NOTE = f"""
INSERT INTO {TOTALS} (kind, level, bucket, account_id, version)
SELECT note.1, note.2, note.3, note.4, note.5
FROM (SELECT arrayJoin({_NOTES}) AS note)
WHERE ({_TABLE_ID}) = {{table:UUID}}
"""
_OPEN = f"""
SELECT level, bucket, written, written_late FROM {UNROLLED}
WHERE written > rolled OR written_late > rolled_late
"""
_PARTITIONS = f"""
SELECT DISTINCT table, partition FROM system.parts
WHERE active AND database = currentDatabase() AND table IN ('{RECENT_ENTRIES}', '{TOTALS}')
    -- Those of days and parts of them; years are kept.
    AND length(partition) >= 8 AND left(partition, 8) < {{first_kept:String}}
    AND left(partition, 8) IN (
        SELECT toString(toYYYYMMDD(bucket)) FROM {TOTALS} WHERE kind = 'rolled' AND level = '{DAY}'
        AND rolled_at < now('UTC') - INTERVAL {DROPPED_AFTER_SECONDS} SECOND)
    -- Until its roll-up is settled, readers add up a day's parts; of a late one, the ledger.
    AND left(partition, 8) NOT IN (
        SELECT toString(toYYYYMMDD(bucket)) FROM {UNROLLED}
        WHERE level = '{DAY}' AND written_late = 0)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """How many buckets of each level a step rolled up, and how many partitions it dropped."""

    minutes: int = 0
    ten_minutes: int = 0
    hours: int = 0
    six_hours: int = 0
    days: int = 0
    months: int = 0
    dropped: int = 0

    @property
    def anything(self) -> bool:
        """Whether the step changed anything."""
        return any(getattr(self, name) for name in self.__slots__)


class RollUp:
    """Rolls up the totals of one database, from any number of processes at once."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect; raises as `connect` does."""
        self._address = settings.address()
        self._client: Client = connect(settings)
        # The server gives up before we do: a statement must not run beside its own repetition.
        seconds = max(1, settings.clickhouse_request_seconds - 5)
        self._settings = {**INSERT_SETTINGS, "max_execution_time": seconds}
        self._written_before: dict[tuple[str, datetime], int] = {}
        self._steps = count()
        self._writer = str(uuid4())
        self._rolls = count(1)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def finish(self) -> Rolled:
        """Roll up everything that is over, however long it takes; repeatable. Raises as `step`."""
        total = Rolled()
        while (one := self.step(patient=False)).anything:
            total = Rolled(
                **{name: getattr(total, name) + getattr(one, name) for name in Rolled.__slots__}
            )
        return total

    def step(self, *, patient: bool = True) -> Rolled:
        """Roll up the buckets that are over, from the finest level to the coarsest.

        `patient`: leave a minute or a late day alone while entries still arrive in it.

        Raises:
            ServiceUnavailable: ClickHouse is down or overloaded; what is done is recorded.
            ConfigurationError, WriteRefused: it would be refused again.
        """
        with translated(self._address):
            [(table, server_time)] = self._rows(_BEGIN)
            found = self._rows(_OPEN)
        now = server_time.replace(tzinfo=UTC)
        opened = [Open(*row)._replace(bucket=row[1].replace(tzinfo=UTC)) for row in found]
        plan = planned(opened, now, self._written_before if patient else None)
        self._written_before = {
            (one.level, one.bucket): one.written + one.written_late for one in opened
        }
        for level in NOTED_LEVELS:
            self._roll(level, plan.of(level), table)
        self._roll_late(plan.late_days, table)
        self._roll(MONTH, plan.months, table)
        days = len(plan.days) + len(plan.late_days)
        return Rolled(
            minutes=len(plan.minutes),
            ten_minutes=len(plan.ten_minutes),
            hours=len(plan.hours),
            six_hours=len(plan.six_hours),
            days=days,
            months=len(plan.months),
            # A day can only be dropped after another one was rolled up; a restart catches up.
            dropped=self._drop_old(opened, now) if days or not next(self._steps) else 0,
        )

    # -- statements

    def _roll(self, level: str, buckets: Sequence[Open], table: Any) -> None:
        for start in range(0, len(buckets), AT_ONCE[level]):
            several = buckets[start : start + AT_ONCE[level]]
            self._command(_STATEMENTS[level], {"buckets": [one.bucket for one in several]})
            self._mark(several, table)

    def _roll_late(self, days: Sequence[Open], table: Any) -> None:
        """Roll up days from the whole ledger, some entries at a time."""
        for start in range(0, len(days), LATE_DAYS_AT_ONCE):
            counts = self._late_entries(days[start : start + LATE_DAYS_AT_ONCE])
            for several in _batches(days[start : start + LATE_DAYS_AT_ONCE], counts):
                entries = sum(counts.get(one.bucket, 0) for one in several)
                parts = 1 + entries // ENTRIES_AT_ONCE
                for part in range(parts):
                    self._command(
                        _LATE_DAYS,
                        {"buckets": [one.bucket for one in several], "parts": parts, "part": part},
                    )
                self._mark(several, table)

    def _late_entries(self, days: Sequence[Open]) -> dict[datetime, int]:
        """Return how many entries the ledger has of each of these days."""
        with translated(self._address):
            counted = self._rows(_LATE_ENTRIES, {"buckets": [one.bucket for one in days]})
        return {bucket.replace(tzinfo=UTC): int(entries) for bucket, entries in counted}

    def _mark(self, buckets: Iterable[Open], table: Any) -> None:
        """Record what the totals of these buckets contain, and that their months got new days."""
        notes = []
        for one in buckets:
            notes.append(("rolled", one.level, one.bucket, "", one.written))
            if one.is_late:
                notes.append(("rolled_late", one.level, one.bucket, "", one.written_late))
            if one.level == DAY:
                # In one part with the above, so the month is open when the day is closed.
                notes.append(("written", MONTH, month_of(one), self._writer, next(self._rolls)))
        self._command(_NOTE, {"notes": notes, "table": str(table)})

    def _drop_old(self, opened: Sequence[Open], now: datetime) -> int:
        """Drop the recent entries and fine roll-ups of days that are rolled up and old enough."""
        first_kept = (now - timedelta(days=KEPT_DAYS)).strftime("%Y%m%d")
        waiting = {day_of(one).strftime("%Y%m%d") for one in opened if one.level != MONTH}
        with translated(self._address):
            partitions = self._rows(_PARTITIONS, {"first_kept": first_kept})
        old = [(table, name) for table, name in partitions if name[:8] not in waiting]
        for table, name in old:
            self._command(f"ALTER TABLE {table} DROP PARTITION {int(name)}", {})
        return len(old)

    def _rows(self, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return list(self._client.query(sql, parameters=parameters or {}).result_rows)

    def _command(self, sql: str, parameters: dict[str, Any]) -> None:
        with translated(self._address):
            self._client.command(sql, parameters=parameters, settings=self._settings)


def _batches(days: Sequence[Open], counts: dict[datetime, int]) -> Iterator[list[Open]]:
    """Group days so that a group has at most ENTRIES_AT_ONCE entries, or is a single day."""
    batch: list[Open] = []
    entries = 0
    for one in days:
        more = counts.get(one.bucket, 0)
        if batch and entries + more > ENTRIES_AT_ONCE:
            yield batch
            batch, entries = [], 0
        batch.append(one)
        entries += more
    if batch:
        yield batch
