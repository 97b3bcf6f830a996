"""How long the writer tries again, in one place.

Every try reads before it writes, so trying again is always safe: who was slower in a race decides
on the new state, and after a broken connection the idempotency key tells whether the first try is
in.
"""

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_after_delay,
    wait_random_exponential,
)

from schemas.errors import ServiceUnavailable
from writer.store import EventStore, StreamMoved

ATTEMPTS_MAX = 100
RETRY_SECONDS = 15.0
"""Longer than the 1.5 to 4 s in which a standby takes over from a primary that died."""
WAIT_SECONDS_FIRST = 0.002
WAIT_SECONDS_MAX = 0.5


def retrying(
    store: EventStore, *, attempts_max: int = ATTEMPTS_MAX, retry_seconds: float = RETRY_SECONDS
) -> Retrying:
    """A policy for what reads and appends in `store`; raises the last error when it gives up."""

    def before_sleep(attempt: RetryCallState) -> None:
        error = attempt.outcome.exception() if attempt.outcome else None
        if not isinstance(error, StreamMoved):
            store.recover()

    return Retrying(
        retry=retry_if_exception_type(ServiceUnavailable),
        stop=stop_after_attempt(attempts_max) | stop_after_delay(retry_seconds),
        wait=wait_random_exponential(multiplier=WAIT_SECONDS_FIRST, max=WAIT_SECONDS_MAX),
        before_sleep=before_sleep,
        reraise=True,
    )
