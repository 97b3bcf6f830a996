"""The answer to a request, as a function of the payment's stream.

`payments` is the only store of answers. The answer to a request is the stream's prefix that ends
with the outcome of its intent: whoever renders it, wherever and whenever, says the same, also after
a crash and after the payment has moved on. Pure.

- Create, confirm: up to the first outcome of the charge (`payins.intents.CHARGE_OUTCOMES`). A
  payment that is confirmed later is answered as created.
- Capture, cancel: up to the event after which every order that the request named has its outcome.
- Refund: the request itself. A refund is accepted once its amount is reserved; a bank may take
  days to carry it out, and `GET` tells how far it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from payins.intents import IntentKind, intent_of, steps
from schemas.events import Event


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The request has its answer: the payment's state after `events`.

    `replayed`: the answer was given to an earlier request under the same key.
    """

    events: tuple[Event, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlight:
    """The request is recorded and its outcome is not: ask again after `retry_after_seconds`.

    `events` is the stream as far as it is known. `replayed`: an earlier request is being worked on.
    """

    events: tuple[Event, ...]
    retry_after_seconds: float = 1.0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class NotFound:
    """No such request was recorded."""


Answer = Answered | InFlight | NotFound


def answer_to(events: Sequence[Event], key: str) -> Answer:
    """Return the answer to the request that was made under the internal key `key`."""
    own = next((step for step in steps(events) if step[0].idempotency_key == key), None)
    if own is None:
        return NotFound()
    intent = intent_of(events, key)
    if intent is None or intent.kind is IntentKind.REFUND:
        # Nothing is asked of a processor, or the answer does not wait for it.
        return Answered(events=_up_to(events, own[-1].seq))
    if intent.is_open:
        return InFlight(events=tuple(events))
    return Answered(events=_up_to(events, intent.outcome[-1].seq))


def _up_to(events: Sequence[Event], seq: int) -> tuple[Event, ...]:
    return tuple(event for event in events if event.seq <= seq)
