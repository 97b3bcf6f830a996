"""The retry queue: what could not be asked of a processor, how often, and when to try again.

That a payment is pending follows from `payments`; how often it was tried in vain does not, and must
survive a restart, or a payment that never works would be tried without pause for ever. So each
failure is kept in a compacted Kafka topic, one record per payment: an attempt count and the time
before which nothing is tried. They count for what was open then: once the payment has moved on, that
is over, and what is open now begins anew. After `DEAD_AFTER` attempts it is a dead letter as well, for a person
to look at; it is still tried once a day, because no payment may stay in doubt. Pure.
"""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from schemas.ids import PaymentId

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=6)
DEAD_WAIT = timedelta(days=1)
DEAD_AFTER = 20
"""About two days of attempts, most of them hours apart."""

_ZERO = timedelta(0)


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """One payment in the queue.

    `attempt` counts the failures in a row, `reason` is the code of the last one. Nothing is tried
    before `not_before`. `last_seq`: how long the stream was that it failed with.
    """

    payment_id: UUID
    attempt: int
    not_before: datetime
    reason: str
    first_at: datetime
    last_at: datetime
    last_seq: int = 0

    @property
    def is_dead(self) -> bool:
        """Whether it has failed so often that a person must look at it."""
        return self.attempt >= DEAD_AFTER


def backoff(
    before: Retry | None,
    payment_id: PaymentId,
    reason: str,
    now: datetime,
    asked_wait: timedelta = _ZERO,
    last_seq: int = 0,
) -> Retry:
    """Return the queue's record after one more failure; waits double up to hours, then a day.

    `asked_wait` is how long the processor asks us to wait, if it does. `last_seq` is how long the
    payment's stream was.
    """
    attempt = before.attempt + 1 if before else 1
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt - 1, 20))
    if attempt >= DEAD_AFTER:
        wait = DEAD_WAIT
    return Retry(
        payment_id=payment_id,
        attempt=attempt,
        not_before=now + max(wait, asked_wait),
        reason=reason,
        first_at=before.first_at if before else now,
        last_at=now,
        last_seq=last_seq,
    )
