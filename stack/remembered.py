"""Settings that a stack keeps with its data, for later commands without the variables."""

import json

from stack.layout import Home, write_private
from stack.settings import StackSettings

REMEMBERED = ("port_base", "views_workers")


def remember(home: Home, settings: StackSettings) -> None:
    """Store them with the data."""
    kept = {name: getattr(settings, name) for name in REMEMBERED}
    write_private(home.ports_file, json.dumps(kept))


def remembered(home: Home, settings: StackSettings) -> StackSettings:
    """The settings of the last start of this home, unless the caller chose others."""
    found = {name: stored(home, name) for name in REMEMBERED}
    return settings.model_copy(
        update={
            name: value
            for name, value in found.items()
            if value is not None and name not in settings.model_fields_set
        }
    )


def stored(home: Home, name: str) -> int | None:
    """A stored setting; None if nothing readable is stored."""
    try:
        return int(json.loads(home.ports_file.read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError):
        return None
