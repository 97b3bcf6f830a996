"""Upcasters: convert a row of an older `schema_version` to the next one, version by version.

`payments` is append-only, so rows of every version stay in it, and in the topic, for ever. Code
that acts on a row's *meaning* (the fold, the writer's decisions) reads it through `upcast`. The
*stored* row is never changed, neither in the table nor in `payment_events`.
docs/how-to/change-an-event.md describes how to add a version.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from schemas.errors import MalformedRecord, SchemaVersionError
from schemas.events import SCHEMA_VERSION

Row = dict[str, Any]
"""Column -> JSON value: ids and times are texts, `details` is JSON in a text."""

Upcaster = Callable[[Row], Row]
"""A pure function of one row; it gets a copy and need not set `schema_version`."""

UPCASTERS: Mapping[int, Upcaster] = MappingProxyType({})
"""Version -> function to the next version. Empty: there is only one version."""

UNCHANGEABLE = ("payment_id", "seq", "occurred_at", "recorded_at")
"""Identity and times of an event: views find, compare and partition rows by these columns."""

_ERROR_TEXT_MAX = 200


def check_complete(upcasters: Mapping[int, Upcaster], newest: int) -> None:
    """Check that each version before `newest` has an upcaster, and that there are no others.

    Raises:
        SchemaVersionError: names the versions that are missing or superfluous.
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
    """Return a row of an older `version`, converted to `SCHEMA_VERSION`; does not change `row`.

    Raises:
        MalformedRecord: an upcaster raised, or changed a column that it must not change.
    """
    for step in range(version, SCHEMA_VERSION):
        problem = ""
        try:
            after = UPCASTERS[step](dict(row))
            problem = _overstepped(row, after)
        except Exception as error:  # noqa: BLE001 - or one row would block its partition
            problem = f"{type(error).__name__}: {' '.join(str(error).split())[:_ERROR_TEXT_MAX]}"
        if problem:
            raise MalformedRecord(
                f"row of schema_version {step}: its upcaster failed on it: {problem};"
                " correct the upcaster, then redrive"
            )
        row = after | {"schema_version": step + 1}
    return row


def _overstepped(before: Row, after: Row) -> str:
    """Return what an upcaster did that it must not do, or an empty text."""
    if not isinstance(after, dict):
        return f"returned {type(after).__name__}, not a row"
    changed = [column for column in UNCHANGEABLE if after.get(column) != before.get(column)]
    return f"{', '.join(changed)}: an upcaster may not change it" if changed else ""


check_complete(UPCASTERS, SCHEMA_VERSION)
