"""Rows of `payments` as a correct writer would make them, one payment after another.

`Book` follows the lifecycle tables and the table of effects literally; tests change single fields
of what it returns and see the database refuse them.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from schemas.details import MAX_DETAILS_BYTES
from schemas.effects import EFFECTS, Amount, Authorization, Claim, Effect, Move, Suspense
from schemas.events import COLUMNS
from schemas.ids import MAX_LENGTHS
from schemas.lifecycle import Direction, EventType, State, next_state
from schemas.money import MAX_AMOUNT_MINOR, allocate

WRITTEN_COLUMNS = tuple(column for column in COLUMNS if column != "recorded_at")
NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)

Row = dict[str, Any]


@dataclass(slots=True, kw_only=True)
class Order:
    """What a writer knows of one order between two events; `left` and `taken` are shares as
    (commission, logistics fee, seller's). `disputed` is amount and excess of the latest dispute."""

    seller_id: str
    amount: int
    shares: tuple[int, int, int]
    state: State | None = None
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    released: int = 0
    reserved: int = 0
    pending: int = 0
    left: tuple[int, int, int] = (0, 0, 0)
    taken: tuple[int, int, int] = (0, 0, 0)
    disputed: tuple[int, int] = (0, 0)
    lost: tuple[int, int, tuple[int, int, int], int] | None = None
    """Of the dispute that was lost: amount, excess, shares, and what was available."""
    suspense: dict[str, int] = field(default_factory=dict)
    gone: Counter[tuple[str, Suspense]] = field(default_factory=Counter)
    is_capturing: bool = False
    is_cancelling: bool = False

    def move(
        self, move: Move, amount: int, shares: tuple[int, int, int] | None
    ) -> tuple[tuple[int, int, int], int]:
        """Move an event's shares; return them, and what the available balance had to give."""
        parts = shares or (0, 0, 0)
        match move:
            case Move.CAPTURE:
                parts = shares or _split(amount, self.left)
                self.left = _minus(self.left, parts)
                self.taken = _minus(self.taken, parts, sign=+1)
                self.pending += amount - parts[0] - parts[1]
            case Move.REVERSE | Move.CHARGE_BACK:
                parts = shares or _split(amount, self.taken)
                self.taken = _minus(self.taken, parts)
                share = amount - parts[0] - parts[1]
                from_pending = min(share, self.pending)
                self.pending -= from_pending
                return parts, share - from_pending
            case Move.RESTORE:
                _, _, lost, available = self.lost or (0, 0, (0, 0, amount), 0)
                parts = shares or lost
                self.taken = _minus(self.taken, parts, sign=+1)
                self.pending += amount - parts[0] - parts[1] - available
                return parts, -available
            case Move.RELEASE:
                self.pending -= amount
            case Move.PLAN:
                parts = shares or self.shares
                self.shares = self.left = parts
        return parts, 0


@dataclass(slots=True, kw_only=True)
class Book:
    """One payment or payout being written; `seq` is that of its last row, `psp` and `method` those
    of the latest attempt."""

    payment_id: UUID = field(default_factory=uuid4)
    direction: Direction = Direction.IN
    currency: str = "EUR"
    psp: str = ""
    method: str = ""
    seq: int = 0
    orders: dict[str, Order] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pay_in = self.direction is Direction.IN
        self.psp = self.psp or ("stripe" if pay_in else "tipalti")
        self.method = self.method or ("card" if pay_in else "bank_transfer")

    def create(
        self,
        order_id: str = "order-1",
        *,
        amount: int = 1000,
        commission: int = 100,
        logistics: int = 50,
        seller_id: str = "seller-1",
    ) -> Row:
        """The row that creates an order."""
        shares = (commission, logistics, amount - commission - logistics)
        self.orders[order_id] = Order(seller_id=seller_id, amount=amount, shares=shares)
        return self.event(EventType.CREATED, order_id, amount, shares=shares)

    def request(self, *, amount: int, seller_id: str = "seller-1") -> Row:
        """The row that requests a payout."""
        order_id = str(self.payment_id)
        self.orders[order_id] = Order(seller_id=seller_id, amount=amount, shares=(0, 0, amount))
        return self.event(EventType.REQUESTED, order_id, amount)

    def event(
        self,
        event_type: EventType,
        order_id: str | None = None,
        amount: int | None = None,
        *,
        shares: tuple[int, int, int] | None = None,
        settles: bool = False,
        excess: int | None = None,
        psp: str | None = None,
        method: str | None = None,
    ) -> Row:
        """The next row; `amount` None is the order's whole amount, or nothing where that is right.

        A dispute ends with what it was opened with, unless amount and `excess` say something else.
        An event that the lifecycle does not allow keeps the state before, or takes the event's
        own name as status when there is none.
        """
        order_id = order_id or next(iter(self.orders))
        order = self.orders[order_id]
        effect = EFFECTS[self.direction].get(event_type, Effect())
        psp, method = psp or self.psp, method or self.method
        if effect.dispute is Claim.ENDS:
            amount = order.disputed[0] if amount is None else amount
            excess = order.disputed[1] if excess is None else excess
        if effect.move is Move.RESTORE and order.lost is not None:
            amount = order.lost[0] if amount is None else amount
            excess = order.lost[1] if excess is None else excess
        if amount is None:
            whole = effect.amount is not Amount.NONE or self.direction is Direction.OUT
            amount = order.amount if whole else 0
        parts, taken = order.move(effect.move, amount, shares)
        available = effect.available * amount - taken
        order.authorized = {Authorization.SETS: amount, Authorization.ENDS: 0}.get(
            effect.authorization, order.authorized
        )
        order.captured += effect.captured * amount
        order.refunded += effect.refunded * amount
        order.released += effect.released * amount
        order.reserved += effect.reserved * amount - (amount if settles else 0)
        suspense = _SUSPENSE[effect.suspense](amount, excess or 0)
        order.suspense[psp] = order.suspense.get(psp, 0) + suspense
        order.gone += Counter({(psp, kind): amount for kind in _gone(effect)})
        if effect.suspense in _RETURNS:
            order.gone[psp, effect.suspense] -= amount
        if effect.dispute is Claim.OPENS:
            order.disputed = (amount, excess or 0)
        if effect.move is Move.CHARGE_BACK:
            order.lost = (amount, order.disputed[1], parts, taken)
        if effect.move is Move.RESTORE:
            order.lost = None
        order.is_capturing = _open_after(effect.capture_request, before=order.is_capturing)
        order.is_cancelling = _open_after(effect.cancel_request, before=order.is_cancelling)
        if event_type is EventType.ATTEMPTED:
            self.psp, self.method = psp, method
        state = next_state(self.direction, order.state, event_type)
        order.state = state or order.state
        self.seq += 1
        row = self._row(event_type, order_id, order, amount, parts, available)
        return row | {"suspense_minor": suspense, "psp": psp, "method": method}

    def _row(
        self,
        event_type: EventType,
        order_id: str,
        order: Order,
        amount: int,
        parts: tuple[int, int, int],
        available: int,
    ) -> Row:
        status, fulfilment, dispute = order.state or (event_type.value, "none", "none")
        pay_in = self.direction is Direction.IN
        return {
            "payment_id": self.payment_id,
            "seq": self.seq,
            "event_type": event_type.value,
            "status": str(status),
            "fulfilment": str(fulfilment),
            "dispute": str(dispute),
            "direction": self.direction.value,
            "order_id": order_id,
            "seller_id": order.seller_id,
            "buyer_id": "buyer-1" if pay_in else None,
            "currency": self.currency,
            "amount_minor": amount,
            "commission_minor": parts[0],
            "logistics_fee_minor": parts[1],
            "order_amount_minor": order.amount,
            "authorized_minor": order.authorized,
            "captured_minor": order.captured,
            "refunded_minor": order.refunded,
            "released_minor": order.released,
            "reserved_minor": order.reserved,
            "pending_minor": order.pending,
            "available_delta_minor": available,
            "suspense_minor": 0,
            "psp": self.psp,
            "psp_reference": "pi_1",
            "method": self.method,
            "idempotency_key": f"key-{self.seq}",
            "schema_version": 1,
            "details": "{}",
            "occurred_at": NOON,
        }


_SUSPENSE: Mapping[Suspense, Callable[[int, int], int]] = {
    Suspense.NONE: lambda _amount, _excess: 0,
    Suspense.IN: lambda amount, _excess: amount,
    Suspense.OUT: lambda amount, _excess: -amount,
    Suspense.RETURNED: lambda amount, _excess: amount,
    Suspense.TAKEN: lambda amount, _excess: -amount,
    Suspense.GIVEN_BACK: lambda amount, _excess: amount,
    Suspense.EXCESS: lambda _amount, excess: -excess,
    Suspense.RETURN: lambda _amount, excess: excess,
}


_RETURNS = (Suspense.RETURNED, Suspense.GIVEN_BACK)


def _gone(effect: Effect) -> tuple[Suspense, ...]:
    """By which event the amount of an event can come back; all rows have the same reference."""
    is_stray = effect.move is Move.NONE and effect.suspense is Suspense.OUT
    if effect.move is Move.REVERSE or is_stray:
        return (Suspense.RETURNED,)
    return (Suspense.GIVEN_BACK,) if effect.suspense is Suspense.TAKEN else ()


def _open_after(claim: Claim, *, before: bool) -> bool:
    ends = (Claim.ENDS, Claim.MAY_END)
    return claim is Claim.OPENS or (before and claim not in ends)


def largest_row(*, details_bytes: int = MAX_DETAILS_BYTES) -> Row:
    """A row whose texts cannot be larger, of characters that JSON writes with two bytes each."""
    frame, quote = '{"a": ""}', r"\""
    room = details_bytes - len(frame)
    details = frame[:-2] + quote * (room // 2) + "x" * (room % 2) + frame[-2:]
    texts = {name: '"' * length for name, length in MAX_LENGTHS.items()}
    return Book().create(amount=MAX_AMOUNT_MINOR) | texts | {"details": details}


def _split(amount: int, weights: tuple[int, int, int]) -> tuple[int, int, int]:
    """An amount by what is left of the shares; what exceeds them is the seller's."""
    if not 0 <= amount <= sum(weights):
        return (0, 0, amount)
    commission, logistics, share = allocate(amount, weights)
    return (commission, logistics, share)


def _minus(
    left: tuple[int, int, int], right: tuple[int, int, int], sign: int = -1
) -> tuple[int, int, int]:
    commission, logistics, share = (a + sign * b for a, b in zip(left, right, strict=True))
    return (commission, logistics, share)
