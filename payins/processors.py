"""The processors in their order, each behind a circuit breaker and a time limit.

Above this module a call either returns a charge or raises a `ProcessorError` within `call_seconds`,
whatever the connector does. A breaker that is open is a proof: nothing was sent.
Which processor may be tried after another is decided in `payins.execute`, by evidence.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any, TypeVar

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import OpenedState

from connectors.charges import Processor
from payins.metrics import BREAKER_STATES, PayInsMetrics
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused, Unreadable

Answer = TypeVar("Answer")

_log = logging.getLogger("purser.payins")

_NOT_THE_PROCESSORS_FAULT = frozenset(
    {"rate_limit", "lock_timeout", "idempotency_key_in_use", "idempotency_error", "http_409"}
)
"""Codes of errors that say nothing about whether the processor works."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallLimits:
    """How long a call may take, and when a processor counts as down.

    - `call_seconds`: the most that one call takes, with the connector's own attempts. After it the
      outcome is unknown.
    - `breaker_failures`: so many calls that fail one after the other open the breaker.
    - `breaker_seconds`: how long it stays open before a call is tried again.
    """

    call_seconds: float = 8.0
    breaker_failures: int = 5
    breaker_seconds: float = 10.0


class Processors:
    """Every processor that is configured; the first is asked first."""

    def __init__(
        self,
        ordered: Sequence[Processor],
        metrics: PayInsMetrics,
        limits: CallLimits = CallLimits(),
    ) -> None:
        assert ordered, "at least one processor is needed"
        self._by_name: Mapping[str, Processor] = {each.name: each for each in ordered}
        assert len(self._by_name) == len(ordered), "each processor has a name of its own"
        self._metrics = metrics
        self._limits = limits
        self._breakers = AsyncCircuitBreakerFactory(
            default_threshold=limits.breaker_failures,
            default_ttl=limits.breaker_seconds,
            exclude=[
                ProcessorRefused,
                Unreadable,
                asyncio.CancelledError,
                (ProcessorError, lambda error: error.code in _NOT_THE_PROCESSORS_FAULT),
            ],
        )
        self._breakers.add_listener(self._breaker_changed)
        for name in self._by_name:
            metrics.breaker.labels(psp=name).set(BREAKER_STATES["closed"])

    @property
    def names(self) -> tuple[str, ...]:
        """The processors in their order."""
        return tuple(self._by_name)

    @property
    def first(self) -> str:
        """The processor at which a payment begins."""
        return self.names[0]

    def fallback(self, tried: Collection[str]) -> str | None:
        """Return the first processor that was not tried yet; none is tried twice."""
        return next((name for name in self._by_name if name not in tried), None)

    def get(self, name: str) -> Processor:
        """Return a processor; raises NotSent if it is not configured here."""
        if (found := self._by_name.get(name)) is None:
            raise NotSent(
                name,
                "not_configured",
                "this processor is not configured; configure it until its payments are settled",
            )
        return found

    async def call(
        self,
        psp: str,
        operation: str,
        ask: Callable[[Processor], Awaitable[Answer]],
        *,
        seconds: float | None = None,
    ) -> Answer:
        """Ask a processor for something, within the time limit or within `seconds`.

        Raises:
            NotSent: provably without effect, for example because its breaker is open.
            OutcomeUnknown: anything that cannot be told, including an unexpected error.
            ProcessorRefused: it would be refused again.
        """
        started = monotonic()
        outcome = "ok"
        try:
            processor = self.get(psp)
            async with await self._breakers.get_breaker(psp):
                limit = self._limits.call_seconds if seconds is None else seconds
                return await self._limited(psp, operation, ask(processor), limit)
        except OpenedState:
            outcome = "breaker_open"
            raise NotSent(
                psp,
                "breaker_open",
                "its last calls failed, so it is not asked now",
                retry_after_seconds=self._limits.breaker_seconds,
            ) from None
        except ProcessorError as error:
            outcome = error.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        finally:
            self._metrics.calls.labels(psp=psp, operation=operation, outcome=outcome).inc()
            took = monotonic() - started
            self._metrics.call_seconds.labels(psp=psp, operation=operation).observe(took)

    async def close(self) -> None:
        """Close every processor's connections."""
        for processor in self._by_name.values():
            await processor.close()

    async def _limited(
        self, psp: str, operation: str, call: Awaitable[Answer], seconds: float
    ) -> Answer:
        try:
            async with asyncio.timeout(seconds):
                return await call
        except TimeoutError:
            raise OutcomeUnknown(
                psp, "timeout", f"{operation} took more than {seconds:g} s"
            ) from None
        except ProcessorError:
            raise
        except Exception as error:
            # A bug of ours or of a library: it may have happened after the request was sent.
            _log.exception("%s at %s failed unexpectedly", operation, psp)
            raise OutcomeUnknown(psp, "unexpected", f"{type(error).__name__}") from error

    def _breaker_changed(self, name: str, what: str, event: Any) -> None:
        if what != "state_changed":
            return
        state = event.state
        self._metrics.breaker.labels(psp=name).set(BREAKER_STATES[state])
        say = _log.warning if state == "opened" else _log.info
        say("the circuit breaker of %s is now %s", name, state)
