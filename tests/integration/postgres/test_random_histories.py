"""Random histories: the database accepts exactly what the lifecycle and the effects allow.

Random events are tried on one payment of up to three orders (or on a payout), most of them well
made, some with one field changed. A judge that only knows `schemas.lifecycle` and
`schemas.effects` says for each whether it is legal.
"""

import copy
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from schemas.effects import EFFECTS, PLACE_EVENTS, Amount, Claim, Effect, Move, Suspense
from schemas.lifecycle import Direction, EventType, allowed_events, next_state
from tests.integration.postgres.database import insert, refusal
from tests.integration.postgres.rows import Book, Order, Row

pytestmark = pytest.mark.integration

ORDERS = ("order-1", "order-2", "order-3")
BALANCE = 500
SUMS = (
    "authorized_minor",
    "captured_minor",
    "refunded_minor",
    "released_minor",
    "reserved_minor",
    "pending_minor",
    "available_delta_minor",
    "suspense_minor",
    "order_amount_minor",
)
RANDOM_HISTORIES = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One event to be tried.

    `pick` chooses among the events that the lifecycle allows next, `stray` is tried instead of
    them. `amount` None is the whole order's. `excess` is what a dispute takes beyond it; None is
    what fits. `psp` None is the payment's. `shift` moves minor units from the seller's share to
    commission and logistics fee, the sums following; `change` puts one field off by one.
    """

    pick: int
    stray: EventType | None
    order_id: str
    amount: int | None
    settles: bool
    excess: int | None
    psp: str | None
    shift: tuple[int, int]
    change: tuple[str, int] | None


def _seldom(strategy: st.SearchStrategy[Any], otherwise: Any) -> st.SearchStrategy[Any]:
    """`otherwise`, and about once in six what the strategy gives."""
    return st.integers(0, 5).flatmap(lambda die: strategy if die == 5 else st.just(otherwise))


ATTEMPTS = st.lists(
    st.builds(
        Attempt,
        pick=st.integers(0, 23),
        stray=_seldom(st.sampled_from(EventType), None),
        order_id=st.sampled_from(ORDERS),
        amount=st.none() | st.integers(1, 60) | st.integers(0, 130),
        settles=st.booleans(),
        excess=_seldom(st.integers(-2, 20), None),
        psp=_seldom(st.just("adyen"), None),
        shift=_seldom(st.tuples(st.integers(-2, 2), st.integers(-2, 2)), (0, 0)),
        change=_seldom(st.tuples(st.sampled_from([*SUMS, "seq"]), st.sampled_from([-1, +1])), None),
    ),
    min_size=4,
    max_size=25,
)


@given(tried=ATTEMPTS, created=st.integers(0, 3), captured=st.sampled_from([True, True, False]))
@example(
    tried=[
        Attempt(
            pick=0,
            stray=None,
            order_id=ORDERS[1],
            amount=101,
            settles=False,
            excess=None,
            psp=None,
            shift=(0, 0),
            change=("order_amount_minor", +1),
        )
    ],
    created=0,
    captured=True,
)
@RANDOM_HISTORIES
def test_a_payment_takes_exactly_what_is_legal(
    tried: list[Attempt], created: int, captured: bool, writer: psycopg.Connection
) -> None:
    try:
        _open_transaction(writer)
        book = Book()
        for order_id in ORDERS[:created]:
            insert(writer, book.create(order_id, amount=100, commission=7, logistics=3))
        for order_id in ORDERS[:created] if captured else ():
            insert(writer, book.event(EventType.CAPTURED, order_id, 60))
        for attempt in tried:
            book = _try(writer, book, attempt)
    finally:
        writer.rollback()


@given(tried=ATTEMPTS, amount=st.integers(-1, BALANCE + 20))
@RANDOM_HISTORIES
def test_a_payout_takes_exactly_what_is_legal(
    tried: list[Attempt], amount: int, writer: psycopg.Connection
) -> None:
    try:
        _open_transaction(writer)
        funds = Book()
        order = funds.create(amount=BALANCE, commission=0, logistics=0)
        insert(writer, order, funds.event(EventType.CAPTURED), funds.event(EventType.RELEASED))
        book = Book(direction=Direction.OUT)
        request = book.request(amount=amount)
        accepted = refusal(writer, request) is None
        assert accepted == (0 < amount <= BALANCE)
        for attempt in tried if accepted else ():
            book = _try(writer, book, replace(attempt, order_id=request["order_id"], shift=(0, 0)))
    finally:
        writer.rollback()


def _open_transaction(writer: psycopg.Connection) -> None:
    """Begin what is rolled back in the end: without it an accepted first row would be committed."""
    writer.execute("SELECT")


def _try(writer: psycopg.Connection, book: Book, attempt: Attempt) -> Book:
    """Try one event; the book after it, or before it when it was refused."""
    before, after = book, copy.deepcopy(book)
    order = after.orders.setdefault(attempt.order_id, _unknown_order())
    if book.seq == 0:  # the first row says where the payment is
        attempt = replace(attempt, psp=None)
    allowed = allowed_events(book.direction, order.state) or tuple(EventType)
    event_type = attempt.stray or allowed[attempt.pick % len(allowed)]
    shares = None
    if attempt.shift != (0, 0):
        commission, logistics, seller = _shares(copy.deepcopy(after), event_type, attempt)
        shift_commission, shift_logistics = attempt.shift
        shares = (
            commission + shift_commission,
            logistics + shift_logistics,
            seller - shift_commission - shift_logistics,
        )
    row = _event(after, event_type, attempt, shares)
    legal = _is_legal(before, after, row)
    if attempt.change is not None and not _is_well_made_too(row, attempt.change):
        field, by = attempt.change
        row, legal = row | {field: row[field] + by}, False
    refused = refusal(writer, row)
    event(f"{event_type}: {'legal' if legal else 'illegal'}")
    assert (refused is None) == legal, (row, refused)
    return after if legal else before


def _unknown_order() -> Order:
    return Order(seller_id="seller-1", amount=100, shares=(7, 3, 90))


def _event(
    book: Book, event_type: EventType, attempt: Attempt, shares: tuple[int, int, int] | None
) -> Row:
    effect = EFFECTS[book.direction].get(event_type, Effect())
    has_amount = book.direction is Direction.OUT or effect.amount is not Amount.NONE
    return book.event(
        event_type,
        attempt.order_id,
        attempt.amount if has_amount or attempt.stray else None,
        shares=shares,
        settles=attempt.settles and effect.may_settle,
        excess=attempt.excess,
        psp=attempt.psp,
    )


def _shares(book: Book, event_type: EventType, attempt: Attempt) -> tuple[int, int, int]:
    """The shares that the event would have in proportion."""
    row = _event(book, event_type, attempt, None)
    commission, logistics = row["commission_minor"], row["logistics_fee_minor"]
    return commission, logistics, row["amount_minor"] - commission - logistics


def _is_well_made_too(row: Row, change: tuple[str, int]) -> bool:
    """Whether the change makes another row that the guards may accept.

    It may turn a refund of 1 that settles into one that does not, or back, give a new order the
    amount that its first event is about, or let a dispute take another amount in excess.
    """
    field, by = change
    if row["event_type"] == "dispute_opened" and field == "suspense_minor":
        return True
    if row["event_type"] == "created" and field == "order_amount_minor":
        return bool(row["amount_minor"] == row[field] + by)
    refunds_one = row["event_type"] == "refunded" and row["amount_minor"] == 1
    return refunds_one and field == "reserved_minor"


def _is_legal(before: Book, after: Book, row: Row) -> bool:
    """What the tables say of a row that is well made otherwise."""
    event_type = EventType(row["event_type"])
    known, order = before.orders.get(row["order_id"]), after.orders[row["order_id"]]
    state = known.state if known else None
    if next_state(before.direction, state, event_type) is None:
        return False
    if event_type is EventType.CREATED and before.seq > len(before.orders):
        return False  # something else happened to the payment
    if row["psp"] != before.psp and event_type not in PLACE_EVENTS:
        return False
    return (
        _amount_is_legal(before.direction, event_type, row, order.amount)
        and (known is None or _past_is_legal(EFFECTS[before.direction][event_type], known, row))
        and _captures_alone(EFFECTS[before.direction][event_type], before)
        and order.authorized <= order.amount
        and not 0 < order.authorized < order.captured
        and _shares_are_legal(before.direction, event_type, known, row)
        and order.captured <= order.amount
        and order.refunded + order.reserved <= order.captured
        and order.refunded >= 0
        and order.reserved >= 0
        and order.pending >= 0
    )


def _amount_is_legal(
    direction: Direction, event_type: EventType, row: Row, order_amount: int
) -> bool:
    amount = row["amount_minor"]
    effect = EFFECTS[direction][event_type]
    match effect.amount:
        case Amount.WHOLE:
            return bool(amount == order_amount > 0)
        case Amount.PART | Amount.NAMED:
            return bool(amount > 0)
        case Amount.COVERED:
            takes = effect.suspense is not Suspense.EXCESS or amount > row["suspense_minor"]
            return bool(amount >= 0 and takes)
    return bool(amount == 0)


def _past_is_legal(effect: Effect, known: Order, row: Row) -> bool:
    """What the order's earlier events say about requests, suspense and disputes."""
    requests = (
        (effect.capture_request, known.is_capturing),
        (effect.cancel_request, known.is_cancelling),
    )
    for claim, is_open in requests:
        if claim in (Claim.OPENS, Claim.EXCLUDES) and is_open:
            return False
        if claim is Claim.ENDS and not is_open:
            return False
    amount, suspense = row["amount_minor"], row["suspense_minor"]
    if effect.capture_request is Claim.OPENS:
        return bool(amount <= (known.authorized or known.amount) - known.captured)
    match effect.suspense:
        case Suspense.OUT if effect.move is Move.CAPTURE:
            return bool(amount <= known.suspense.get(row["psp"], 0))
        case Suspense.EXCESS:
            covered = known.captured - known.refunded - known.reserved
            return bool(suspense == 0 or (suspense < 0 and amount == covered))
        case Suspense.RETURN if effect.move is Move.RESTORE:
            parts = (row["commission_minor"], row["logistics_fee_minor"])
            available = row["available_delta_minor"]
            lost = known.lost and (*known.lost[:2], known.lost[2][:2], known.lost[3])
            return bool((amount, suspense, parts, available) == lost)
        case Suspense.RETURNED | Suspense.GIVEN_BACK:
            return bool(amount <= known.gone[row["psp"], effect.suspense])
        case Suspense.RETURN:
            return bool((amount, suspense) == known.disputed)
    return effect.dispute is not Claim.ENDS or bool(amount == known.disputed[0])


def _captures_alone(effect: Effect, before: Book) -> bool:
    """Whether no request to capture is open in the whole payment, if this is one."""
    others = before.orders.values()
    return effect.capture_request is not Claim.OPENS or not any(o.is_capturing for o in others)


def _shares_are_legal(
    direction: Direction, event_type: EventType, known: Order | None, row: Row
) -> bool:
    commission, logistics = row["commission_minor"], row["logistics_fee_minor"]
    parts = (commission, logistics, row["amount_minor"] - commission - logistics)
    if min(parts) < 0:
        return False
    match EFFECTS[direction][event_type].move:
        case Move.CAPTURE:
            assert known is not None
            return all(part <= left for part, left in zip(parts, known.left, strict=True))
        case Move.REVERSE | Move.CHARGE_BACK:
            assert known is not None
            return all(part <= left for part, left in zip(parts, known.taken, strict=True))
        case Move.PLAN | Move.RESTORE:
            return True
    return parts[:2] == (0, 0)
