"""Which buckets are rolled up when: those that are over, and what they consist of first."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.clickhouse.totals import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    OPEN_MINUTES,
    SIX_HOURS,
    TEN_MINUTES,
)
from sinks import roll_up
from sinks.roll_up_plan import OVER_SECONDS, Open, Plan, planned

LENGTHS = {
    MINUTE: timedelta(minutes=1),
    TEN_MINUTES: timedelta(minutes=10),
    HOUR: timedelta(hours=1),
    SIX_HOURS: timedelta(hours=6),
    DAY: timedelta(days=1),
}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def bucket(level: str, text: str, written: int = 1, late: int = 0) -> Open:
    return Open(level=level, bucket=at(text), written=written, written_late=late)


def minute(text: str, written: int = 1) -> Open:
    return bucket(MINUTE, text, written)


def ten(text: str) -> Open:
    return bucket(TEN_MINUTES, text)


def hour(text: str) -> Open:
    return bucket(HOUR, text)


def six(text: str) -> Open:
    return bucket(SIX_HOURS, text)


def day(text: str, written: int = 1, late: int = 0) -> Open:
    return bucket(DAY, text, written, late)


def month(text: str) -> Open:
    return bucket(MONTH, text)


def seen(*opened: Open) -> dict[tuple[str, datetime], int]:
    """What a look at these buckets remembers."""
    return {(one.level, one.bucket): one.written + one.written_late for one in opened}


def names(plan: Plan) -> dict[str, list[str]]:
    """The buckets of a plan by its fields; fields without any lack."""
    texts = {
        name: [one.bucket.strftime("%Y-%m-%d %H:%M") for one in getattr(plan, name)]
        for name in Plan._fields
    }
    return {name: found for name, found in texts.items() if found}


NOON = (
    minute("2026-01-05 12:00"),
    ten("2026-01-05 12:00"),
    hour("2026-01-05 12:00"),
    six("2026-01-05 12:00"),
    day("2026-01-05"),
)
"""What entries of a single minute open."""


def of_noon(*levels: str) -> dict[str, list[str]]:
    """A plan for these levels of NOON."""
    return {level: [f"2026-01-05 {'00:00' if level == 'days' else '12:00'}"] for level in levels}


NOTHING: dict[str, list[str]] = {}
OVER: list[tuple[str, Sequence[Open], dict[str, list[str]]]] = [
    ("2026-01-05 12:00:30", NOON, NOTHING),
    ("2026-01-05 12:01:04", NOON, NOTHING),
    ("2026-01-05 12:01:05", NOON, of_noon("minutes")),
    ("2026-01-05 12:10:04", NOON, of_noon("minutes")),
    ("2026-01-05 12:10:05", NOON, of_noon("minutes", "ten_minutes")),
    ("2026-01-05 13:00:04", NOON, of_noon("minutes", "ten_minutes")),
    ("2026-01-05 13:00:05", NOON, of_noon("minutes", "ten_minutes", "hours")),
    ("2026-01-05 18:00:04", NOON, of_noon("minutes", "ten_minutes", "hours")),
    ("2026-01-05 18:00:05", NOON, of_noon("minutes", "ten_minutes", "hours", "six_hours")),
    ("2026-01-06 00:00:04", NOON, of_noon("minutes", "ten_minutes", "hours", "six_hours")),
    ("2026-01-06 00:00:05", NOON, of_noon("minutes", "ten_minutes", "hours", "six_hours", "days")),
    # Readers read the last minutes of a day from their entries, also of a late day.
    ("2026-01-06 00:04:04", [day("2026-01-05", late=1)], NOTHING),
    ("2026-01-06 00:04:05", [day("2026-01-05", late=1)], {"late_days": ["2026-01-05 00:00"]}),
    ("2026-01-31 23:59:59", [month("2026-01-01")], NOTHING),
    ("2026-02-01 00:00:00", [month("2026-01-01")], {"months": ["2026-01-01 00:00"]}),
    ("2025-12-31 23:59:59", [month("2025-12-01")], NOTHING),
    ("2026-01-01 00:00:00", [month("2025-12-01")], {"months": ["2025-12-01 00:00"]}),
    ("2026-01-05 13:00:05", [], NOTHING),
]


@pytest.mark.parametrize(("now", "opened", "expected"), OVER)
def test_a_bucket_is_rolled_up_once_it_is_over(
    now: str, opened: Sequence[Open], expected: dict[str, list[str]]
) -> None:
    assert (OVER_SECONDS, OPEN_MINUTES) == (5, 3)
    for written_before in (None, seen(*opened)):
        assert names(planned(opened, at(now), written_before)) == expected


MIDDAY, MIDNIGHT = "2026-01-05 13:10", "2026-01-06 00:10"
GROWING: list[tuple[str, str, Sequence[Open], Sequence[Open], dict[str, list[str]]]] = [
    (
        "a minute that grew waits, and so does its hour",
        MIDDAY,
        [minute("2026-01-05 12:00", 3), minute("2026-01-05 12:01", 2), hour("2026-01-05 12:00")],
        [minute("2026-01-05 12:00", 2), minute("2026-01-05 12:01", 2)],
        {"minutes": ["2026-01-05 12:01"]},
    ),
    (
        "a minute that nobody looked at before waits",
        MIDDAY,
        [*NOON],
        [minute("2026-01-05 12:01")],
        NOTHING,
    ),
    (
        "an hour waits for none of another hour",
        MIDDAY,
        [minute("2026-01-05 11:59", 2), hour("2026-01-05 11:00"), hour("2026-01-05 12:00")],
        [minute("2026-01-05 11:59", 1)],
        {"hours": ["2026-01-05 12:00"]},
    ),
    (
        "an hour waits for a minute that is not over",
        "2026-01-05 13:00:30",
        [minute("2026-01-05 13:00"), hour("2026-01-05 13:00"), hour("2026-01-05 12:00")],
        [minute("2026-01-05 13:00"), hour("2026-01-05 13:00"), hour("2026-01-05 12:00")],
        {"hours": ["2026-01-05 12:00"]},
    ),
    (
        "a day waits for its hours, and they for their minutes",
        MIDNIGHT,
        [
            minute("2026-01-05 12:00", 2),
            hour("2026-01-05 12:00"),
            hour("2026-01-05 13:00"),
            day("2026-01-05"),
        ],
        [minute("2026-01-05 12:00", 1)],
        {"hours": ["2026-01-05 13:00"]},
    ),
    (
        "ten minutes, six hours and a day wait for what they consist of",
        MIDNIGHT,
        [
            minute("2026-01-05 12:09", 2),
            *(ten("2026-01-05 12:00"), ten("2026-01-05 12:10")),
            *(hour("2026-01-05 12:00"), hour("2026-01-05 18:00")),
            *(six("2026-01-05 12:00"), six("2026-01-05 18:00"), day("2026-01-05")),
        ],
        [minute("2026-01-05 12:09", 1)],
        {
            "ten_minutes": ["2026-01-05 12:10"],
            "hours": ["2026-01-05 18:00"],
            "six_hours": ["2026-01-05 18:00"],
        },
    ),
    (
        "a day waits for none of another day",
        MIDNIGHT,
        [minute("2026-01-04 12:00", 2), hour("2026-01-04 12:00"), day("2026-01-05")],
        [minute("2026-01-04 12:00", 1)],
        {"days": ["2026-01-05 00:00"]},
    ),
    (
        "hours and days are not asked whether they grew: their minutes are",
        MIDNIGHT,
        [hour("2026-01-05 12:00"), day("2026-01-05")],
        [],
        {"hours": ["2026-01-05 12:00"], "days": ["2026-01-05 00:00"]},
    ),
    (
        "a late day that grew in time waits",
        MIDNIGHT,
        [day("2026-01-03", 6, late=2)],
        [day("2026-01-03", 5, late=2)],
        NOTHING,
    ),
    (
        "a late day that grew late waits",
        MIDNIGHT,
        [day("2026-01-03", 5, late=3)],
        [day("2026-01-03", 5, late=2)],
        NOTHING,
    ),
    (
        "a late day that nobody looked at before waits",
        MIDNIGHT,
        [day("2026-01-03", late=1)],
        [],
        NOTHING,
    ),
]
HELD: list[tuple[str, str, Sequence[Open], Sequence[Open], dict[str, list[str]]]] = [
    (
        "a late day is rolled up from the ledger, what it consists of is left alone",
        MIDNIGHT,
        [
            *(minute("2026-01-03 12:00"), ten("2026-01-03 12:00")),
            *(hour("2026-01-03 12:00"), six("2026-01-03 12:00")),
            day("2026-01-03", 5, late=2),
            minute("2026-01-04 12:00"),
            hour("2026-01-04 12:00"),
            day("2026-01-04"),
        ],
        [minute("2026-01-03 12:00"), minute("2026-01-04 12:00"), day("2026-01-03", 5, late=2)],
        {
            "minutes": ["2026-01-04 12:00"],
            "hours": ["2026-01-04 12:00"],
            "days": ["2026-01-04 00:00"],
            "late_days": ["2026-01-03 00:00"],
        },
    ),
    (
        "a month waits for a day that is rolled up now",
        "2026-02-01 00:10",
        [day("2026-01-31"), month("2026-01-01"), month("2025-12-01")],
        [],
        {"days": ["2026-01-31 00:00"], "months": ["2025-12-01 00:00"]},
    ),
    (
        "a month waits for a late day, also when it is rolled up now",
        "2026-02-01 00:10",
        [
            *(day("2026-01-03", late=1), day("2025-12-03", late=1)),
            *(month("2026-01-01"), month("2025-12-01"), month("2025-11-01")),
        ],
        [day("2026-01-03", late=1)],
        {"late_days": ["2026-01-03 00:00"], "months": ["2025-11-01 00:00"]},
    ),
    (
        "a month waits for none of the next",
        "2026-02-01 00:10",
        [day("2026-02-01"), month("2026-01-01"), month("2026-02-01")],
        [],
        {"months": ["2026-01-01 00:00"]},
    ),
    (
        "each level is in the order of time, whatever the order of the rows",
        MIDDAY,
        [minute("2026-01-05 12:01"), minute("2026-01-05 12:00"), minute("2026-01-04 12:02")],
        [minute("2026-01-05 12:01"), minute("2026-01-05 12:00"), minute("2026-01-04 12:02")],
        {"minutes": ["2026-01-04 12:02", "2026-01-05 12:00", "2026-01-05 12:01"]},
    ),
]


@pytest.mark.parametrize(
    ("now", "opened", "before", "expected"),
    [case[1:] for case in (*GROWING, *HELD)],
    ids=[case[0] for case in (*GROWING, *HELD)],
)
def test_what_a_bucket_waits_for(
    now: str, opened: Sequence[Open], before: Sequence[Open], expected: dict[str, list[str]]
) -> None:
    assert names(planned(opened, at(now), seen(*before))) == expected


@pytest.mark.parametrize(
    ("now", "opened"), [case[1:3] for case in GROWING], ids=[case[0] for case in GROWING]
)
def test_without_a_look_before_nothing_waits_for_growth(now: str, opened: Sequence[Open]) -> None:
    """What is over is rolled up as if it had been seen before as it is."""
    impatient = planned(opened, at(now), None)
    assert impatient == planned(opened, at(now), seen(*opened))
    assert any(impatient)
    over = {one for one in opened if one.bucket + LENGTHS[one.level] <= at(now)}
    assert {one for level in impatient for one in level} == over


def test_late_days_are_rolled_up_together_while_they_have_few_entries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(roll_up, "ENTRIES_AT_ONCE", 10)
    days = [day(f"2026-01-{number:02}", late=1) for number in range(1, 10)]
    entries = dict(zip((one.bucket for one in days), (25, 6, 4, 1, 2, 2, 2, 0), strict=False))
    groups = [[one.bucket.day for one in group] for group in roll_up._batches(days, entries)]
    assert groups == [[1], [2, 3], [4, 5, 6, 7, 8, 9]]
    assert list(roll_up._batches([], {})) == []


# -- properties

FIRST = at("2026-01-30 22:00")


@st.composite
def openings(draw: st.DrawFn) -> list[Open]:
    """Open buckets as notes make them: of some minutes, at each level; and late days."""
    counts: dict[tuple[str, datetime], int] = {}
    offsets = st.integers(0, 5 * 24 * 60)
    for offset, written in draw(
        st.dictionaries(offsets, st.integers(1, 3), min_size=1, max_size=12)
    ).items():
        start = FIRST + timedelta(minutes=offset)
        hour_start = start.replace(minute=0)
        places = (
            (MINUTE, start),
            (TEN_MINUTES, start.replace(minute=start.minute // 10 * 10)),
            (HOUR, hour_start),
            (SIX_HOURS, hour_start.replace(hour=start.hour // 6 * 6)),
            (DAY, hour_start.replace(hour=0)),
        )
        for place in places:
            counts[place] = counts.get(place, 0) + written
    late: dict[tuple[str, datetime], int] = {
        (DAY, FIRST.replace(hour=0) + timedelta(days=days)): writes
        for days, writes in draw(
            st.dictionaries(st.integers(-40, 4), st.integers(1, 3), max_size=3)
        ).items()
    }
    for start in draw(st.sets(st.sampled_from([at("2025-12-01"), at("2026-01-01")]))):
        counts[MONTH, start] = 1
    return draw(
        st.permutations(
            [
                Open(
                    level=level,
                    bucket=start,
                    written=counts.get((level, start), 0),
                    written_late=late.get((level, start), 0),
                )
                for level, start in sorted(counts.keys() | late.keys())
            ]
        )
    )


def inside(part: Open, whole: Open) -> bool:
    end = whole.bucket + LENGTHS.get(whole.level, timedelta(days=31))
    same_month = whole.level != MONTH or part.bucket.month == whole.bucket.month
    return whole.bucket <= part.bucket < end and same_month


FINER: Mapping[str, str] = {
    TEN_MINUTES: MINUTE,
    HOUR: TEN_MINUTES,
    SIX_HOURS: HOUR,
    DAY: SIX_HOURS,
    MONTH: DAY,
}


@given(opened=openings(), data=st.data())
def test_nothing_is_rolled_up_before_what_it_consists_of(
    opened: list[Open], data: st.DataObject
) -> None:
    now = FIRST + timedelta(minutes=data.draw(st.integers(0, 8 * 24 * 60)))
    before = data.draw(st.none() | st.just(seen(*data.draw(st.permutations(opened))[:3])))
    plan = planned(opened, now, before)
    rolled = [
        *(*plan.minutes, *plan.ten_minutes, *plan.hours, *plan.six_hours),
        *(*plan.days, *plan.months),
    ]
    assert len({*rolled, *plan.late_days}) == len(rolled) + len(plan.late_days), "one twice"
    for one in rolled:
        assert one in opened
        assert one.bucket + LENGTHS.get(one.level, timedelta(days=28)) <= now
        parts = [
            part for part in opened if part.level == FINER.get(one.level) and inside(part, one)
        ]
        assert all(part in rolled and one.level != MONTH for part in parts), (one, parts)
        assert not any(
            other.is_late and inside(one, other)
            for other in opened
            if other.level == DAY and one.level != MONTH
        )
    for one in plan.late_days:
        assert one in opened
        assert one.level == DAY
        assert one.is_late


@given(openings())
def test_step_by_step_everything_that_is_over_is_rolled_up(opened: list[Open]) -> None:
    now = at("2026-03-01 01:00")
    remaining = set(opened)
    before: dict[tuple[str, datetime], int] = {}
    for _ in range(6):
        plan = planned(sorted(remaining), now, before)
        before = seen(*remaining)
        for one in {one for level in plan for one in level}:
            remaining.remove(one)
            if one.level == DAY:
                # What a month contains has changed.
                remaining.add(bucket(MONTH, one.bucket.strftime("%Y-%m-01")))
    assert not remaining
