"""An independent auditor of a simulation: reads the books of both sides, and shares no rule."""

from collections import Counter
from collections.abc import Sequence
from uuid import UUID

from connectors.charges import Charge, ChargeStatus
from payins.intents import intents
from payins.keys import psp_key
from payins.resolve import LATE_REFUND_FAILED
from schemas.accounts import AccountType
from schemas.events import Event
from schemas.lifecycle import EventType
from streams.fold.postings import postings
from tests.model_psp import net_minor
from tests.payins_simulation import Simulation
from tests.payins_world import recorded_minor
from writer.state import fold

_IN_DOUBT = {"created", "unknown", "processing", "action_required"}
_BACK = {"refund_returned", "dispute_won", "dispute_reversed"}
"""Events that bring money back when late money has gone back, or less of it for their sake."""
_HOLDING = {ChargeStatus.AUTHORIZED, ChargeStatus.PROCESSING, ChargeStatus.ACTION_REQUIRED}


def audit(simulation: Simulation) -> list[str]:
    """Return everything that is wrong at the end of a run."""
    problems = []
    charges = [each for psp in simulation.psps.values() for each in psp.charges.values()]
    doubled = {each for psp in simulation.psps.values() for each in psp.doubled}
    made = [each for each in charges if each.reference not in doubled]
    asked = Counter((each.psp, each.payment_id, each.intent_seq) for each in made)
    problems += [f"two charges for one intent: {each}" for each, n in asked.items() if n > 1]
    recorded = {event.payment_id for event in simulation.topic.records}
    problems += [f"a charge without a record: {c}" for c in charges if c.payment_id not in recorded]
    for command in simulation.commands:
        payment_id = command.payment_id
        events = simulation.topic.load(payment_id)
        state = fold(events)
        if state is None:
            problems.append(f"{payment_id} was answered and is not there")
            continue
        statuses = {order.state.status.value for order in state.orders.values()}
        if doubt := statuses & _IN_DOUBT:
            problems.append(f"{payment_id} stays in doubt: {doubt}")
        problems += [f"{payment_id} has an open {i.kind}" for i in intents(events) if i.is_open]
        mine = [each for each in charges if each.payment_id == payment_id]
        for psp in simulation.psps:
            at_psp = sum(net_minor(each) for each in mine if each.psp == psp)
            in_books = recorded_minor(events, psp)
            if at_psp != in_books:
                problems.append(f"{payment_id}: {at_psp} at {psp}, {in_books} recorded")
            in_ledger = sum(
                leg.amount_minor
                for event in events
                for leg in postings(event)
                if (leg.account_type, leg.account_id) == (AccountType.PSP_RECEIVABLE, psp)
            )
            if in_ledger != in_books:
                problems.append(f"{payment_id}: {in_ledger} in the ledger, {in_books} recorded")
        problems += _orders_differ(simulation, events, mine)
        is_idle = not any(o.capturable_minor for o in state.orders.values() if not o.is_over)
        problems += [
            f"{payment_id} holds what nobody can capture: {each}"
            for each in mine
            if is_idle and each.captured_minor and each.status is ChargeStatus.AUTHORIZED
        ]
        kept = [each for each in mine if net_minor(each) > 0]
        if len(kept) > 1 and not _has_a_reason(simulation, payment_id, events):
            problems.append(f"{payment_id} was charged and kept twice: {kept}")
        over = statuses <= {"failed", "cancelled", "expired"}
        problems += [f"{payment_id} is over and holds {c}" for c in mine if over and _holds(c)]
    return problems


def _has_a_reason(simulation: Simulation, payment_id: UUID, events: Sequence[Event]) -> bool:
    """Whether what was taken twice is with a person, or the buyer has as much by other ways.

    A bank can take from one charge what it refuses to take as a refund of another.
    """
    letters = simulation.letters.items.values()
    if any((each.payment_id, each.reason) == (payment_id, LATE_REFUND_FAILED) for each in letters):
        return True
    left: Counter[tuple[str, str]] = Counter()
    for event in events:
        left[event.order_id, event.psp] += event.suspense_minor
        if event.event_type in _BACK:
            left[event.order_id, event.psp] -= event.suspense_minor
    state = fold(events)
    assert state is not None
    if any(order.state.dispute == "open" for order in state.orders.values()):
        return True  # it waits for the bank
    return all(minor <= 0 for minor in left.values())


def _orders_differ(
    simulation: Simulation, events: Sequence[Event], charges: Sequence[Charge]
) -> list[str]:
    """Compare each order with the captures that were made for it, where all money came of these."""
    made = [each for psp in simulation.psps.values() for each in psp.captures]
    mine = [each for each in made if each[1] in {charge.reference for charge in charges}]
    if not mine or sum(each[2] for each in mine) != sum(each.captured_minor for each in charges):
        return []
    at_psp: Counter[str] = Counter()
    for key, _, _ in mine:
        asked = next(event for event in events if key == psp_key(event.payment_id, event.seq))
        for event in events:
            if event.idempotency_key == asked.idempotency_key:
                at_psp[event.order_id] += event.amount_minor
    in_books: Counter[str] = Counter()
    for event in events:
        if event.event_type in (EventType.CAPTURED, EventType.STRAY_CAPTURED):
            in_books[event.order_id] += event.amount_minor
    if at_psp == in_books:
        return []
    return [f"{events[0].payment_id}: {at_psp} captured by order, {in_books} recorded"]


def _holds(charge: object) -> bool:
    return getattr(charge, "status", None) in _HOLDING
