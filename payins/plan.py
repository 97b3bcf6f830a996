"""What is to be done next for a pending payment: its stream and the time in, one step out. Pure.

The order of the rules is the order of the evidence. A request is repeated only under its own key,
and only while the processor remembers that; after that the books are looked up first. Absence alone
never ends a payment: `after_absence` needs the proof that there is no charge and that no call can
be under way any more.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from connectors.charges import HOLDING, Charge, ChargeStatus, Lookup, Terms
from payins.intents import (
    CHARGE_OUTCOMES,
    Intent,
    IntentKind,
    attempts,
    created_details,
    intents,
    is_managed,
    last_attempt,
)
from payins.keys import step_key
from payins.policies import (
    LONGEST_REQUEST,
    QUESTIONS,
    TAKE_OVER_AFTER,
    Policy,
    Question,
    next_look,
    policy_of,
)
from schemas.events import Event
from schemas.lifecycle import EventType
from writer.state import PaymentState, fold

REPEATS_AT_ONE_PROCESSOR = 2
"""A charge that is provably absent is repeated so often under its key, then attempted anew."""

NOT_FOUND = "not_found"
"""Reason of an expired payment: provably nothing was charged, and it is too late to do so."""
NOT_CONFIRMED = "not_confirmed"
ABANDONED = "abandoned"
"""Reason of a cancellation: the buyer did not act."""


@dataclass(frozen=True, slots=True)
class Settled:
    """Nothing is open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Something is open, and it is too early to do something about it."""

    until: datetime
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """Carry out an open intent under its key; `look_first`: the processor may have forgotten it."""

    intent: Intent
    question: Question
    look_first: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Ask for the charge by its reference."""

    psp: str
    reference: str
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Find:
    """Look for the charge of an attempt by our id; then `after_absence`."""

    intent: Intent
    question: Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandon:
    """The buyer does not act: request the cancellation."""

    intent: Intent
    question: Question = Question.ACTION


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireUnconfirmed:
    """Nobody confirmed it, and nothing was ever asked of a processor."""

    question: Question = Question.UNCONFIRMED


Step: TypeAlias = Settled | Wait | Carry | Look | Find | Abandon | ExpireUnconfirmed


def next_step(
    events: Sequence[Event],
    now: datetime,
    terms: Terms,
    looked_at: datetime | None,
    passed: Collection[str] = (),
) -> Step:
    """Return the next step for a payment whose late money is dealt with (`payins.late`).

    `terms` are those of its current processor; `looked_at` is when that was last asked how the
    charge stands, None if it was not. `passed` names the requests of which nothing came just now.
    """
    if not is_managed(events):
        return Settled()
    state = fold(events)
    assert state is not None
    policy = policy_of(state.method)
    requests = [
        each for each in intents(events) if each.is_open and each.kind is not IntentKind.CHARGE
    ]
    if requests:
        return _first([_request(each, now, terms) for each in requests if each.name not in passed])
    question = open_question(state)
    if question is None:
        return Settled()
    attempt = last_attempt(events)
    if attempt is None:
        return _unconfirmed(events, now, policy)
    since = _since(events, attempt)
    if question is Question.ASKED:
        return _asked(attempt, attempts(events)[0].at, now, terms)
    if question is Question.ACTION and now - since >= policy.act_within:
        key = step_key(attempt.seq, ABANDONED)
        if all(event.idempotency_key != key for event in events):
            return Abandon(intent=attempt)
        # The processor refused to cancel it, so it may still come to something.
    seen_at = max(since, looked_at) if looked_at is not None else since
    due = seen_at + policy.intervals[question].after(seen_at - since)
    if now < due:
        return Wait(until=due, question=question)
    reference = state.attempts[-1].reference
    if reference is None:
        return Find(intent=attempt, question=question)
    return Look(psp=state.psp, reference=reference, question=question)


def _first(steps: Sequence[Carry | Wait]) -> Step:
    """Return what can be done now, or else the first that can be; nothing if there is none."""
    waits = [step for step in steps if isinstance(step, Wait)]
    ready = next((step for step in steps if isinstance(step, Carry)), None)
    return ready or min(waits, key=lambda wait: wait.until, default=Settled())


def open_question(state: PaymentState) -> Question | None:
    """Return what is open about a payment's charge; None if it is over or captured."""
    statuses = [order.state.status for order in state.orders.values()]
    return next((found for each in statuses if (found := QUESTIONS.get(each))), None)


def _request(intent: Intent, now: datetime, terms: Terms) -> Carry | Wait:
    """An open capture, cancellation or refund: ask again; its effect is had once."""
    question = Question.REQUEST
    if now - intent.at < TAKE_OVER_AFTER:
        return Wait(until=intent.at + TAKE_OVER_AFTER, question=question)
    return Carry(intent=intent, question=question, look_first=not terms.may_repeat(intent.at, now))


def _unconfirmed(events: Sequence[Event], now: datetime, policy: Policy) -> Step:
    assert created_details(events).flow == "confirm_later", events[0]
    ends_at = events[0].recorded_at + policy.confirm_within
    if now < ends_at:
        return Wait(until=ends_at, question=Question.UNCONFIRMED)
    return ExpireUnconfirmed()


def _asked(attempt: Intent, asked_at: datetime, now: datetime, terms: Terms) -> Step:
    """The process that asked may have died at any point, before its call or after it."""
    if now - attempt.at < TAKE_OVER_AFTER:
        return Wait(until=attempt.at + TAKE_OVER_AFTER, question=Question.ASKED)
    if may_charge(attempt, asked_at, terms, now):
        return Carry(intent=attempt, question=Question.ASKED)
    return Find(intent=attempt, question=Question.ASKED)


def may_charge(attempt: Intent, asked_at: datetime, terms: Terms, now: datetime) -> bool:
    """Whether the buyer still waits, and the attempt's key still makes two requests one.

    `asked_at` is when the payment's first attempt was asked for.
    """
    in_time = now - asked_at < policy_of(attempt.rows[0].method).charge_within
    return in_time and terms.may_repeat(attempt.at, now)


def last_sent(attempt: Intent) -> datetime:
    """Return the time after which nobody sends a request to charge for an attempt."""
    return attempt.at + policy_of(attempt.rows[0].method).charge_within + LONGEST_REQUEST


def _since(events: Sequence[Event], attempt: Intent) -> datetime:
    """Return since when the attempt is as it is: its last event that changed that."""
    statuses = [row for row in events if row.seq >= attempt.seq and row.event_type in _CHANGES]
    return statuses[-1].recorded_at if statuses else attempt.at


_CHANGES = CHARGE_OUTCOMES | {EventType.CREATED, EventType.ATTEMPTED}


# -- absence ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """Charge again under the same key."""

    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptAnew:
    """Charge under a new key: `evidence` proves that the attempt before has no charge."""

    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireAbsent:
    """Nothing was charged, nothing will be, and it is too late to charge."""

    evidence: str


AfterAbsence: TypeAlias = Wait | Repeat | AttemptAnew | ExpireAbsent


def after_absence(
    step: Find,
    lookup: Lookup,
    *,
    terms: Terms,
    asked_at: datetime,
    last_sent_at: datetime,
    repeats: int,
    is_refused: bool,
    now: datetime,
) -> AfterAbsence:
    """Return what to do about an attempt for which `lookup` found no charge.

    `asked_at` is when the buyer asked for the charge, with the first attempt. `last_sent_at` is the
    latest time at which anybody can have sent a request for this one. `repeats` is how often it was
    repeated in vain; `is_refused`, whether the processor refused it the last time.
    """
    assert not lookup.wanted, lookup
    attempt = step.intent
    policy = policy_of(attempt.rows[0].method)
    in_time = now - asked_at < policy.charge_within
    sent_at = max(last_sent_at, attempt.at + LONGEST_REQUEST)
    may_repeat = in_time and terms.may_repeat(attempt.at, now)
    if may_repeat and is_refused:
        # When it is refused once more, with nothing under way, that is its end.
        if terms.settled(sent_at, now):
            return Repeat(intent=attempt)
        return Wait(until=sent_at + terms.under_way_most, question=step.question)
    if may_repeat and repeats < REPEATS_AT_ONE_PROCESSOR:
        # The key is the guard: if a request is under way after all, both are one.
        return Repeat(intent=attempt)
    if not lookup.proves_absence(terms, sent_at):
        settled_at = sent_at + terms.under_way_most
        later = next_look(attempt.rows[0].method, step.question, attempt.at, now)
        return Wait(until=max(settled_at, later), question=step.question)
    if in_time:
        return AttemptAnew(evidence=lookup.evidence)
    return ExpireAbsent(evidence=lookup.evidence)


def holds_in_vain(charge: Charge, events: Sequence[Event]) -> bool:
    """Whether a charge holds or waits for something that its payment has no use for any more.

    That is all of it if every order is over, and the rest if nothing of them is left to capture.
    """
    state = fold(events)
    if charge.status not in HOLDING or state is None:
        return False
    is_rest = charge.status is ChargeStatus.AUTHORIZED and charge.captured_minor > 0
    live = [order for order in state.orders.values() if not order.is_over]
    is_wanted = open_question(state) is not None or any(order.capturable_minor for order in live)
    return not live or (is_rest and not is_wanted)
