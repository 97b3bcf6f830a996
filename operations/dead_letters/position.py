"""A record's position in Kafka, as operators write it: TOPIC/PARTITION/OFFSET."""

import re
from typing import NamedTuple, Self

from schemas.errors import UsageError

_TEXT = re.compile(r"([A-Za-z0-9._-]{1,249})/([0-9]{1,10})/([0-9]{1,19})")
_PARTITION_MAX, _OFFSET_MAX = 2**31 - 1, 2**63 - 1


class Position(NamedTuple):
    """A record's topic, partition and offset: the key of a dead letter."""

    topic: str
    partition: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `purser.public.payments/3/1042`, the form that `str()` gives.

        Raises:
            UsageError: the text has another form.
        """
        match = _TEXT.fullmatch(text)
        if match is not None:
            topic, partition, offset = match[1], int(match[2]), int(match[3])
            if partition <= _PARTITION_MAX and offset <= _OFFSET_MAX:
                return cls(topic, partition, offset)
        raise UsageError(
            "position",
            f"{text[:80]!r} is not TOPIC/PARTITION/OFFSET like purser.public.payments/3/1042;"
            " `purser dead-letters list` prints them",
        )

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"
