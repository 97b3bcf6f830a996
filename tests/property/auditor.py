"""An independent, simple auditor: predicts what a command may do, and checks what it did.

Written from the definitions of lifecycles and running sums, with plain counters per order. Of the
code it judges it imports the types of commands and rows, and nothing that decides or adds up
(tests/architecture holds it to that). It says accept or refuse, and which total an accepted command
must have; how the total is spread it only checks to be fair to the minor unit.
"""

from dataclasses import dataclass, field
from fractions import Fraction

from schemas.events import NewEvent
from writer import commands as c

CHARGING = {"created", "action_required", "processing", "unknown", "authorized"}
OVER = {"failed", "cancelled", "expired"}
# Which charge states an event without an amount may come in, beyond "not twice in a row".
BEFORE_CAPTURE = {
    "action_required": CHARGING - {"action_required", "authorized"},
    "processing": CHARGING - {"processing", "authorized"},
    "unknown": CHARGING - {"unknown"},
    "authorized": CHARGING - {"authorized"},
    "failed": CHARGING,
    "cancelled": CHARGING,
    "expired": CHARGING,
}
REFUNDING = {"refund_requested", "refunded", "dispute_opened"}


@dataclass
class Order:
    """What an auditor writes down about one order."""

    amount: int
    commission: int
    logistics: int
    status: str = "created"
    fulfilment: str = "open"
    captured: int = 0
    refunded: int = 0
    pending: int = 0
    released: int = 0
    commission_kept: int = 0
    logistics_kept: int = 0
    available: int = 0
    disputed: int = 0
    is_disputed: bool = False
    asked_back: dict[str, int] = field(default_factory=dict)

    @property
    def reserved(self) -> int:
        return self.disputed + sum(self.asked_back.values())

    def left(self, event: str) -> int:
        """How much of this event the order still has room for; 0 when it cannot happen."""
        if event == "captured":
            return self.amount - self.captured if self.status in {*CHARGING, "captured"} else 0
        if self.status != "captured":
            return 0
        if event == "released":
            return 0 if self.is_disputed else self.pending
        assert event in REFUNDING, event
        if event == "dispute_opened" and self.is_disputed:
            return 0
        return self.captured - self.refunded - self.reserved

    def allows(self, event: str) -> bool:
        """Whether an event without an amount can happen."""
        if event in BEFORE_CAPTURE:
            return self.status in BEFORE_CAPTURE[event]
        if event in ("shipped", "delivered"):
            return self.status in ("authorized", "captured") and self.fulfilment != "delivered"
        assert event in ("dispute_won", "dispute_lost"), event
        return self.is_disputed


class Auditor:
    """One payment's books."""

    def __init__(self, payment: c.CreatePayment) -> None:
        self.orders = {
            line.order_id: Order(line.amount_minor, line.commission_minor, line.logistics_fee_minor)
            for line in payment.orders
        }
        self.refund_ids: set[str] = set()

    def left(self, event: str, order_id: str | None) -> int:
        """Room for an event at one order or at all of them."""
        return sum(o.left(event) for key, o in self.orders.items() if order_id in (None, key))

    def predicts(self, command: c.Change) -> int | None:
        """The total that an accepted command has, or None when it must be refused."""
        order_id = getattr(command, "order_id", None)
        if order_id is not None and order_id not in self.orders:
            return None
        orders = [self.orders[order_id]] if order_id else [*self.orders.values()]
        event = command.event_type.value
        refund_id = getattr(command, "refund_id", None)
        if refund_id is not None:
            asked = {key: o.asked_back[refund_id] for key, o in self.orders.items()
                     if refund_id in o.asked_back}  # fmt: skip
            if event == "refund_failed":
                return sum(asked.values()) or None
            if event == "refunded" and asked:
                amount = getattr(command, "amount_minor", None)
                same = order_id in (None, *asked) and (order_id is None or len(asked) == 1)
                return (
                    sum(asked.values()) if same and amount in (None, sum(asked.values())) else None
                )
            if refund_id in self.refund_ids:
                return None
        if isinstance(command, c.AmountChange):
            left = self.left(event, order_id)
            amount = left if command.amount_minor is None else command.amount_minor
            return amount if 0 < amount <= left else None
        if event in ("dispute_won", "dispute_lost"):
            return sum(order.disputed for order in orders) or None
        alive = [order for order in orders if order.status not in OVER] or orders
        if not all(order.allows(event) for order in alive):
            return None
        return sum(order.amount for order in alive) if event == "authorized" else 0

    def write_down(self, command: c.Change, rows: tuple[NewEvent, ...]) -> None:
        """Check the rows of an accepted command and take them into the books."""
        total = self.predicts(command)
        assert total is not None, f"accepted, but should be refused: {command}"
        assert sum(row.amount_minor for row in rows) == total, (command, rows)
        self._check_spread(command, rows)
        for row in rows:
            self._enter(row, getattr(command, "refund_id", None))

    def _check_spread(self, command: c.Change, rows: tuple[NewEvent, ...]) -> None:
        """No order gets more than its proportional part, rounded up, nor less, rounded down."""
        if not isinstance(command, c.AmountChange) or command.amount_minor is None:
            return
        if getattr(command, "refund_id", None) in self._open_refunds():
            return
        event = command.event_type.value
        lefts = {key: order.left(event) for key, order in self.orders.items()
                 if command.order_id in (None, key)}  # fmt: skip
        got = {row.order_id: row.amount_minor for row in rows}
        for key, left in lefts.items():
            fair = Fraction(command.amount_minor * left, sum(lefts.values()))
            assert abs(got.get(key, 0) - fair) < 1, (command, rows)

    def _open_refunds(self) -> set[str]:
        return {key for order in self.orders.values() for key in order.asked_back}

    def _enter(self, row: NewEvent, refund_id: str | None) -> None:
        order = self.orders[row.order_id]
        event, amount = row.event_type.value, row.amount_minor
        seller = amount - row.commission_minor - row.logistics_fee_minor
        available_before = order.available
        if event in BEFORE_CAPTURE:
            order.status = event
        elif event in ("shipped", "delivered"):
            order.fulfilment = event
        elif event == "captured":
            order.status = "captured"
            order.captured += amount
            order.pending += seller
            order.commission_kept += row.commission_minor
            order.logistics_kept += row.logistics_fee_minor
        elif event == "released":
            order.pending -= amount
            order.released += amount
            order.available += amount
        elif event == "refund_requested":
            order.asked_back[str(refund_id)] = amount
        elif event == "refund_failed":
            del order.asked_back[str(refund_id)]
        elif event in ("dispute_opened", "dispute_won"):
            order.is_disputed = event == "dispute_opened"
            order.disputed = amount if order.is_disputed else 0
        if event in ("refunded", "dispute_lost"):
            if event == "dispute_lost":
                order.is_disputed, order.disputed = False, 0
            else:
                order.asked_back.pop(str(refund_id), None)
            order.refunded += amount
            order.commission_kept -= row.commission_minor
            order.logistics_kept -= row.logistics_fee_minor
            order.available -= max(0, seller - order.pending)
            order.pending = max(0, order.pending - seller)
        if refund_id is not None:
            self.refund_ids.add(refund_id)
        assert row.available_delta_minor == order.available - available_before, row
        self._check(order, row)

    def _check(self, order: Order, row: NewEvent) -> None:
        """The books and the row agree, and nothing is owed that nobody paid."""
        assert (row.captured_minor, row.refunded_minor, row.released_minor, row.pending_minor,
                row.reserved_minor, row.status, row.fulfilment) == (
            order.captured, order.refunded, order.released, order.pending, order.reserved,
            order.status, order.fulfilment)  # fmt: skip
        assert (row.dispute == "open") == order.is_disputed
        assert 0 <= order.captured <= order.amount
        assert 0 <= order.refunded + order.reserved <= order.captured
        assert 0 <= order.commission_kept <= order.commission
        assert 0 <= order.logistics_kept <= order.logistics
        # Every unit taken from the buyer is somebody's: platform's, seller's, or given back.
        kept = order.commission_kept + order.logistics_kept
        assert kept + order.pending + order.available == order.captured - order.refunded
        if order.captured == order.amount and order.refunded == 0:
            assert kept == order.commission + order.logistics
        if order.refunded == order.captured:
            assert kept == 0
