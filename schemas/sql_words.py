"""Texts and names inside SQL that we write.

`quoted` is for both databases and for words of ours only. The rest is ClickHouse's spelling, where
a backslash escapes; PostgreSQL's driver takes every other value as a parameter.
"""

from collections.abc import Iterable


def quoted(words: Iterable[str]) -> str:
    """Return literals for `IN (…)`; without words, a literal that equals none of them.

    Enumerated values contain no quotes.
    """
    return ", ".join(f"'{word}'" for word in words) or "''"


def clickhouse_literal(text: str) -> str:
    """Any text as a string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def clickhouse_name(name: str) -> str:
    """Any name as a quoted identifier."""
    escaped = name.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"
