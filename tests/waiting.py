"""The one way to wait in a test: ask until it holds, or fail and say what was seen last.

Every wait is bounded, and every wait says what it was for.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

WAIT_SECONDS = 90.0
POLL_SECONDS = 0.1

_Answer = TypeVar("_Answer")


def wait_until(
    condition: Callable[[], _Answer],
    what: str,
    *,
    seconds: float = WAIT_SECONDS,
    poll_seconds: float = POLL_SECONDS,
    seen: Callable[[], object] | None = None,
) -> _Answer:
    """The first true answer of `condition`.

    Raises AssertionError when there is none within `seconds`. It names `what` was awaited and
    shows `seen()`, or the last answer. What `condition` raises ends the wait at once.
    """
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            last = answer if seen is None else seen()
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {last}")
        time.sleep(poll_seconds)
    return answer


async def wait_until_async(
    condition: Callable[[], _Answer],
    what: str,
    *,
    seconds: float = WAIT_SECONDS,
    poll_seconds: float = POLL_SECONDS,
) -> _Answer:
    """The same while an event loop runs."""
    deadline = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {answer}")
        await asyncio.sleep(poll_seconds)
    return answer


def throughout(seconds: float, *, poll_seconds: float = POLL_SECONDS) -> Iterator[None]:
    """Looks at what must hold for a while: one right away, then one in every `poll_seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() > deadline:
            return
        time.sleep(poll_seconds)
