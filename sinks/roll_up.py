"""Rolls the totals up: minutes, hours, days, months, beside the path of acknowledgement.

`schemas.clickhouse.totals` explains the buckets. Each step reads which buckets are open, computes
the totals of those that are over, and then records what they contain. The order makes it safe:
entries are written before they are noted, notes are read before the entries are added up, and what
is recorded as rolled up is what the notes said. So a roll-up may be killed at any moment and race
with others; readers always see the same totals, only faster or slower.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, NamedTuple
from uuid import uuid4

from clickhouse_connect.driver.client import Client

from schemas.clickhouse.totals import (
    DAY,
    HOUR,
    MEASURES,
    MINUTE,
    MONTH,
    OPEN_MINUTES,
    RECENT_DAYS,
    UNROLLED,
    added_up,
    from_entries,
)
from schemas.views import LEDGER_ENTRIES, RECENT_ENTRIES, TOTALS
from sinks.clickhouse import INSERT_SETTINGS
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

OVER_SECONDS = 5
"""A bucket is over this long after its end: until then, entries on their way would reopen it."""

KEPT_DAYS = RECENT_DAYS + 1
"""Recent entries, and roll-ups finer than a day, are dropped after so many days."""

DROPPED_AFTER_SECONDS = 3600
"""Least age of a day's roll-up before its parts are dropped: no query from before it runs then."""

ENTRIES_AT_ONCE = 4_000_000
"""Most entries of one statement; adding them up takes less than a few hundred MiB."""

AT_ONCE = {MINUTE: 10, HOUR: 4, DAY: 1, MONTH: 1}
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


def _coarser(level: str, finer: str, day: str, bucket: str) -> str:
    """Return the statement that adds up the totals of the level below."""
    return f"""
    {_INTO}
    SELECT 'total', '{level}', account_id, currency, {day} AS of_day, {bucket} AS of_bucket,
        {added_up(of="finer")}
    FROM {TOTALS} AS finer FINAL
    WHERE kind = 'total' AND finer.level = '{finer}' AND has({_BUCKETS}, of_bucket)
    GROUP BY account_id, currency, of_day, of_bucket
    """


_HOURS = _coarser(HOUR, MINUTE, "finer.day", "toStartOfHour(finer.bucket)")
_DAYS = _coarser(DAY, HOUR, "finer.day", "toStartOfDay(finer.bucket)")
_MONTHS = _coarser(
    MONTH, DAY, "toStartOfMonth(finer.day)", "toDateTime(toStartOfMonth(finer.bucket), 'UTC')"
)
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
    -- Those of days and hours; years are kept.
    AND length(partition) >= 8 AND left(partition, 8) < {{first_kept:String}}
    AND left(partition, 8) IN (
        SELECT toString(toYYYYMMDD(bucket)) FROM {TOTALS} WHERE kind = 'rolled' AND level = '{DAY}'
        AND rolled_at < now('UTC') - INTERVAL {DROPPED_AFTER_SECONDS} SECOND)
    -- Until its roll-up is settled, readers add up a day's parts; of a late one, the ledger.
    AND left(partition, 8) NOT IN (
        SELECT toString(toYYYYMMDD(bucket)) FROM {UNROLLED}
        WHERE level = '{DAY}' AND written_late = 0)
"""


class Open(NamedTuple):
    """An open bucket, and how often was written into it: in time, and late."""

    level: str
    bucket: datetime
    written: int
    written_late: int

    @property
    def is_late(self) -> bool:
        """Whether it has late entries: then only the ledger has all of them."""
        return self.written_late > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rolled:
    """How many buckets of each level a step rolled up, and how many partitions it dropped."""

    minutes: int = 0
    hours: int = 0
    days: int = 0
    months: int = 0
    dropped: int = 0

    @property
    def anything(self) -> bool:
        """Whether the step changed anything."""
        return bool(self.minutes or self.hours or self.days or self.months or self.dropped)


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
        self._roll(_MINUTES, plan.minutes, table)
        self._roll(_HOURS, plan.hours, table)
        self._roll(_DAYS, plan.days, table)
        self._roll_late(plan.late_days, table)
        self._roll(_MONTHS, plan.months, table)
        days = len(plan.days) + len(plan.late_days)
        return Rolled(
            minutes=len(plan.minutes),
            hours=len(plan.hours),
            days=days,
            months=len(plan.months),
            # A day can only be dropped after another one was rolled up; a restart catches up.
            dropped=self._drop_old(opened, now) if days or not next(self._steps) else 0,
        )

    # -- statements

    def _roll(self, statement: str, buckets: Sequence[Open], table: Any) -> None:
        at_once = AT_ONCE[buckets[0].level] if buckets else 1
        for start in range(0, len(buckets), at_once):
            several = buckets[start : start + at_once]
            self._command(statement, {"buckets": [one.bucket for one in several]})
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
                notes.append(("written", MONTH, _month(one), self._writer, next(self._rolls)))
        self._command(_NOTE, {"notes": notes, "table": str(table)})

    def _drop_old(self, opened: Sequence[Open], now: datetime) -> int:
        """Drop the recent entries and fine roll-ups of days that are rolled up and old enough."""
        first_kept = (now - timedelta(days=KEPT_DAYS)).strftime("%Y%m%d")
        waiting = {_day(one).strftime("%Y%m%d") for one in opened if one.level != MONTH}
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


# -- what is over


class Plan(NamedTuple):
    """The buckets to roll up now. Late days are rolled up from the ledger."""

    minutes: list[Open]
    hours: list[Open]
    days: list[Open]
    late_days: list[Open]
    months: list[Open]


def planned(
    opened: Sequence[Open],
    now: datetime,
    written_before: dict[tuple[str, datetime], int] | None,
) -> Plan:
    """Choose the buckets that are over and whose parts are rolled up.

    `written_before` is what the open buckets had at the last look: a minute or a late day that
    still grows waits. None: nothing waits.
    """
    by_level: defaultdict[str, list[Open]] = defaultdict(list)
    for one in sorted(opened):
        by_level[one.level].append(one)
    late = {one.bucket for one in by_level[DAY] if one.is_late}

    def over(one: Open, length: timedelta) -> bool:
        return one.bucket + length + timedelta(seconds=OVER_SECONDS) <= now

    def quiet(one: Open) -> bool:
        if written_before is None:
            return True
        return written_before.get((one.level, one.bucket)) == one.written + one.written_late

    # A late day is rolled up from the ledger, and so are its hours and minutes.
    minutes, hours, days = (
        [one for one in by_level[level] if _day(one) not in late and over(one, length)]
        for level, length in _LENGTHS.items()
    )
    minutes = [one for one in minutes if quiet(one)]
    hours = _whole(hours, by_level[MINUTE], minutes, _hour)
    days = _whole(days, by_level[HOUR], hours, _day)
    months = [one for one in by_level[MONTH] if _next_month(one.bucket) <= now]
    return Plan(
        minutes=minutes,
        hours=hours,
        days=days,
        late_days=[
            one
            for one in by_level[DAY]
            # Until then readers take it for a day that is not over, and read its minutes.
            if one.is_late and quiet(one) and over(one, timedelta(days=1, minutes=1 + OPEN_MINUTES))
        ],
        # What a month contains is counted by days that are rolled up already.
        months=_whole(months, by_level[DAY], [], _month),
    )


_LENGTHS = {MINUTE: timedelta(minutes=1), HOUR: timedelta(hours=1), DAY: timedelta(days=1)}


def _whole(
    buckets: Sequence[Open],
    finer: Sequence[Open],
    rolled_now: Sequence[Open],
    bucket_of: Callable[[Open], datetime],
) -> list[Open]:
    """Return the buckets that contain no open finer bucket, except those that are rolled up now."""
    rolled = {one.bucket for one in rolled_now}
    waiting = {bucket_of(one) for one in finer if one.bucket not in rolled}
    return [one for one in buckets if one.bucket not in waiting]


def _hour(one: Open) -> datetime:
    return one.bucket.replace(minute=0)


def _day(one: Open) -> datetime:
    return one.bucket.replace(hour=0, minute=0)


def _month(one: Open) -> datetime:
    return one.bucket.replace(day=1, hour=0, minute=0)


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)


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
