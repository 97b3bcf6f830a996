"""Times as text: RFC 3339 is taken, everything else refused, nothing cut."""

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times import parse_time
from tests.times import REFUSED, TAKEN


@pytest.mark.parametrize(("text", "time"), TAKEN, ids=[text for text, _ in TAKEN])
def test_taken(text: str, time: datetime) -> None:
    assert parse_time(text) == time


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
