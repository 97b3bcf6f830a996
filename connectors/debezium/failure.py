"""What Kafka Connect says about a FAILED task, in words for people: the error and the place; pure.

The first line of Connect's traces is often only how the failure was noticed, such as "Tolerance
exceeded in error handler". The cause is the last error of the chain. Traces do not name the record
that failed, so the place is the last record that has reached Kafka.
"""

import re
from collections.abc import Mapping
from typing import Any

ERROR_CHARACTERS_MOST = 500
"""An error's text may contain a whole row."""

# Indented ones belong to suppressed errors, which are not the cause.
_CAUSE = re.compile(r"^Caused by: ", re.MULTILINE)
_FRAMES = re.compile(r"^\s+(?:at\b|\.\.\. \d+ more|Suppressed: )", re.MULTILINE)


def root_error(trace: str | None) -> str | None:
    """Return the innermost error on one line, then those that wrap it; None if there is none.

    For example `…RecordTooLargeException: The message is 20 bytes … (reported as
    …ConnectException: Unrecoverable exception trying to send)`.
    """
    root, *wrappers = reversed([_one_line(error) for error in _CAUSE.split(trace or "")])
    told = [wrapper for wrapper in wrappers if wrapper and not _only_repeats(wrapper, root)]
    return (f"{root} (reported as {'; '.join(told)})" if told else root) or None


def _only_repeats(wrapper: str, root: str) -> bool:
    """Return whether a wrapper adds only its own class, as Java's do by default."""
    return wrapper.endswith(root) and " " not in wrapper.removesuffix(root).rstrip()


def _one_line(error: str) -> str:
    text = " ".join(_FRAMES.split(error, maxsplit=1)[0].split())
    if len(text) > ERROR_CHARACTERS_MOST:
        text = text[:ERROR_CHARACTERS_MOST].rstrip() + "…"
    return text


def place(offsets: Mapping[str, Any], config: Mapping[str, str]) -> str | None:
    """Return where a connector has stopped, from two answers of Connect; None if they do not say.

    `offsets` is what Connect stored with the last records that have reached Kafka.
    """
    if "offsets" not in offsets or "table.include.list" not in config:
        return None
    topic = f"{config['topic.prefix']}.{config['table.include.list']}"
    lasts = [each["offset"] for each in offsets["offsets"] if "lsn" in (each["offset"] or {})]
    if not lasts:
        return f"stopped before the first record of topic {topic}"
    last = max(lasts, key=lambda offset: int(offset["lsn"]))
    lsn, transaction = int(last["lsn"]), last.get("txId", "unknown")
    return (
        f"stopped at a record of topic {topic} after transaction {transaction}, log position"
        f" {lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
    )
