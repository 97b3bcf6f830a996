"""Times as text: RFC 3339 is taken, everything else refused, nothing cut."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import parse_time

NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)

TAKEN: list[tuple[str, datetime]] = [
    ("2024-05-31T12:00:00Z", NOON),
    ("2024-05-31t12:00:00z", NOON),
    ("2024-05-31 12:00:00Z", NOON),
    ("2024-05-31T12:00:00+00:00", NOON),
    ("2024-05-31T12:00:00-00:00", NOON),
    ("2024-05-31T13:00:00+01:00", NOON),
    ("2024-06-01T11:59:00+23:59", NOON),
    ("2024-05-30T12:01:00-23:59", NOON),
    ("2024-05-31T12:00:00.5Z", NOON + timedelta(microseconds=500_000)),
    ("2024-05-31T12:00:00.000001Z", NOON + timedelta(microseconds=1)),
    ("2024-05-31T12:00:00.00000100000Z", NOON + timedelta(microseconds=1)),
    ("2024-05-31T12:00:00.000000000Z", NOON),
    ("2024-02-29T23:59:59.999999Z", datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC)),
    ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
]


@pytest.mark.parametrize(("text", "time"), TAKEN, ids=[text for text, _ in TAKEN])
def test_taken(text: str, time: datetime) -> None:
    assert parse_time(text) == time


NOT_A_TIME = "is not a time; write it as 2024-05-31T12:00:00Z"

REFUSED: list[tuple[str, str]] = [
    ("2024-05-31T12:00:00.0000001Z", "is finer than a microsecond"),
    ("2024-05-31T12:00:00.9999999+01:00", "is finer than a microsecond"),
    ("2016-12-31T23:59:60Z", "has a leap second"),
    ("2016-12-31T23:59:60.5Z", "has a leap second"),
    ("2024-05-31T12:00:00", "has no time zone"),
    ("2024-05-31T12:00:00.5", "has no time zone"),
    ("2024-05-31", "has no time zone"),
    ("2024-05-31T12:00", "has no time zone"),
    *(
        (text, NOT_A_TIME)
        for text in (
            "", "now", "1717156800", "2024-05-31T12:00Z", "2024-05-31T12Z", "20240531T120000Z",
            "2024-05-31T120000Z", "2024-W22-5T12:00:00Z", "2024-152T12:00:00Z",
            "2024-05-31T12:00:00,5Z", "2024-05-31T12:00:00.Z", "2024-05-31T24:00:00Z",
            "2024-05-31T12:00:000Z", "2024-05-31T12:60:00Z", "2024-05-31T12:00:61Z",
            "2023-02-29T12:00:00Z",
            "2024-13-01T12:00:00Z", "2024-00-31T12:00:00Z", "0000-05-31T12:00:00Z",
            "-2024-05-31T12:00:00Z", "12024-05-31T12:00:00Z", "2024-05-31☃12:00:00Z",
            "2024-05-31\n12:00:00Z", "2024-05-31_12:00:00Z", "2024-05-31  12:00:00Z",
            " 2024-05-31T12:00:00Z", "2024-05-31T12:00:00Z\n", "2024-05-31T12:00:00 Z",
            "2024-05-31T12:00:00ZZ", "2024-05-31T12:00:00+1:00", "2024-05-31T12:00:00+01",
            "2024-05-31T12:00:00+0100", "2024-05-31T12:00:00+01:00:30",
            "2024-05-31T12:00:00+01:00:30.5", "2024-05-31T12:00:00+24:00",
            "2024-05-31T12:00:00+01:60", "2024-05-31T12:00:00−01:00", "2024-05-31T12:00:00UTC",
            "2024-05-31T12:00:00 Europe/Berlin", "２０２４-05-31T12:00:00Z",
            "2024-05-31T12:00:0٣Z",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), REFUSED, ids=[ascii(text) for text, _ in REFUSED])
def test_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words):
        parse_time(text)


_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(timezones=_ZONES), st.sampled_from("Tt "), st.integers(0, 3))
def test_every_time_comes_back_to_the_microsecond(
    time: datetime, separator: str, more: int
) -> None:
    text = time.isoformat(sep=separator, timespec="microseconds")
    assert parse_time(text[:26] + "0" * more + text[26:]) == time
