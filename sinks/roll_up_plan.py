"""Chooses which buckets of totals are rolled up now: those that are over, finer ones first.

Pure: the caller reads the open buckets and the time. `schemas.clickhouse.totals` explains them.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from schemas.clickhouse.totals import DAY, HOUR, MINUTE, MONTH, OPEN_MINUTES, SIX_HOURS, TEN_MINUTES

OVER_SECONDS = 5
"""A bucket is over this long after its end: until then, entries on their way would reopen it."""


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


class Plan(NamedTuple):
    """The buckets to roll up now. Late days are rolled up from the ledger."""

    minutes: list[Open]
    ten_minutes: list[Open]
    hours: list[Open]
    six_hours: list[Open]
    days: list[Open]
    months: list[Open]
    late_days: list[Open]

    def of(self, level: str) -> list[Open]:
        """The buckets of a level, without late days."""
        buckets: list[Open] = getattr(self, f"{level.removesuffix('s')}s")
        return buckets


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

    rolled: dict[str, list[Open]] = {}
    waiting: set[datetime] = set()
    for level, length in LENGTHS.items():
        held = {start_of(moment, length) for moment in waiting}
        rolled[level] = []
        for one in by_level[level]:
            if day_of(one) in late:
                continue  # a late day is rolled up from the ledger, and so is what it consists of
            ready = quiet(one) if level == MINUTE else one.bucket not in held
            if ready and over(one, length):
                rolled[level].append(one)
            else:
                waiting.add(one.bucket)
    # What a month contains is counted by days that are rolled up already.
    unfinished = {month_of(one) for one in by_level[DAY]}
    return Plan(
        minutes=rolled[MINUTE],
        ten_minutes=rolled[TEN_MINUTES],
        hours=rolled[HOUR],
        six_hours=rolled[SIX_HOURS],
        days=rolled[DAY],
        months=[
            one
            for one in by_level[MONTH]
            if _next_month(one.bucket) <= now and one.bucket not in unfinished
        ],
        late_days=[
            one
            for one in by_level[DAY]
            # Until then readers take it for a day that is not over, and read its minutes.
            if one.is_late and quiet(one) and over(one, timedelta(days=1, minutes=1 + OPEN_MINUTES))
        ],
    )


LENGTHS = {
    MINUTE: timedelta(minutes=1),
    TEN_MINUTES: timedelta(minutes=10),
    HOUR: timedelta(hours=1),
    SIX_HOURS: timedelta(hours=6),
    DAY: timedelta(days=1),
}


def start_of(moment: datetime, length: timedelta) -> datetime:
    """Return the start of the bucket of this length, of a day at most, that contains a moment."""
    return moment - (moment - datetime.min.replace(tzinfo=UTC)) % length


def day_of(one: Open) -> datetime:
    return one.bucket.replace(hour=0, minute=0)


def month_of(one: Open) -> datetime:
    return one.bucket.replace(day=1, hour=0, minute=0)


def _next_month(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
