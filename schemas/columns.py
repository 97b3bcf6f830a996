"""Columns of rows as the fold creates them: plain values, or compact forms that read as values.

A column is a sequence of Python values for code that reads it (`rows_of`, the in-memory sink). Most
columns are lists or arrays of 64-bit integers. Ids and times arrive as text and are passed on as
text, because a store casts a whole column of text many times faster than Python creates an object
for each value. The classes below hold such a column and create objects only when a value is read.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any, Generic, TypeVar, overload
from uuid import UUID

import pyarrow

Column = Sequence[Any]
Columns = Sequence[Column]
"""Rows of a table column by column, in the table's order; empty if there are no rows."""

ID_BYTES = pyarrow.binary(16)
"""Arrow's type of a UUID."""

Value = TypeVar("Value")
Raw = TypeVar("Raw")


class CompactColumn(Sequence[Value], Generic[Raw, Value]):
    """Values in another form, `raw`; subclasses define the form and how to read a value."""

    __slots__ = ("raw",)

    def __init__(self, raw: Sequence[Raw]) -> None:
        self.raw = raw

    def __len__(self) -> int:
        return len(self.raw)

    @overload
    def __getitem__(self, index: int) -> Value: ...
    @overload
    def __getitem__(self, index: slice) -> "CompactColumn[Raw, Value]": ...
    def __getitem__(self, index: int | slice) -> "Value | CompactColumn[Raw, Value]":
        if isinstance(index, slice):
            return type(self)(self.raw[index])
        return self.read(self.raw[index])

    @staticmethod
    def read(raw: Raw) -> Value:
        """Return the value of one entry."""
        raise NotImplementedError


class IdTexts(CompactColumn[str, UUID]):
    """UUIDs as 36 characters: lower case, with dashes."""

    __slots__ = ()

    @staticmethod
    def read(raw: str) -> UUID:
        """Return the id."""
        return UUID(raw)


class InstantTexts(CompactColumn[str, datetime]):
    """UTC times as ISO 8601 text with seconds and up to six decimals, ending in Z."""

    __slots__ = ()

    @staticmethod
    def read(raw: str) -> datetime:
        """Return the time."""
        return datetime.fromisoformat(raw)


class DayTexts(CompactColumn[str, date]):
    """Dates as YYYY-MM-DD."""

    __slots__ = ()

    @staticmethod
    def read(raw: str) -> date:
        """Return the date."""
        return date.fromisoformat(raw)


class Milliseconds(CompactColumn[int, datetime]):
    """UTC times as milliseconds since 1970."""

    __slots__ = ()

    @staticmethod
    def read(raw: int) -> datetime:
        """Return the time, to the millisecond."""
        return instant(raw)


class ArrowColumn(CompactColumn[Any, Any]):
    """Values as an Arrow array, which a sink sends unchanged; ids are 16 bytes in it."""

    __slots__ = ()
    raw: Any

    def __iter__(self) -> Iterator[Any]:
        values = self.raw.to_pylist()
        return map(_id, values) if self.raw.type == ID_BYTES else iter(values)

    @staticmethod
    def read(raw: Any) -> Any:
        """Return the value of an Arrow scalar."""
        return _id(raw.as_py()) if raw.type == ID_BYTES else raw.as_py()


def _id(value: bytes | None) -> UUID | None:
    return None if value is None else UUID(bytes=value)


def instant(milliseconds: int) -> datetime:
    """Convert milliseconds since 1970 to a UTC time; below 0 (Kafka's "none") gives 1970."""
    return datetime.fromtimestamp(milliseconds / 1000 if milliseconds > 0 else 0, UTC)
