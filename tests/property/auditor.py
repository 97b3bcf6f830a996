"""An independent, simple auditor: predicts what a command may do, and checks what it did.

Written from the definitions of lifecycles and running sums, with plain counters per order. Of the
code it judges it imports the types of commands and rows, and nothing that decides or adds up
(tests/architecture holds it to that). It says which event an accepted command leads to and which
money it moves in total, or that it must be refused. How the total is spread it only checks to be
fair to the minor unit.
"""

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

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
ATTEMPTABLE = {"created", "action_required", "unknown"}
HONOURABLE = {"failed", "expired"}
STRAYS = {
    "captured": "stray_captured",
    "refunded": "stray_refunded",
    "dispute_opened": "stray_disputed",
}


class Expected(NamedTuple):
    """The event that a command leads to, and the money it is about: of a dispute, all of it."""

    event: str
    total: int = 0


@dataclass
class Order:
    """What an auditor writes down about one order."""

    amount: int
    commission: int
    logistics: int
    status: str = "created"
    fulfilment: str = "open"
    authorized: int = 0
    captured: int = 0
    refunded: int = 0
    pending: int = 0
    released: int = 0
    commission_kept: int = 0
    logistics_kept: int = 0
    available: int = 0
    disputed: int = 0
    excess: int = 0
    is_disputed: bool = False
    is_capturing: bool = False
    is_cancelling: bool = False
    suspense: Counter[str] = field(default_factory=Counter)
    # By the reference of a dispute: what was lost (amount, excess); what is open beside orders.
    lost: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost_from: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    strays: dict[str, tuple[str, int]] = field(default_factory=dict)
    # By PSP, and the reference or else the id of a refund: what it gave back.
    gone: Counter[tuple[str, str | None, str | None]] = field(default_factory=Counter)
    asked_back: dict[str, int] = field(default_factory=dict)

    @property
    def reserved(self) -> int:
        return self.disputed + sum(self.asked_back.values())

    @property
    def is_asked(self) -> bool:
        return self.is_capturing or self.is_cancelling

    @property
    def is_over(self) -> bool:
        return self.status in OVER

    def takes(self, event: str) -> bool:
        """Whether its status and its dispute let the event happen to it."""
        if event in BEFORE_CAPTURE:
            return self.status in BEFORE_CAPTURE[event]
        if event in ("shipped", "delivered"):
            return self.status in ("authorized", "captured") and self.fulfilment != "delivered"
        if event in ("dispute_won", "dispute_lost"):
            return self.is_disputed
        if event == "dispute_opened":
            return self.status in {"captured", *OVER} and not self.is_disputed
        return self.status in {
            "attempted": ATTEMPTABLE,
            "capture_requested": {"authorized", "captured"},
            "capture_failed": {"authorized", "captured"},
            "cancel_requested": CHARGING,
            "cancel_failed": CHARGING,
            "captured": {*CHARGING, "captured"},
            "honoured": HONOURABLE,
        }.get(event, {"captured"})

    def left(self, event: str) -> int:
        """How much of this event the order still has room for; 0 when it cannot happen."""
        if not self.takes(event) or (event == "capture_requested" and self.is_asked):
            return 0
        if event == "authorized":
            return self.amount
        if event in ("captured", "capture_requested"):
            return (self.authorized or self.amount) - self.captured
        if event == "released":
            return 0 if self.is_disputed else self.pending
        return self.captured - self.refunded - self.reserved


class Auditor:
    """One payment's books."""

    def __init__(self, payment: c.CreatePayment) -> None:
        self.psp = payment.psp
        self.orders = {
            line.order_id: Order(line.amount_minor, line.commission_minor, line.logistics_fee_minor)
            for line in payment.orders
        }
        self.refund_ids: set[str] = set()
        self.stray_at: dict[tuple[str, tuple[str, int]], int] = {}

    def left(self, event: str, order_id: str | None) -> int:
        """Room for an event at one order or at all of them."""
        return sum(o.left(event) for key, o in self.orders.items() if order_id in (None, key))

    # -- what must come of a command -------------------------------------------------------------

    def predicts(self, command: c.Change) -> Expected | None:
        """What an accepted command does, or None when it must be refused."""
        order_id = getattr(command, "order_id", None)
        if order_id is not None and order_id not in self.orders:
            return None
        event = command.event_type.value
        named = [self.orders[order_id]] if order_id else [*self.orders.values()]
        able = [order for order in named if order.takes(event)]
        if isinstance(command, c.ReturnRefund):
            return self._returned(command)
        if getattr(command, "refund_id", None) in self._open_refunds() | self.refund_ids:
            return self._known_refund(command)
        match command:
            case c.Capture() | c.RecordRefund() | c.OpenDispute() if self._is_stray(command):
                return self._stray(command)
            case (
                c.RequestCapture()
                | c.FailCapture()
                | c.RequestCancel()
                | c.FailCancel()
                | c.FailRefund()
            ):
                return self._request(command, able)
            case c.Authorize() if len(able) < len(self._meant(order_id)):
                return None
            case c.Honour():
                due = sum(max(0, min(o.suspense[self.psp], o.amount)) for o in able)
                return Expected(event, due) if due else None
            case c.OpenDispute():
                return self._dispute(command, able)
            case c.WinDispute():
                return self._win(command, able)
            case c.LoseDispute():
                return Expected(event, sum(o.disputed for o in able)) if able else None
            case c.AmountChange():
                return self._part(command)
        alive = self._meant(order_id).values()
        is_barred = event == "attempted" and any(order.is_asked for order in alive)
        takes = all(order.takes(event) for order in alive)
        return Expected(event) if takes and not is_barred else None

    def _meant(self, order_id: str | None) -> dict[str, Order]:
        if order_id:
            return {order_id: self.orders[order_id]}
        return {key: o for key, o in self.orders.items() if not o.is_over} or self.orders

    def _known_refund(self, command: c.Change) -> Expected | None:
        """What comes of a refund's id that was used before: its request is settled, or nothing."""
        refund_id = getattr(command, "refund_id", "")
        asked = {
            key: order.asked_back[refund_id]
            for key, order in self.orders.items()
            if refund_id in order.asked_back
        }
        total = sum(asked.values())
        if isinstance(command, c.RecordRefund):
            is_same = command.order_id is None or [*asked] == [command.order_id]
            is_here = command.psp in (None, self.psp)
            if not (is_same and is_here and command.amount_minor in (None, total)):
                return None
        if not asked or isinstance(command, c.RequestRefund):
            return None
        return Expected(command.event_type.value, total)

    def _returned(self, command: c.ReturnRefund) -> Expected | None:
        total = sum(order.gone[self._refund_key(command)] for order in self.orders.values())
        return Expected("refund_returned", total) if total > 0 else None

    def _win(self, command: c.WinDispute, able: list[Order]) -> Expected | None:
        if strays := self._open_strays(command):
            return Expected("stray_dispute_won", sum(minor for _, minor in strays.values()))
        if lost := self._lost(command):
            return Expected("dispute_reversed", sum(map(sum, lost.values())))
        total = sum(order.disputed + order.excess for order in able)
        return Expected("dispute_won", total) if able else None

    def _refund_key(self, command: c.ReturnRefund) -> tuple[str, str | None, str | None]:
        by_id = command.refund_id if command.psp_reference is None else None
        if command.psp_reference is None and by_id is None:
            return self._where(command), "none is named", None
        return self._where(command), command.psp_reference, by_id

    def _open_strays(self, command: c.WinDispute) -> dict[str, tuple[str, int]]:
        """The stray dispute of this reference, by order; one reference is at one PSP."""
        reference = command.psp_reference or "none is named"
        named = (key for key in self.orders if command.order_id in (None, key))
        found = {key: self.orders[key].strays.get(reference) for key in named}
        there = {key: stray for key, stray in found.items() if stray is not None}
        first = min(there.values(), key=lambda stray: self.stray_at[reference, stray], default=None)
        return {key: stray for key, stray in there.items() if first and stray[0] == first[0]}

    def _lost(self, command: c.WinDispute) -> dict[str, tuple[int, int]]:
        """What the named dispute lost, by order; one without a name may be the open one."""
        return {
            key: order.lost[command.psp_reference or ""]
            for key, order in self.orders.items()
            if command.order_id in (None, key)
            and (command.psp_reference or "") in order.lost
            and (command.psp_reference or not order.is_disputed)
        }

    def _where(self, command: c.Capture | c.RecordRefund | c.OpenDispute | c.ReturnRefund) -> str:
        return self.psp if command.psp is None else command.psp

    def _is_stray(self, command: c.Capture | c.RecordRefund | c.OpenDispute) -> bool:
        if command.is_stray or isinstance(command, c.OpenDispute):
            return command.is_stray or self._where(command) != self.psp
        is_over = all(order.is_over for order in self._meant(command.order_id).values())
        return self._where(command) != self.psp or is_over

    def _stray(self, command: c.Capture | c.RecordRefund | c.OpenDispute) -> Expected | None:
        weights = self._stray_lefts(command)
        total = sum(weights.values()) if command.amount_minor is None else command.amount_minor
        return Expected(STRAYS[command.event_type.value], total) if total else None

    def _stray_lefts(self, command: c.Capture | c.RecordRefund | c.OpenDispute) -> dict[str, int]:
        where, is_refund = self._where(command), not isinstance(command, c.Capture)
        return {
            key: max(
                0, order.suspense[where] if is_refund else order.amount - order.suspense[where]
            )
            for key, order in self._meant(command.order_id).items()
        }

    def _request(self, command: c.Change, able: list[Order]) -> Expected | None:
        event = command.event_type.value
        if isinstance(command, c.FailRefund):
            return None
        if isinstance(command, c.FailCapture):
            return Expected(event) if any(o.is_capturing for o in able) else None
        if isinstance(command, c.FailCancel):
            return Expected(event) if any(o.is_cancelling for o in able) else None
        if isinstance(command, c.RequestCapture):
            is_free = not any(order.is_capturing for order in self.orders.values())
            return self._part(command) if is_free else None
        meant = self._meant(getattr(command, "order_id", None)).values()
        is_possible = all(o.takes(event) for o in meant) and not all(o.is_asked for o in meant)
        return Expected(event) if is_possible else None

    def _dispute(self, command: c.OpenDispute, able: list[Order]) -> Expected | None:
        everything = sum(
            max(0, o.suspense[self.psp]) if o.is_over else o.left("dispute_opened") for o in able
        )
        total = everything if command.amount_minor is None else command.amount_minor
        return Expected("dispute_opened", total) if able and total else None

    def _part(self, command: c.AmountChange) -> Expected | None:
        event = command.event_type.value
        left = self.left(event, command.order_id)
        amount = left if command.amount_minor is None else command.amount_minor
        return Expected(event, amount) if 0 < amount <= left else None

    # -- what came of it -------------------------------------------------------------------------

    def write_down(self, command: c.Change, rows: tuple[NewEvent, ...]) -> None:
        """Check the rows of an accepted command and take them into the books."""
        expected = self.predicts(command)
        assert expected is not None, f"accepted, but should be refused: {command}"
        assert {row.event_type.value for row in rows} == {expected.event}
        excess = {"dispute_opened": -1, "dispute_won": +1, "dispute_reversed": +1}.get(
            expected.event, 0
        )
        total = sum(row.amount_minor + excess * row.suspense_minor for row in rows)
        assert total == expected.total, (command, rows)
        self._check_spread(command, rows)
        where = None
        if isinstance(command, c.Capture | c.RecordRefund | c.OpenDispute | c.ReturnRefund):
            where = self._where(command)
        if isinstance(command, c.WinDispute) and (strays := self._open_strays(command)):
            [where] = {psp for psp, _ in strays.values()}
        if isinstance(command, c.Attempt):
            self.psp = command.psp
        for row in rows:
            assert row.psp == (where or self.psp), (command, row)
            self._enter(row, getattr(command, "refund_id", None))

    def _check_spread(self, command: c.Change, rows: tuple[NewEvent, ...]) -> None:
        """No order gets more than its proportional part, rounded up, nor less, rounded down."""
        if not isinstance(command, c.AmountChange) or command.amount_minor is None:
            return
        if getattr(command, "refund_id", None) in self._open_refunds():
            return
        event, total = command.event_type.value, command.amount_minor
        lefts = {key: order.left(event) for key, order in self.orders.items()
                 if command.order_id in (None, key)}  # fmt: skip
        if isinstance(command, c.Capture | c.RecordRefund | c.OpenDispute) and self._is_stray(
            command
        ):
            lefts = self._stray_lefts(command)
            if isinstance(command, c.Capture) or not any(lefts.values()):
                lefts = {key: self.orders[key].amount for key in lefts}
        elif isinstance(command, c.OpenDispute):  # what goes beyond is in suspense
            total = min(total, sum(lefts.values()))
        got = {row.order_id: row.amount_minor for row in rows}
        for key, left in lefts.items():
            fair = Fraction(total * left, sum(lefts.values()) or 1)
            assert abs(got.get(key, 0) - fair) < 1, (command, rows)

    def _open_refunds(self) -> set[str]:
        return {key for order in self.orders.values() for key in order.asked_back}

    def _enter(self, row: NewEvent, refund_id: str | None) -> None:
        order = self.orders[row.order_id]
        available_before, suspense_before = order.available, order.suspense.total()
        self._enter_charge(order, row)
        self._enter_money(order, row, refund_id)
        if refund_id is not None:
            self.refund_ids.add(refund_id)
        assert row.available_delta_minor == order.available - available_before, row
        assert row.suspense_minor == order.suspense.total() - suspense_before, row
        self._check(order, row)

    def _enter_charge(self, order: Order, row: NewEvent) -> None:
        event = row.event_type.value
        if event in BEFORE_CAPTURE:
            order.status = event
        elif event in ("shipped", "delivered"):
            order.fulfilment = event
        elif event == "attempted":
            order.status, order.authorized = "created", 0
        elif event in ("captured", "honoured"):
            order.status = "captured"
        if event in ("captured", "failed", "cancelled", "expired"):
            order.is_capturing = order.is_cancelling = False
        elif event.startswith("capture_"):
            order.is_capturing = event == "capture_requested"
        elif event.startswith("cancel_"):
            order.is_cancelling = event == "cancel_requested"

    def _enter_money(self, order: Order, row: NewEvent, refund_id: str | None) -> None:
        event, amount = row.event_type.value, row.amount_minor
        seller = amount - row.commission_minor - row.logistics_fee_minor
        if event == "authorized":
            order.authorized = amount
        elif event in ("captured", "honoured"):
            order.captured += amount
            order.pending += seller
            order.commission_kept += row.commission_minor
            order.logistics_kept += row.logistics_fee_minor
            if event == "honoured":
                assert amount <= order.suspense[self.psp], row
                order.suspense[self.psp] -= amount
                order.authorized = 0
        elif event in ("stray_captured", "refund_returned", "stray_dispute_won"):
            order.suspense[row.psp] += amount
        elif event in ("stray_refunded", "stray_disputed"):
            order.suspense[row.psp] -= amount
        elif event == "released":
            order.pending -= amount
            order.released += amount
            order.available += amount
        elif event == "refund_requested":
            order.asked_back[str(refund_id)] = amount
        elif event == "refund_failed":
            del order.asked_back[str(refund_id)]
        elif event.startswith("dispute_"):
            self._enter_dispute(order, row)
        self._enter_reference(order, row, refund_id)
        if event in ("refunded", "dispute_lost"):
            order.asked_back.pop(str(refund_id), None)
            order.refunded += amount
            order.commission_kept -= row.commission_minor
            order.logistics_kept -= row.logistics_fee_minor
            if event == "dispute_lost":
                order.lost_from[row.psp_reference or ""] = (
                    row.commission_minor,
                    row.logistics_fee_minor,
                    max(0, seller - order.pending),
                )
            order.available -= max(0, seller - order.pending)
            order.pending = max(0, order.pending - seller)

    def _enter_dispute(self, order: Order, row: NewEvent) -> None:
        event, amount = row.event_type.value, row.amount_minor
        if event == "dispute_opened":
            order.excess = -row.suspense_minor
            assert order.excess == 0 or amount == order.left(event), row
            order.is_disputed, order.disputed = True, amount
            order.suspense[self.psp] -= order.excess
        elif event == "dispute_won":
            order.suspense[self.psp] += order.excess
            order.is_disputed, order.disputed, order.excess = False, 0, 0
        elif event == "dispute_reversed":
            lost, excess = order.lost.pop(row.psp_reference or "")
            assert (amount, row.suspense_minor) == (lost, excess), row
            order.suspense[self.psp] += excess
            order.refunded -= amount
            commission, logistics, available = order.lost_from.pop(row.psp_reference or "")
            assert (row.commission_minor, row.logistics_fee_minor) == (commission, logistics), row
            order.available += available
            order.pending += amount - commission - logistics - available
            order.commission_kept += row.commission_minor
            order.logistics_kept += row.logistics_fee_minor
        elif event == "dispute_lost":
            order.lost[row.psp_reference or ""] = (order.disputed, order.excess)
            order.is_disputed, order.disputed, order.excess = False, 0, 0

    def _enter_reference(self, order: Order, row: NewEvent, refund_id: str | None) -> None:
        """What can come back later, and under which name."""
        event, amount, reference = row.event_type.value, row.amount_minor, row.psp_reference
        by_id = refund_id if reference is None else None
        if event in ("refunded", "stray_refunded") and (reference or by_id):
            order.gone[row.psp, reference, by_id] += amount
        elif event == "refund_returned":
            order.gone[row.psp, reference, by_id] -= amount
        elif event == "stray_disputed" and reference is not None:
            order.strays[reference] = (row.psp, amount)
            self.stray_at[reference, (row.psp, amount)] = row.seq
        elif event == "stray_dispute_won":
            del order.strays[str(reference)]

    def _check(self, order: Order, row: NewEvent) -> None:
        """The books and the row agree, and nothing is owed that nobody paid."""
        assert (row.captured_minor, row.refunded_minor, row.released_minor, row.pending_minor,
                row.reserved_minor, row.authorized_minor, row.status, row.fulfilment) == (
            order.captured, order.refunded, order.released, order.pending, order.reserved,
            order.authorized, order.status, order.fulfilment)  # fmt: skip
        assert (row.dispute == "open") == order.is_disputed
        assert 0 <= order.captured <= order.amount
        assert order.authorized == 0 or order.captured <= order.authorized <= order.amount
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
