"""The lifecycle tables: whole, consistent with the effects, and without dead corners."""

from itertools import product

import pytest

from schemas.accounts import AccountType as A
from schemas.effects import EFFECTS, Amount, Claim, Move, event_types
from schemas.lifecycle import (
    CHARGE,
    DISPUTE,
    FULFILMENT,
    OVER,
    PAYOUT,
    STATUS_MACHINES,
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
        (State(Status.FAILED, *OPEN), EventType.CAPTURED, None),
        (State(Status.UNKNOWN, *OPEN), EventType.ATTEMPTED, State(Status.CREATED, *OPEN)),
        (State(Status.AUTHORIZED, *OPEN), EventType.ATTEMPTED, None),
        (State(Status.EXPIRED, *OPEN), EventType.HONOURED, State(Status.CAPTURED, *OPEN)),
        (State(Status.CANCELLED, *OPEN), EventType.HONOURED, None),
        (
            State(Status.FAILED, *OPEN),
            EventType.DISPUTE_OPENED,
            State(Status.FAILED, Fulfilment.OPEN, Dispute.OPEN),
        ),
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


@pytest.mark.parametrize("direction", Direction)
def test_every_event_of_the_lifecycle_has_its_effect(direction: Direction) -> None:
    events = {event for row in STATUS_MACHINES[direction].values() for event in row}
    assert set(EFFECTS[direction]) == events


def test_every_event_type_happens() -> None:
    assert set(EventType) == {event for effects in EFFECTS.values() for event in effects}
    assert {EventType.FAILED, EventType.CANCELLED} == set.intersection(*map(set, EFFECTS.values()))


def test_events_that_change_a_sum_need_captured_money() -> None:
    for status, (event, effect) in product(CHARGE, EFFECTS[Direction.IN].items()):
        needs_captured = effect.changes_sums and not effect.captured
        # An authorization is there before; a dispute may be about money in suspense alone.
        if event is EventType.AUTHORIZED or effect.dispute is not Claim.NONE:
            needs_captured = False
        if needs_captured and status is not Status.CAPTURED:
            assert event not in CHARGE[status], (status, event)


def test_money_can_come_and_go_and_be_disputed_when_an_order_is_over() -> None:
    strays = {EventType.STRAY_CAPTURED, EventType.STRAY_REFUNDED}
    disputes = {EventType.DISPUTE_OPENED, EventType.DISPUTE_WON, EventType.DISPUTE_LOST}
    for status in CHARGE:
        assert (strays <= set(CHARGE[status])) == (status is not None), status
    for status in OVER:
        assert set(CHARGE[status]) - {EventType.HONOURED} == strays | disputes
    assert {status for status in OVER if EventType.HONOURED in CHARGE[status]} == {
        Status.FAILED,
        Status.EXPIRED,
    }


def test_strays_and_requests_change_no_status() -> None:
    keeping = [kind for kind in EventType if kind.startswith(("stray_", "capture_", "cancel_"))]
    assert len(keeping) == 6
    for status, row in CHARGE.items():
        assert all(row[kind] is status for kind in keeping if kind in row)


def test_nothing_but_more_is_requested_of_the_psp_after_a_capture() -> None:
    requests = {EventType.ATTEMPTED, EventType.CAPTURE_REQUESTED, EventType.CANCEL_REQUESTED}
    assert requests & set(CHARGE[Status.CAPTURED]) == {EventType.CAPTURE_REQUESTED}
    for status in OVER:
        assert not requests & set(CHARGE[status])


def test_pay_ins_have_moves_and_claims_and_payouts_have_transfers() -> None:
    for effect in EFFECTS[Direction.IN].values():
        assert effect.transfer is None
        assert (effect.amount in (Amount.PART, Amount.COVERED)) == effect.changes_sums
        assert effect.move is not Move.PLAN or effect.amount is Amount.WHOLE
    for effect in EFFECTS[Direction.OUT].values():
        assert (effect.move, effect.refund, effect.dispute) == (Move.NONE, Claim.NONE, Claim.NONE)
        assert effect.amount is Amount.WHOLE  # the guards demand it of all of them


def test_revenue_events_share_no_name_with_a_payouts_event() -> None:
    # A ledger entry has no direction: the totals tell its kind by the event's name alone.
    revenue = set(event_types(lambda effect: effect.revenue is not None))
    assert revenue
    assert not revenue & EFFECTS[Direction.OUT].keys()


def test_only_what_changes_the_buyers_money_is_revenue() -> None:
    for effects in EFFECTS.values():
        for effect in effects.values():
            assert (effect.revenue is not None) == bool(effect.captured or effect.refunded)


def test_a_payout_takes_from_an_account_what_an_earlier_event_put_there() -> None:
    """Along every way through the lifecycle: nothing is taken twice or left in transit."""
    waiting: list[tuple[Status | None, dict[A, int]]] = [(None, {})]
    while waiting:
        before, balances = waiting.pop()
        for event, after in PAYOUT[before].items():
            held = dict(balances)
            if (transfer := EFFECTS[Direction.OUT][event].transfer) is not None:
                held[transfer.debit] = held.get(transfer.debit, 0) + 1
                held[transfer.credit] = held.get(transfer.credit, 0) - 1
            assert set(held.values()) <= {-1, 0, 1}
            assert held[A.SELLER_AVAILABLE] >= 0
            assert held[A.PAYOUT_IN_TRANSIT] <= 0
            assert PAYOUT[after] or held[A.PAYOUT_IN_TRANSIT] == 0, event
            waiting.append((after, held))


def test_allowed_events_are_what_next_state_allows() -> None:
    state = State(Status.REQUESTED, Fulfilment.NONE, Dispute.NONE)
    assert allowed_events(Direction.OUT, state) == (
        EventType.FAILED,
        EventType.CANCELLED,
        EventType.SUBMITTED,
    )
