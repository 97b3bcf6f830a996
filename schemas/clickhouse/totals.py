"""Totals of the ledger per account, currency and day, without adding up the whole day each time.

A day of a million payments has more entries than a query should add up. So `sinks.roll_up` adds
them up beforehand, in buckets of *recorded* time: minutes from entries, ten minutes from minutes,
and so on to hours, six hours, days and months. Of each level below the day a query reads at most
nine buckets. An event's recording time never changes. So an entry that is written again falls into
the same bucket, and a bucket that is over gets no new entries, except late ones.

`totals_raw` holds three kinds of rows:

- `total`: the sums of one bucket per account, currency and day of the event. They are computed from
  all entries of the bucket at once, never incremented. Version: the number of entries added up.
- `written`: how often each writer has written into a bucket. A writer counts its writes; version:
  the count. It is noted after the entries, for their bucket of each level up to the day. A roll-up
  of a day counts as a write into its month.
- `rolled`: how much of what was written the bucket's totals contain. It is written after them.

A bucket is *open* if more was written into it than its totals contain (`totals_unrolled`). The
views add up closed buckets, and the minutes of open ones from the entries themselves. So a total
contains everything that was noted, whether anything was rolled up or not, and a roll-up that dies
half-way or races with another changes nothing that a reader sees.

A query reads these rows at different moments, a few milliseconds apart and in no promised order.
That is harmless for entries and notes. But whoever sees that a bucket is rolled up must also see
its totals. So a `rolled` row counts for readers only when it is SETTLED_SECONDS old: its totals are
then in whatever a query reads. The last OPEN_MINUTES are always added up from their entries, so
what was just recorded is in the totals before it is noted.

The entries of the last two days are also in `recent_entries_raw`, in the order of their minutes.
Entries that are older when they are written are *late*: only their day is noted (`written_late`),
and it is read and rolled up from the whole ledger.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from schemas.accounts import SELLER_ACCOUNTS, AccountType
from schemas.effects import Revenue, event_types
from schemas.sql_words import quoted

MINUTE, TEN_MINUTES, HOUR, SIX_HOURS = "minute", "ten_minutes", "hour", "six_hours"
DAY, MONTH = "day", "month"

STARTS: Mapping[str, Callable[[str], str]] = {
    MINUTE: lambda time: time,
    TEN_MINUTES: lambda time: f"toStartOfTenMinutes({time})",
    HOUR: lambda time: f"toStartOfHour({time})",
    SIX_HOURS: lambda time: f"toStartOfInterval({time}, INTERVAL 6 HOUR)",
    DAY: lambda time: f"toStartOfDay({time})",
    MONTH: lambda time: f"toDateTime(toStartOfMonth({time}), 'UTC')",
}
"""The levels of roll-ups, from the finest, by their names in the column `level`: SQL for the start
of the bucket that a time (a minute, in UTC) falls into."""

NOTED_LEVELS: tuple[str, ...] = tuple(level for level in STARTS if level != MONTH)
"""The levels for which a writer notes what it has written."""

RECENT_DAYS = 2
"""Age, in days, up to which an entry that is written also goes to `recent_entries_raw`."""
LATE_DAYS = 1
"""Age, in days, from which a write is noted as late. One day less than RECENT_DAYS: whatever is not
noted as late is certain to be in `recent_entries_raw`."""

SETTLED_SECONDS = 60
"""Age, in seconds, from which readers rely on a roll-up; far longer than a query takes to begin."""
OPEN_MINUTES = 3
"""How many minutes before the current one are always read from their entries."""

VIEW_SETTINGS = (
    # Rows of one key never lie in two partitions.
    "do_not_merge_across_partitions_select_final = 1,"
    # Safe because every condition is on columns of the key, or on the recording time, which the
    # key determines.
    " optimize_move_to_prewhere_if_final = 1"
)
"""Settings of every view that reads totals."""


def events_of(column: Revenue) -> tuple[str, ...]:
    """Return the events that count in a column of the totals; all others only move earnings."""
    return event_types(lambda effect: effect.revenue is column)


def counted_in(column: Revenue) -> tuple[str, ...]:
    """Return the events whose number is the column's count: what takes one back is none."""
    return event_types(lambda effect: effect.revenue is column and effect.refunded >= 0)


SELLER_ACCOUNT_TYPES: tuple[str, ...] = tuple(sorted(SELLER_ACCOUNTS))
"""Account types whose id is a seller."""

_IS_SELLERS = f"account_type IN ({quoted(SELLER_ACCOUNT_TYPES)})"
# A sum has the type of its terms, and Int64 sums wrap silently.
_AMOUNT = "toInt128(amount_minor)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A column of the totals: its name, its type, and its value from the entries of a group."""

    name: str
    type: str
    of_entries: str


def _account(account_type: AccountType) -> Measure:
    return Measure(
        name=f"{account_type}_minor",
        type="Int128",
        of_entries=f"sumIf({_AMOUNT}, account_type = '{account_type}')",
    )


def _revenue(column: Revenue, sign: str) -> Measure:
    events = f"{_IS_SELLERS} AND event_type IN ({quoted(events_of(column))})"
    return Measure(
        name=f"{column}_minor", type="Int128", of_entries=f"{sign}sumIf({_AMOUNT}, {events})"
    )


def _count(name: str, column: Revenue) -> Measure:
    events = f"{_IS_SELLERS} AND event_type IN ({quoted(counted_in(column))})"
    return Measure(name=name, type="UInt64", of_entries=f"uniqExactIf((payment_id, seq), {events})")


MEASURES: tuple[Measure, ...] = (
    *map(_account, AccountType),
    # Credits are negative in the ledger and positive here.
    _revenue(Revenue.GROSS, "-"),
    _revenue(Revenue.REFUNDS, ""),
    _revenue(Revenue.CHARGEBACKS, ""),
    _count("capture_count", Revenue.GROSS),
    _count("refund_count", Revenue.REFUNDS),
    _count("chargeback_count", Revenue.CHARGEBACKS),
    Measure(name="seller_entry_count", type="UInt64", of_entries=f"countIf({_IS_SELLERS})"),
    Measure(name="version", type="UInt64", of_entries="count()"),
)
"""The columns of `totals_raw` that are added up; `version` is the number of all entries."""

_BY_NAME = {measure.name: measure for measure in MEASURES}


def from_entries(names: Sequence[str] = tuple(_BY_NAME)) -> str:
    """Return the select list that computes these measures from a group's entries."""
    return ", ".join(f"{_BY_NAME[name].of_entries} AS {name}" for name in names)


def added_up(names: Sequence[str] = tuple(_BY_NAME), of: str = "") -> str:
    """Return the select list that adds up these measures of rows (of the table `of`)."""
    place = f"{of}." if of else ""
    return ", ".join(f"sum({place}{name}) AS {name}" for name in names)


COPY_SQL = f"""\
CREATE MATERIALIZED VIEW IF NOT EXISTS recent_entries_copy TO recent_entries_raw
AS
SELECT * FROM ledger_entries_raw
WHERE recorded_minute >= now('UTC') - INTERVAL {RECENT_DAYS} DAY"""
"""Copies entries on their way into the ledger; the server's clock decides, as it does for notes.

A change reaches new databases only: a materialized view cannot be replaced while rows go through.
"""


# -- which buckets are open

UNROLLED = "totals_unrolled"

UNROLLED_SQL = f"""\
CREATE OR REPLACE VIEW {UNROLLED}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
COMMENT 'The open buckets: more was written into them than their settled totals contain.'
AS
SELECT
    level,
    bucket,
    sumIf(latest, kind = 'written') AS written,
    sumIf(latest, kind = 'written_late') AS written_late,
    sumIf(latest, kind = 'rolled') AS rolled,
    sumIf(latest, kind = 'rolled_late') AS rolled_late
FROM
(
    SELECT kind, level, bucket, account_id, max(version) AS latest,
        maxIf(version, rolled_at <= now('UTC') - INTERVAL {SETTLED_SECONDS} SECOND) AS settled
    FROM totals_raw
    WHERE kind != 'total'
    GROUP BY kind, level, bucket, account_id
)
GROUP BY level, bucket
HAVING written > sumIf(settled, kind = 'rolled')
    OR written_late > sumIf(settled, kind = 'rolled_late')"""
"""The view over the open buckets, for the other views and for the roll-up."""

_LISTS = f"""(
        SELECT ({", ".join(f"groupArrayIf(bucket, level = '{level}')" for level in STARTS)},
            groupArrayIf(bucket, level = '{DAY}' AND written_late > 0),
            toStartOfMinute(now('UTC')) - INTERVAL {OPEN_MINUTES} MINUTE)
        FROM {UNROLLED}
    ) AS open"""
_OPEN = {level: f"open.{place}" for place, level in enumerate(STARTS, 1)}
_LATE_DAYS, _LAST = f"open.{len(STARTS) + 1}", f"open.{len(STARTS) + 2}"


def _is_noted(level: str, time: str) -> str:
    """Return whether a time's bucket is open because something was written into it."""
    return f"has({_OPEN[level]}, {STARTS[level](time)})"


def _is_open(level: str, time: str) -> str:
    """Return whether a time's bucket is open, or too young to be read as a whole."""
    return f"({_is_noted(level, time)} OR {time} >= {STARTS[level](_LAST)})"


def _is_late(time: str) -> str:
    return f"has({_LATE_DAYS}, {STARTS[DAY](time)})"


def _buckets(*, months: bool) -> list[str]:
    """Return the condition on `totals_raw` for each level.

    A bucket is read if it is closed and those that contain it are open.
    """
    conditions: list[str] = []
    month = STARTS[MONTH]
    outer: list[str] = []
    if months:
        month_is_open = (
            f"({_is_open(MONTH, 'bucket')}"
            f" OR arrayExists(day -> {month('day')} = {month('bucket')}, {_OPEN[DAY]}))"
        )
        conditions.append(f"level = '{MONTH}' AND NOT {month_is_open}")
        outer.append(month_is_open)
    for level in reversed(NOTED_LEVELS):
        closed = f"level = '{level}' AND NOT {_is_open(level, 'bucket')}"
        conditions.append(" AND ".join([closed, *outer]))
        if level == DAY:
            # A day that is open has no closed month, and the ledger has a late day's entries.
            outer = [f"NOT {_is_late('bucket')}"]
        outer.append(_is_open(level, "bucket"))
    return conditions


def totals_sql(names: Sequence[str], key: Sequence[str], *, months: bool = False) -> str:
    """Return a subquery: these measures, by `key` (of account_id, currency and day).

    `months`: sum up whole months where possible, so that years are quick. `key` then lacks the day.
    """
    columns, measures = ", ".join(key), ", ".join(names)
    buckets = "\n            OR ".join(_buckets(months=months))
    minute = "recorded_minute"
    coarser_are_open = " AND ".join(_is_open(level, minute) for level in NOTED_LEVELS[1:])
    return f"""(
    WITH {_LISTS}
    SELECT {columns}, {added_up(names)}
    FROM
    (
        SELECT {columns}, {measures}
        FROM totals_raw FINAL
        WHERE kind = 'total' AND (
            {buckets})
        UNION ALL
        SELECT {columns}, {from_entries(names)}
        FROM
        (
            SELECT * FROM recent_entries_raw FINAL
            WHERE NOT {_is_late(minute)} AND ({minute} >= {_LAST}
                OR {_is_noted(MINUTE, minute)} AND {coarser_are_open})
            UNION ALL
            SELECT * FROM ledger_entries_raw FINAL
            WHERE {STARTS[DAY](minute)} IN (SELECT arrayJoin({_LATE_DAYS}))
        )
        GROUP BY {columns}
    )
    GROUP BY {columns}
)"""
