"""Literals of enumerated values in SQL, which PostgreSQL and ClickHouse write alike."""

from collections.abc import Iterable


def quoted(words: Iterable[str]) -> str:
    """Return literals for `IN (…)`; without words, a literal that equals none of them.

    Enumerated values contain no quotes.
    """
    return ", ".join(f"'{word}'" for word in words) or "''"
