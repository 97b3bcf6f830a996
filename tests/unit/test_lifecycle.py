"""The lifecycle tables: whole, consistent with the effects, and without dead corners."""

from itertools import product

import pytest

from schemas.effects import AMOUNT_EVENTS, IN_EFFECTS, OUT_EFFECTS, SHARE_EVENTS
from schemas.lifecycle import (
    CHARGE,
    DISPUTE,
    FULFILMENT,
    IN_EVENTS,
    OUT_EVENTS,
    PAYOUT,
    Direction,
    Dispute,
    EventType,
    Fulfilment,
    State,
    Status,
    allowed_events,
    next_state,
)

OPEN = (Fulfilment.OPEN, Dispute.NONE)


def _reachable(direction: Direction) -> set[State]:
    found: set[State] = set()
    waiting: list[State | None] = [None]
    while waiting:
        before = waiting.pop()
        for event in EventType:
            after = next_state(direction, before, event)
            if after and after not in found:
                found.add(after)
                waiting.append(after)
    return found


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (None, EventType.CREATED, State(Status.CREATED, *OPEN)),
        (None, EventType.CAPTURED, None),
        (State(Status.CREATED, *OPEN), EventType.CREATED, None),
        (State(Status.CREATED, *OPEN), EventType.AUTHORIZED, State(Status.AUTHORIZED, *OPEN)),
        (State(Status.CREATED, *OPEN), EventType.REFUNDED, None),
        (State(Status.CREATED, *OPEN), EventType.SHIPPED, None),
        (State(Status.UNKNOWN, *OPEN), EventType.FAILED, State(Status.FAILED, *OPEN)),
        (State(Status.FAILED, *OPEN), EventType.AUTHORIZED, None),
        (State(Status.CAPTURED, *OPEN), EventType.CAPTURED, State(Status.CAPTURED, *OPEN)),
        (State(Status.CAPTURED, *OPEN), EventType.CANCELLED, None),
        (State(Status.CAPTURED, *OPEN), EventType.DISPUTE_WON, None),
        (
            State(Status.CAPTURED, Fulfilment.DELIVERED, Dispute.NONE),
            EventType.SHIPPED,
            None,
        ),
        (
            State(Status.CAPTURED, Fulfilment.SHIPPED, Dispute.OPEN),
            EventType.DISPUTE_LOST,
            State(Status.CAPTURED, Fulfilment.SHIPPED, Dispute.LOST),
        ),
        (State(Status.CAPTURED, *OPEN), EventType.PAID, None),
    ],
)
def test_pay_in_transitions(before: State | None, event: EventType, after: State | None) -> None:
    assert next_state(Direction.IN, before, event) == after


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (None, EventType.REQUESTED, Status.REQUESTED),
        (None, EventType.PAID, None),
        (Status.REQUESTED, EventType.PAID, None),
        (Status.REQUESTED, EventType.SUBMITTED, Status.SUBMITTED),
        (Status.SUBMITTED, EventType.PAID, Status.PAID),
        (Status.PAID, EventType.RETURNED, Status.RETURNED),
        (Status.PAID, EventType.FAILED, None),
        (Status.RETURNED, EventType.SUBMITTED, None),
        (Status.CANCELLED, EventType.SUBMITTED, None),
        (Status.REQUESTED, EventType.CAPTURED, None),
    ],
)
def test_payout_transitions(before: Status | None, event: EventType, after: Status | None) -> None:
    none = (Fulfilment.NONE, Dispute.NONE)
    state = State(before, *none) if before else None
    expected = State(after, *none) if after else None
    assert next_state(Direction.OUT, state, event) == expected


def test_every_status_of_the_tables_can_be_reached() -> None:
    assert {state.status for state in _reachable(Direction.IN)} == set(CHARGE) - {None}
    assert {state.status for state in _reachable(Direction.OUT)} == set(PAYOUT) - {None}
    reached = _reachable(Direction.IN) | _reachable(Direction.OUT)
    assert {state.fulfilment for state in reached} == set(FULFILMENT)
    assert {state.dispute for state in reached} == set(DISPUTE)


def test_every_event_belongs_to_a_direction_and_happens() -> None:
    assert set(EventType) == IN_EVENTS | OUT_EVENTS
    assert {EventType.FAILED, EventType.CANCELLED} == IN_EVENTS & OUT_EVENTS


def test_events_that_move_money_need_money() -> None:
    for status, event in product(CHARGE, IN_EFFECTS):
        if event is not EventType.CAPTURED and status is not Status.CAPTURED:
            assert event not in CHARGE[status], (status, event)


def test_effects_and_amounts_name_events_of_their_direction_only() -> None:
    assert set(IN_EFFECTS) <= IN_EVENTS
    assert set(OUT_EFFECTS) <= OUT_EVENTS
    assert AMOUNT_EVENTS | SHARE_EVENTS <= IN_EVENTS


def test_payout_that_ends_without_being_paid_gives_back_what_was_taken() -> None:
    ends = {event for row in PAYOUT.values() for event in row} - {
        EventType.REQUESTED,
        EventType.SUBMITTED,
        EventType.PAID,
    }
    taken = OUT_EFFECTS[EventType.REQUESTED].available
    assert all(OUT_EFFECTS[event].available == -taken for event in ends)


def test_allowed_events_are_what_next_state_allows() -> None:
    state = State(Status.REQUESTED, Fulfilment.NONE, Dispute.NONE)
    assert allowed_events(Direction.OUT, state) == (
        EventType.FAILED,
        EventType.CANCELLED,
        EventType.SUBMITTED,
    )
