"""How a view in ClickHouse is described: its columns, its amounts, what it reads.

`schemas.clickhouse.catalogue` describes every view in these terms; nothing here knows one. Imports
nothing that a small process would not want: the local ClickHouse server reads the catalogue too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

RAW_SUFFIX = "_raw"
"""Ends the name of every table behind a view."""

MINOR = "Int64"
MAJOR = "Decimal(38, 4)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a view; without an `expression` it is the raw table's column of that name."""

    name: str
    type: str
    meaning: str
    expression: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """An amount in both forms: `x_minor`, an integer of minor units, and `x`, a decimal of major.

    `expression` gives the minor units where the raw table has no column `x_minor`.
    """

    name: str
    meaning: str
    expression: str = ""

    @property
    def minor(self) -> str:
        """Name of the column in minor units."""
        return f"{self.name}_minor"

    def columns(self) -> Iterator[Column]:
        """The two columns; `minor_units` is how many of them the row's currency has in a major."""
        yield Column(
            name=self.minor,
            type=MINOR,
            meaning=f"{self.meaning}; in minor units of currency",
            expression=self.expression,
        )
        yield Column(
            name=self.name,
            type=MAJOR,
            meaning=f"{self.meaning}; in major units of currency",
            expression=f"toDecimal128({self.minor}, 4) / minor_units",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A view: `shows` is one row, `contents` its columns in order, `source` what follows FROM.

    - `of`: where the raw columns come from when `source` has more than one table: an alias.
    - `key`: columns that identify a row.
    - `grouped`: whether rows of `source` are added up by `key`.
    """

    name: str
    shows: str
    key: tuple[str, ...]
    contents: tuple[Column | Amount, ...]
    source: str = ""
    of: str = ""
    grouped: bool = False
    settings: str = ""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column, in order."""
        found: list[Column] = []
        for content in self.contents:
            found += content.columns() if isinstance(content, Amount) else [content]
        return tuple(found)

    @property
    def raw(self) -> str:
        """What the view reads: by default its raw table, each row once."""
        return self.source or f"{self.name}{RAW_SUFFIX} FINAL"

    @property
    def has_amounts(self) -> bool:
        """Whether there are amounts, and so a currency in every row."""
        return any(isinstance(content, Amount) for content in self.contents)
