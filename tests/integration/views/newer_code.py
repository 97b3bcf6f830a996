"""The code of a later release, as far as it matters to dead letters: what a fix or an upgrade is.

It knows an event type that today's code does not, and rows two versions newer, with an upcaster for
the one between. Run as a process of its own, so that no test sees it:

    python -m tests.integration.views.newer_code streams.views.worker
    python -m tests.integration.views.newer_code cli.main dead-letters redrive --all
"""

import importlib
import sys
from collections.abc import Callable
from enum import StrEnum
from types import ModuleType
from typing import Any

from schemas import lifecycle

NEW_EVENT_TYPE = "gift_wrapped"
VERSIONS_AHEAD = 2
"""Of this code: rows of the first are upcast, rows of the second are its own."""
NEW_METHOD, OLD_METHOD = "plastic", "card"
"""The first newer version calls a card plastic; the second has thought better of it."""

OURS = ("schemas", "streams", "writer")

Row = dict[str, Any]


def become_newer() -> None:
    """Patch the tables of this process; before anything else of ours is imported."""
    names = {member.name: member.value for member in lifecycle.EventType}
    newer = StrEnum("EventType", names | {"GIFT_WRAPPED": NEW_EVENT_TYPE})  # type: ignore[misc]
    _set(lifecycle, "EventType", newer)
    effects = importlib.import_module("schemas.effects")
    effects.EFFECTS[lifecycle.Direction.IN][newer(NEW_EVENT_TYPE)] = effects.Effect()
    importlib.import_module("streams.views.worker")
    importlib.import_module("cli.commands")
    present: int = importlib.import_module("schemas.events").SCHEMA_VERSION
    upcasters: dict[int, Callable[[Row], Row]] = {
        version: lambda row: row for version in range(1, present + VERSIONS_AHEAD)
    }
    upcasters[present + 1] = _without_plastic
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] in OURS:
            # Each has its own name for the version that it was imported with.
            if hasattr(module, "SCHEMA_VERSION"):
                _set(module, "SCHEMA_VERSION", present + VERSIONS_AHEAD)
            if hasattr(module, "UPCASTERS"):
                _set(module, "UPCASTERS", upcasters | dict(module.UPCASTERS))


def _without_plastic(row: Row) -> Row:
    return row | {"method": OLD_METHOD if row["method"] == NEW_METHOD else row["method"]}


def _set(module: ModuleType, name: str, value: object) -> None:
    vars(module)[name] = value


if __name__ == "__main__":
    become_newer()
    del sys.argv[0]
    importlib.import_module(sys.argv[0]).main()
