"""Finds the error that matters in the Java stack trace of a FAILED connector or task; pure.

The first line of Connect's traces is often only how the failure was noticed, such as "Tolerance
exceeded in error handler". The cause is the last error of the chain.
"""

import re

ERROR_CHARACTERS_MOST = 500
"""An error's text may contain a whole row."""

# Indented ones belong to suppressed errors, which are not the cause.
_CAUSE = re.compile(r"^Caused by: ", re.MULTILINE)
_FRAMES = re.compile(r"^\s+(?:at \S|\.\.\. \d+ more|Suppressed: )", re.MULTILINE)


def root_error(trace: str | None) -> str | None:
    """Return the innermost error on one line, then the outermost one in brackets; None if empty.

    For example `…RecordTooLargeException: The message is 20 bytes … (reported as
    …ConnectException: Unrecoverable exception trying to send)`.
    """
    errors = [_one_line(error) for error in _CAUSE.split(trace or "")]
    named = [error for error in errors if error]
    if not named:
        return None
    first, last = named[0], named[-1]
    # Java repeats a cause's text as the text of the error that wraps it.
    return last if first.endswith(last) else f"{last} (reported as {first})"


def _one_line(error: str) -> str:
    text = " ".join(_FRAMES.split(error, maxsplit=1)[0].split())
    if len(text) > ERROR_CHARACTERS_MOST:
        text = text[:ERROR_CHARACTERS_MOST].rstrip() + "…"
    return text
