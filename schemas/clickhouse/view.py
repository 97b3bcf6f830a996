"""The types that describe a ClickHouse view: its columns, its amounts, what it reads.

`schemas.clickhouse.catalogue` describes every view with them. This module knows no view. It imports
only small modules, because the local ClickHouse server reads the catalogue too.
"""

from collections.abc import Iterator
from dataclasses import dataclass

RAW_SUFFIX = "_raw"
"""Suffix of every table behind a view."""

MINOR = "Int128"
"""Also where the table has Int64: a sum has the type of its terms, and Int64 sums wrap silently."""

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
    """An amount twice: `x_minor`, an integer of minor units, and `x`, a decimal of major units.

    `expression` computes the minor units if the raw table has no column `x_minor`.
    """

    name: str
    meaning: str
    expression: str = ""

    @property
    def minor(self) -> str:
        """Name of the column in minor units."""
        return f"{self.name}_minor"

    def columns(self) -> Iterator[Column]:
        """Yield both columns; `minor_units` is the number of minor units per major unit."""
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
    """A view: `shows` describes one row, `contents` are its columns, `source` what follows FROM.

    - `of`: alias of the raw columns' table, if `source` has more than one table.
    - `key`: columns that identify a row.
    - `grouped`: whether rows of `source` are summed by `key`.
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
        """All columns, in order."""
        found: list[Column] = []
        for content in self.contents:
            found += content.columns() if isinstance(content, Amount) else [content]
        return tuple(found)

    @property
    def raw(self) -> str:
        """What the view reads: by default its raw table, deduplicated."""
        return self.source or f"{self.name}{RAW_SUFFIX} FINAL"

    @property
    def has_amounts(self) -> bool:
        """Whether there are amounts, and therefore a currency in every row."""
        return any(isinstance(content, Amount) for content in self.contents)


TEXT = "String"
WORD = "LowCardinality(String)"
MICROSECONDS = "DateTime64(6, 'UTC')"
MILLISECONDS = "DateTime64(3, 'UTC')"


def column(name: str, type_: str, meaning: str, expression: str = "") -> Column:
    """Return a column; see `Column`."""
    return Column(name=name, type=type_, meaning=meaning, expression=expression)


def amount(name: str, meaning: str, expression: str = "") -> Amount:
    """Return an amount; see `Amount`."""
    return Amount(name=name, meaning=meaning, expression=expression)


CURRENCY = column("currency", WORD, "ISO 4217 code, such as EUR")
