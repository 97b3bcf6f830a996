"""Words of ours inside SQL: PostgreSQL and ClickHouse write text literals alike."""

from collections.abc import Iterable


def quoted(words: Iterable[str]) -> str:
    """Literals for `IN (…)`. Our words hold no quotes; no words become one that nothing equals."""
    return ", ".join(f"'{word}'" for word in words) or "''"
