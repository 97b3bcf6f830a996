"""Intents: what a payment's stream says was to be asked of a processor, and how far that is.

An intent is a command's rows that were appended before a processor is called: `created` (in the
flows direct and hosted) and `attempted` ask for a charge, `capture_requested`, `cancel_requested`
and `refund_requested` for what they name. Its outcome is a later event. Pure: everything here is a
function of the events, so every process sees the same intents, whenever it looks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import groupby
from typing import Protocol

from pydantic import ValidationError

from connectors.charges import ChargeRequest
from payins.keys import psp_key
from schemas.details import (
    AttemptedDetails,
    CaptureRequestedDetails,
    CreatedDetails,
    RefundDetails,
    parse_details,
)
from schemas.effects import Kind, effect_of
from schemas.events import Event
from schemas.lifecycle import EventType
from writer.state import PaymentState, fold

_E = EventType

CHARGE_OUTCOMES = frozenset(
    {
        _E.ACTION_REQUIRED,
        _E.PROCESSING,
        _E.UNKNOWN,
        _E.AUTHORIZED,
        _E.CAPTURED,
        _E.FAILED,
        _E.CANCELLED,
        _E.EXPIRED,
    }
)
"""The events that answer the question for a charge, even if more follows."""

ENDINGS = frozenset({_E.CAPTURED, _E.HONOURED, _E.FAILED, _E.CANCELLED, _E.EXPIRED})
"""The events after which nothing is left to ask for."""

CAPTURE_OUTCOMES = ENDINGS | {_E.CAPTURE_FAILED}
CANCEL_OUTCOMES = ENDINGS | {_E.CANCEL_FAILED}
REFUND_OUTCOMES = frozenset({_E.REFUNDED, _E.REFUND_FAILED})

CONFIRM_LATER = "confirm_later"
"""The flow in which `created` asks nothing of a processor: `attempted` will."""


class IntentKind(StrEnum):
    """What is asked of the processor."""

    CHARGE = "charge"
    CAPTURE = "capture"
    CANCEL = "cancel"
    REFUND = "refund"


KINDS = {
    _E.CREATED: IntentKind.CHARGE,
    _E.ATTEMPTED: IntentKind.CHARGE,
    _E.CAPTURE_REQUESTED: IntentKind.CAPTURE,
    _E.CANCEL_REQUESTED: IntentKind.CANCEL,
    _E.REFUND_REQUESTED: IntentKind.REFUND,
}
"""Event type -> what it is the intent of; no other event is one."""

OUTCOMES = {
    IntentKind.CHARGE: CHARGE_OUTCOMES,
    IntentKind.CAPTURE: CAPTURE_OUTCOMES,
    IntentKind.CANCEL: CANCEL_OUTCOMES,
    IntentKind.REFUND: REFUND_OUTCOMES,
}


Step = tuple[Event, ...]
"""The rows of one command, which were appended together: one for each order concerned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One intent: `rows` are its own, `outcome` those of the first command that answers all of it.

    `outcome` is empty while the intent is open.
    """

    kind: IntentKind
    rows: Step
    outcome: Step = ()

    @property
    def key(self) -> str:
        """The key under which the caller asked."""
        return self.rows[0].idempotency_key

    @property
    def seq(self) -> int:
        """The position of its first row in the stream."""
        return self.rows[0].seq

    @property
    def name(self) -> str:
        """What a visit calls it."""
        return f"{self.kind}:{self.seq}"

    @property
    def at(self) -> datetime:
        """When it was appended, by the database's clock."""
        return self.rows[0].recorded_at

    @property
    def psp(self) -> str:
        """The processor that it is for."""
        return self.rows[0].psp

    @property
    def is_open(self) -> bool:
        """Whether it has no outcome yet."""
        return not self.outcome

    @property
    def amount_minor(self) -> int:
        """The amount over all its orders."""
        return sum(row.amount_minor for row in self.rows)

    @property
    def amounts(self) -> dict[str, int]:
        """The amount of each of its orders."""
        return {row.order_id: row.amount_minor for row in self.rows}

    @property
    def refund_id(self) -> str | None:
        """Our id of the refund; None for other kinds."""
        return refund_id_of(self.rows[0]) if self.kind is IntentKind.REFUND else None

    @property
    def is_final(self) -> bool:
        """Whether a capture was asked to be the payment's last."""
        model = effect_of(self.rows[0]).details
        return issubclass(model, CaptureRequestedDetails) and bool(
            parse_details(model, self.rows[0].details).final
        )

    @property
    def psp_key(self) -> str:
        """The key to send to the processor: the same for every attempt of this intent."""
        return psp_key(self.rows[0].payment_id, self.seq)


def steps(events: Sequence[Event]) -> list[Step]:
    """Group a stream by command: rows of one key stand side by side."""
    return [tuple(rows) for _, rows in groupby(events, key=lambda row: row.idempotency_key)]


def intents(events: Sequence[Event]) -> list[Intent]:
    """Return every intent of a stream in its order, each with its outcome."""
    all_steps = steps(events)
    found = []
    for index, step in enumerate(all_steps):
        kind = _kind(step)
        if kind is not None:
            outcome = _outcome(kind, step, all_steps[index + 1 :])
            found.append(Intent(kind=kind, rows=step, outcome=outcome))
    return found


def intent_of(events: Sequence[Event], key: str) -> Intent | None:
    """Return the intent that was appended under `key`."""
    return next((intent for intent in intents(events) if intent.key == key), None)


def last_attempt(events: Sequence[Event]) -> Intent | None:
    """Return the current intent to charge; None while nothing was asked of a processor."""
    charges = [each for each in intents(events) if each.kind is IntentKind.CHARGE]
    return charges[-1] if charges else None


def attempts(events: Sequence[Event]) -> list[Intent]:
    """Return every intent to charge, each at a processor."""
    return [each for each in intents(events) if each.kind is IntentKind.CHARGE]


def is_managed(events: Sequence[Event]) -> bool:
    """Whether this payment's processors are ours to call.

    A payment without a flow was appended by somebody who calls the processor himself, or is
    history: nothing may be asked of a processor for it. Nor is one of ours whose details cannot be
    read: `payments` takes any JSON object.
    """
    try:
        return bool(events) and created_details(events).flow is not None
    except ValidationError:
        return False


def created_details(events: Sequence[Event]) -> CreatedDetails:
    """Return what the caller asked for when the payment was created."""
    first = events[0]
    assert first.event_type is EventType.CREATED, first
    return parse_details(CreatedDetails, first.details)


class WithDetails(Kind, Protocol):
    """The fields of an event that say which refund it is about."""

    @property
    def details(self) -> str: ...


def refund_id_of(row: WithDetails) -> str | None:
    """Return the refund that a row is about."""
    model = effect_of(row).details
    if not issubclass(model, RefundDetails):
        return None
    return parse_details(model, row.details).refund_id


def charge_request(events: Sequence[Event], intent: Intent) -> ChargeRequest:
    """Return what to ask of the processor for an intent to charge."""
    assert intent.kind is IntentKind.CHARGE, intent
    created = created_details(events)
    first = intent.rows[0]
    token = created.payment_token
    if first.event_type is EventType.ATTEMPTED:
        token = parse_details(AttemptedDetails, first.details).payment_token or token
    return ChargeRequest(
        payment_id=first.payment_id,
        intent_seq=intent.seq,
        key=intent.psp_key,
        currency=first.currency,
        amount_minor=sum(row.order_amount_minor for row in intent.rows),
        method=first.method,
        capture_manually=created.capture == "manual",
        payment_token=token,
        hosted=created.flow == "hosted",
        return_url=created.return_url,
        created_at=events[0].occurred_at,
    )


def _kind(step: Step) -> IntentKind | None:
    kind = KINDS.get(step[0].event_type)
    if step[0].event_type is EventType.CREATED:
        flow = parse_details(CreatedDetails, step[0].details).flow
        return None if flow is None or flow == CONFIRM_LATER else kind
    return kind


def _outcome(kind: IntentKind, step: Step, later: Sequence[Step]) -> Step:
    """Return the command after which every order of `step` has an outcome; empty if none yet."""
    outcomes = OUTCOMES[kind]
    if kind is IntentKind.CHARGE:
        # A charge is one at the processor, so what happened to one order answers for all.
        return next((each for each in later if each[0].event_type in outcomes), ())
    waiting = {row.order_id for row in step}
    refund_id = refund_id_of(step[0]) if kind is IntentKind.REFUND else None
    for each in later:
        for row in each:
            if row.event_type in outcomes and (refund_id is None or refund_id_of(row) == refund_id):
                waiting.discard(row.order_id)
        if not waiting:
            return each
    return ()


_PAID = frozenset({EventType.CAPTURED, EventType.HONOURED})
_TAKEN = _PAID | {EventType.STRAY_CAPTURED}
"""Events whose reference is that of a charge with money; a stray's is the orders' only if nothing
else has paid for them."""


def reference_for(stream: Sequence[Event], intent: Intent) -> str | None:
    """Return the charge that an intent is about: a refund is of the one that paid the orders."""
    attempt = _folded(stream).attempts[-1]
    if intent.kind is not IntentKind.REFUND:
        return attempt.reference
    taken = [
        row
        for row in stream
        if row.event_type in _TAKEN and row.psp == intent.psp and row.psp_reference
    ]
    orders = intent.amounts.keys()
    paid = [row for row in taken if row.event_type in _PAID and row.order_id in orders]
    latest = (paid or taken)[-1:]
    return latest[0].psp_reference if latest else attempt.reference


def attempt_number(stream: Sequence[Event], intent: Intent) -> int:
    """Return the number of the attempt that an intent to charge began."""
    return next(each.number for each in _folded(stream).attempts if each.seq == intent.seq)


def _folded(stream: Sequence[Event]) -> PaymentState:
    state = fold(stream)
    assert state is not None
    return state
