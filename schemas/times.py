"""Times written as text: RFC 3339, whole or refused. Pure.

Every time that a person or another program writes goes through `parse_time`, so that one text means
the same time everywhere. Nothing is rounded or cut: PostgreSQL keeps microseconds and no leap
second, so a time that has more is refused. (`streams/fold/decode_batch.py` reads what Debezium
wrote from PostgreSQL, in one known form.)
"""

import re
from datetime import datetime

TIME_HELP = "write it as 2024-05-31T12:00:00Z"

_DATE_AND_CLOCK = "[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
_OFFSET = "[Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9]"
_KEPT = re.compile(rf"({_DATE_AND_CLOCK}(?:\.[0-9]{{1,6}})?)(?:(?<=\.[0-9]{{6}})0+)?({_OFFSET})")
_FINER = re.compile(rf"{_DATE_AND_CLOCK}\.[0-9]{{7,}}(?:{_OFFSET})")
_WITHOUT_ZONE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[Tt ][0-9]{2}:[0-9]{2}[0-9:.]*)?")
_LEAP_SECOND = re.compile(r".{17}60.*")


def parse_time(text: str) -> datetime:
    """Convert an RFC 3339 time to an aware time.

    A space may stand for the T, as RFC 3339 allows. Zeros beyond the microseconds say nothing and
    are accepted.

    Raises:
        ValueError: what is wrong, and how to write a time; for a message after the field's name.
    """
    if (found := _KEPT.fullmatch(text)) is not None:
        clock, offset = found.groups()
        try:
            return datetime.fromisoformat(clock + offset.upper())
        except ValueError:
            if _LEAP_SECOND.fullmatch(clock):
                raise ValueError(
                    "has a leap second, which PostgreSQL cannot keep; write the second before it"
                ) from None
            raise ValueError("is a day or a time of day that does not exist; correct it") from None
    if _FINER.fullmatch(text):
        raise ValueError("is finer than a microsecond; round it to six digits after the point")
    if _WITHOUT_ZONE.fullmatch(text):
        raise ValueError(f"has no time zone; {TIME_HELP}, or with an offset such as +01:00")
    raise ValueError(f"is not a time; {TIME_HELP}")
