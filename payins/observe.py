"""Records what a processor's books say: asks `payins.evidence` until nothing is missing.

Whatever the source of a charge is, it comes through here. Two observers of the same charge append
its facts once: the keys are the facts' own, and the loser of a race reads again.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from connectors.charges import Charge
from payins.evidence import Unrecordable, commands, unrecordable
from payins.ledger import Ledger
from payins.metrics import PayInsMetrics
from schemas.errors import Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from writer.append import Appended
from writer.commands import Change
from writer.state import PaymentState, fold

ROUNDS_MAX = 16
"""Each round appends something or ends; a charge has far fewer facts that depend on each other."""

REFUSED = "refused"
NO_PAYMENT = "no_payment"

_log = logging.getLogger("purser.payins")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """The stream after everything was recorded that can be; `unrecordable` needs a person."""

    events: tuple[Event, ...]
    unrecordable: tuple[Unrecordable, ...] = ()


class Observer:
    """Appends the facts of charges."""

    def __init__(self, ledger: Ledger, metrics: PayInsMetrics) -> None:
        self._ledger = ledger
        self._metrics = metrics

    async def observe(self, charge: Charge, events: Sequence[Event] = ()) -> Observed:
        """Record what `charge` says and `payments` lacks; `events` is the stream, if at hand.

        Raises ServiceUnavailable; observing the same charge again continues.
        """
        if charge.payment_id is None:
            return self._without_payment(charge)
        payment_id = PaymentId(charge.payment_id)
        stream = tuple(events) or tuple(await self._ledger.load(payment_id))
        state = fold(stream)
        if state is None:
            return self._without_payment(charge)
        refused: dict[Change, Rejection] = {}
        for _ in range(ROUNDS_MAX):
            missing = [each for each in commands(state, charge) if each not in refused]
            if not missing:
                break
            stream = await self._record(stream, missing, refused)
            state = fold(stream)
            assert state is not None, "a stream does not vanish"
        else:
            raise AssertionError(f"the facts of {charge.psp} {charge.reference} do not end")
        return self._observed(stream, state, charge, refused)

    async def _record(
        self, stream: tuple[Event, ...], missing: Sequence[Change], refused: dict[Change, Rejection]
    ) -> tuple[Event, ...]:
        """Append until one is refused; return the stream, read again unless it is known."""
        for command in missing:
            answer = await self._ledger.handle(command, stream)
            follows = isinstance(answer, Appended) and not answer.already_done
            result = "appended" if follows else "known"
            if isinstance(answer, Rejection):
                result = answer.code
                refused[command] = answer
            self._metrics.evidence.labels(event_type=command.event_type, result=result).inc()
            if isinstance(answer, Rejection):
                return tuple(await self._ledger.load(PaymentId(stream[0].payment_id)))
            stream = extended(stream, answer) or tuple(
                await self._ledger.load(PaymentId(stream[0].payment_id))
            )
        return stream

    def _observed(
        self,
        stream: tuple[Event, ...],
        state: PaymentState,
        charge: Charge,
        refused: dict[Change, Rejection],
    ) -> Observed:
        # A command that was refused because the payment had moved on is not missing any more.
        missing = commands(state, charge) if refused else ()
        found = [*unrecordable(state, charge)]
        for command, rejection in refused.items():
            if command in missing:
                _log.warning(
                    "payment %s: %s of %s at %s cannot be recorded: %s",
                    state.payment_id,
                    command.event_type,
                    command.psp_reference,
                    charge.psp,
                    rejection,
                )
                found.append(
                    Unrecordable(
                        reason=f"{REFUSED}_{command.event_type}",
                        reference=command.psp_reference or charge.reference,
                        amount_minor=getattr(command, "amount_minor", None) or 0,
                        currency=state.currency,
                    )
                )
        return self._counted(Observed(events=stream, unrecordable=tuple(found)))

    def _without_payment(self, charge: Charge) -> Observed:
        """A charge of others with the same account, or one that names a payment that we lack."""
        # The first is normal, and `purser books` lists it.
        if charge.payment_id is None or not charge.captured_minor:
            return Observed(events=())
        fact = Unrecordable(
            reason=NO_PAYMENT,
            reference=charge.reference,
            amount_minor=charge.captured_minor,
            currency=charge.currency,
        )
        return self._counted(Observed(events=(), unrecordable=(fact,)))

    def _counted(self, observed: Observed) -> Observed:
        for fact in observed.unrecordable:
            self._metrics.unrecordable.labels(reason=fact.reason).inc()
        return observed


def extended(stream: tuple[Event, ...], answer: Appended) -> tuple[Event, ...]:
    """Return the stream with a command's rows at its end; empty if they do not follow it."""
    last_seq = stream[-1].seq if stream else 0
    if answer.events and answer.events[0].seq == last_seq + 1:
        return (*stream, *answer.events)
    if answer.already_done and answer.events and answer.events[-1].seq <= last_seq:
        return stream
    return ()
