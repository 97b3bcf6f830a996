"""The writer's retry policy, in one place.

Every attempt reads before it writes, so a retry is always safe. The loser of a race decides on the
new state. After a broken connection the idempotency key shows whether the first attempt succeeded.
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
"""Longer than the 1.5 to 4 s that a standby needs to take over from a dead primary."""
WAIT_SECONDS_FIRST = 0.002
WAIT_SECONDS_MAX = 0.5


def retrying(
    store: EventStore, *, attempts_max: int = ATTEMPTS_MAX, retry_seconds: float = RETRY_SECONDS
) -> Retrying:
    """Return a policy for reading and appending in `store`; raises the last error in the end."""

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
