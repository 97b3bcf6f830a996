"""Upcasters: how a row of an older `schema_version` reads in the next one, version by version.

`payments` is append-only, so a row of every version that ever was stays in it, and in the topic,
for ever. Whoever acts on what a row *means* (the fold, the writer's decisions) reads it through
`upcast`; what the table *holds* is never changed, neither there nor in `payment_events`.
How to add a version: docs/how-to/change-an-event.md.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from schemas.errors import MalformedRecord, SchemaVersionError
from schemas.events import SCHEMA_VERSION

Row = dict[str, Any]
"""Column -> value as JSON has it: ids and times are texts, `details` is JSON in a text."""

Upcaster = Callable[[Row], Row]
"""A pure function of one row; it gets a copy, and need not set `schema_version`."""

UPCASTERS: Mapping[int, Upcaster] = MappingProxyType({})
"""Version -> how its row reads in the next one. Empty: there is only one version."""

UNCHANGEABLE = ("payment_id", "seq", "occurred_at", "recorded_at")
"""Which event it is and when it was: views find, compare and partition rows by these."""

_ERROR_TEXT_MAX = 200


def check_complete(upcasters: Mapping[int, Upcaster], newest: int) -> None:
    """Return when there is one upcaster for each version before `newest`, and no other.

    Raises:
        SchemaVersionError: names the versions that are missing or too many.
    """
    needed = set(range(1, newest))
    missing, surplus = sorted(needed - upcasters.keys()), sorted(upcasters.keys() - needed)
    if missing or surplus:
        raise SchemaVersionError(
            f"UPCASTERS: versions without an upcaster: {missing}, upcasters without a version:"
            f" {surplus}; SCHEMA_VERSION {newest} needs exactly 1 to {newest - 1},"
            " see docs/how-to/change-an-event.md"
        )


def upcast(row: Row, version: int) -> Row:
    """The row of an older `version` as `SCHEMA_VERSION` means it; `row` itself stays as it is.

    Raises:
        MalformedRecord: an upcaster raised, or changed what it may not.
    """
    for step in range(version, SCHEMA_VERSION):
        problem = ""
        try:
            after = UPCASTERS[step](dict(row))
            problem = _overstepped(row, after)
        except Exception as error:  # noqa: BLE001 - or one row would stop its partition for ever
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:_ERROR_TEXT_MAX]}"
        if problem:
            raise MalformedRecord(
                f"row of schema_version {step}: its upcaster failed on it: {problem};"
                " correct the upcaster, then redrive"
            )
        row = after | {"schema_version": step + 1}
    return row


def _overstepped(before: Row, after: Row) -> str:
    """What an upcaster did that it may not, or nothing."""
    if not isinstance(after, dict):
        return f"returned {type(after).__name__}, not a row"
    changed = [column for column in UNCHANGEABLE if after.get(column) != before.get(column)]
    return f"{', '.join(changed)}: an upcaster may not change it" if changed else ""


check_complete(UPCASTERS, SCHEMA_VERSION)
