"""Bounds of time in query parameters: a day, or a time in RFC 3339. Pure.

`from` is included. `to` is excluded if it is a time; a day is included as a whole.
"""

import re
from datetime import UTC, date, datetime, timedelta

from schemas.times import parse_time
from service.problems import Problem

_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
FIRST, LAST = datetime(1970, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
"""No row is from before the one, or from the other or later."""


def lower_bound(text: str | None) -> datetime:
    """The first moment of a period; the first of all without a bound. Raises Problem."""
    return FIRST if text is None else _moment("from", text, timedelta(0))


def upper_bound(text: str | None) -> datetime:
    """The moment after a period; the last of all without a bound. Raises Problem."""
    return LAST if text is None else _moment("to", text, timedelta(days=1))


def days_between(lower: datetime, upper: datetime) -> tuple[date, date]:
    """The first and the last UTC day that a period touches."""
    return lower.date(), (upper - timedelta(microseconds=1)).date()


def period(from_: str | None, to: str | None) -> tuple[datetime, datetime]:
    """Both bounds of a period.

    Raises:
        Problem: not a time, or it ends before it begins.
    """
    lower, upper = lower_bound(from_), upper_bound(to)
    # A day that ends where the period begins is the day before.
    if upper < lower or (upper == lower and to is not None and _DAY.fullmatch(to)):
        raise _wrong("to", "is before `from`; swap them")
    return lower, upper


def _moment(name: str, text: str, whole_day: timedelta) -> datetime:
    is_day = _DAY.fullmatch(text) is not None
    try:
        if is_day:
            day = date.fromisoformat(text)
            found = datetime(day.year, day.month, day.day, tzinfo=UTC)
        else:
            # A plus sign that was not escaped arrives as a space.
            found = parse_time(text[:-6] + text[-6:].replace(" ", "+")).astimezone(UTC)
    except OverflowError:
        raise _wrong(name, "is out of range; give a year from 1970 to 2099") from None
    except ValueError as error:
        problem = "is not a day that exists" if is_day else str(error)
        raise _wrong(name, f"{problem}; a day such as 2024-05-31 is possible too") from None
    if not FIRST <= found < LAST:
        raise _wrong(name, "is out of range; give a year from 1970 to 2099")
    return found + whole_day if is_day else found


def _wrong(name: str, problem: str) -> Problem:
    return Problem("field_invalid", f"{name}: {problem}", field=f"/{name}", more={"in": "query"})
