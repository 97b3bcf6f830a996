"""Visits pending payments when they are due, and keeps the retry queue and the dead letters.

One poller belongs to a worker, and so to the partitions that this worker reads. A crash at any
point loses only what the next worker reads again: the memory from the table, the queue from its
topic.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from payins.evidence import Unrecordable
from payins.journal import Store
from payins.letters import DeadLetter, of_fact, of_retry
from payins.metrics import PayInsMetrics
from payins.pending import Pending, PendingMemory
from payins.policies import LONGEST_REQUEST
from payins.retries import Retry, backoff
from payins.work import Resolved, Visit
from schemas.errors import NotSent, PurserError, ServiceUnavailable
from schemas.ids import PaymentId

UNEXPECTED = "unexpected"
OURS_DOWN = timedelta(seconds=2)
"""The wait after PostgreSQL or Kafka did not answer."""

_log = logging.getLogger("purser.payins")


class Resolving(Protocol):
    """What takes the steps."""

    async def resolve(self, payment_id: PaymentId, visit: Visit) -> Resolved:
        """Take the steps that are due for a payment."""


class Poller:
    """Takes what is due out of the memory, and gives it back with a new time."""

    def __init__(
        self,
        memory: PendingMemory,
        resolver: Resolving,
        retries: Store[Retry],
        letters: Store[DeadLetter],
        metrics: PayInsMetrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._memory = memory
        self._resolver = resolver
        self._retries = retries
        self._letters = letters
        self._metrics = metrics
        self._clock = clock

    async def visit(self, payment_id: PaymentId, owned_since: datetime) -> None:
        """Visit a payment that was taken out of the memory; never raises an error of a server.

        `owned_since` is when this worker got the payment: until then another one can have called.
        """
        entry = self._memory.get(payment_id)
        if entry is None:
            return
        retry = self._retries.items.get(str(payment_id))
        if retry is not None and _is_over(retry, entry):
            retry = None
        if retry is not None and retry.not_before > self._clock():
            self._memory.later(payment_id, retry.not_before, entry.last_seq)
            return
        visit = Visit(
            # The worker before may begin a call as long as a request after it lost the payment.
            last_sent_at=max(entry.sent_at or owned_since, owned_since + LONGEST_REQUEST),
            looked_at=entry.looked_at,
            repeats=entry.repeats,
            is_refused=entry.is_refused,
            failures=retry.attempt if retry is not None else 0,
        )
        try:
            found = await self._resolver.resolve(payment_id, visit)
            await self._came_to(payment_id, entry, found, retry)
        except ServiceUnavailable as error:
            _log.warning("payment %s is put off: %s", payment_id, error)
            self._memory.later(payment_id, self._clock() + OURS_DOWN, entry.last_seq)
        except Exception as error:  # noqa: BLE001 - reported, and tried again later
            # A bug, or a row of newer code: others must have their turn, and it must be seen.
            _log.exception("payment %s cannot be resolved", payment_id)
            await self._failed(payment_id, retry, _reason(error), timedelta(0), entry.last_seq)

    async def tidy(self, is_ours: Callable[[UUID], bool]) -> None:
        """Take out of the queue what events have settled, or led on to another question.

        A payment that is not in the memory has nothing open, so `is_ours` is to say whether the
        memory would have it. Raises ServiceUnavailable.
        """
        for key, retry in list(self._retries.items.items()):
            payment_id = retry.payment_id
            if _is_over(retry, self._memory.get(PaymentId(payment_id))) and is_ours(payment_id):
                await self._retries.remove(key)

    async def _came_to(
        self, payment_id: PaymentId, entry: Pending, found: Resolved, retry: Retry | None
    ) -> None:
        now = self._clock()
        if found.looked:
            entry.looked_at = now
        if found.sent:
            entry.sent_at = now
            entry.repeats, entry.is_refused = found.repeats, found.is_refused
        result = found.error.code if found.error is not None else "ok"
        self._metrics.resolved.labels(step=found.step, result=result).inc()
        await self.report(found.unrecordable, found.psp, payment_id)
        if found.error is not None:
            wait = getattr(found.error, "retry_after_seconds", None) or 0.0
            asked = timedelta(seconds=wait) if isinstance(found.error, NotSent) else timedelta(0)
            await self._failed(payment_id, retry, found.error.code, asked, found.last_seq)
            return
        await self._retries.remove(str(payment_id))
        if found.question is None:
            self._memory.settled(payment_id, found.last_seq, now)
        else:
            self._memory.later(payment_id, found.until or now, found.last_seq)

    async def _failed(
        self,
        payment_id: PaymentId,
        retry: Retry | None,
        reason: str,
        asked: timedelta,
        last_seq: int,
    ) -> None:
        """Put a payment into the queue; a crash before that only loses the count of one attempt."""
        again = backoff(retry, payment_id, reason, self._clock(), asked, last_seq)
        self._memory.later(payment_id, again.not_before, last_seq)
        self._metrics.retried.labels(reason=reason).inc()
        try:
            await self._retries.put(str(payment_id), again)
            if again.is_dead:
                await self._write(of_retry(again))
        except ServiceUnavailable as error:
            _log.warning("the retry queue cannot be written: %s", error)

    async def report(
        self, facts: tuple[Unrecordable, ...], psp: str, payment_id: PaymentId | None
    ) -> None:
        """Write a dead letter for each fact that no event can record."""
        for fact in facts:
            await self._write(of_fact(fact, psp, payment_id, self._clock()))

    async def refused(self, psp: str, reference: str, why: PurserError) -> None:
        """Write a dead letter for something that the processor will never answer."""
        await self._write(
            DeadLetter(
                reason="refused", detail=str(why), at=self._clock(), psp=psp, reference=reference
            )
        )

    async def unexpected(self, psp: str, reference: str, error: Exception) -> None:
        """Write a dead letter for something that met a bug, or a row of newer code."""
        detail = f"{_reason(error)}: the log says more; after a correction look the charge up"
        await self._write(
            DeadLetter(
                reason=UNEXPECTED, detail=detail, at=self._clock(), psp=psp, reference=reference
            )
        )

    async def _write(self, letter: DeadLetter) -> None:
        if letter.key not in self._letters.items:
            _log.error("dead letter %s: %s", letter.key, letter.detail)
            await self._letters.put(letter.key, letter)
            self._metrics.dead_letters.labels(reason=letter.reason).inc()


def _is_over(retry: Retry, entry: Pending | None) -> bool:
    """Whether what failed is not open any more: its payment has moved on, or is settled."""
    return entry is None or entry.last_seq > retry.last_seq


def _reason(error: Exception) -> str:
    return type(error).__name__ if isinstance(error, PurserError) else UNEXPECTED
