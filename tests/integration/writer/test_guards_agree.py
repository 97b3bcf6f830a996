"""The database's guards accept every history that `decide` makes, down to the last column."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.effects import EFFECTS
from schemas.events import NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import Direction
from tests.builders import change, rows_of
from tests.histories import a_history, an_event
from tests.integration.postgres.database import Database
from tests.property.strategies import changes, payments
from writer.commands import Capture
from writer.decide import decide
from writer.importing.history import decide_line
from writer.postgres import open_store
from writer.state import OrderState, apply

COMMANDS = 25

# So that no event is missing, whatever chance does.
EVERY_EVENT = [
    a_history(
        an_event("action_required"), an_event("processing"), an_event("unknown"),
        an_event("authorized"), an_event("captured", amount_minor=1001), an_event("captured"),
        an_event("shipped"), an_event("delivered"), an_event("released", amount_minor=901),
        an_event("refund_requested", amount_minor=300), an_event("refund_failed"),
        an_event("refund_requested", amount_minor=200, refund_id="re_1"),
        an_event("refunded", refund_id="re_1"), an_event("refund_returned", refund_id="re_1"),
        an_event("dispute_opened", amount_minor=400), an_event("dispute_won"),
        an_event("dispute_opened"), an_event("dispute_lost"), an_event("dispute_won"),
        idempotency_key="every-event",
    ),
    a_history(
        an_event("cancel_requested"), an_event("cancel_failed"), an_event("authorized"),
        an_event("capture_requested"), an_event("capture_failed"), an_event("expired"),
        an_event("captured", amount_minor=2000), an_event("refunded", amount_minor=3),
        an_event("honoured"), an_event("dispute_opened", amount_minor=2000),
        an_event("dispute_won"), an_event("released"), idempotency_key="every-stray",
    ),
    *(a_history(an_event(end), idempotency_key=end) for end in ("failed", "cancelled", "expired")),
]  # fmt: skip


@st.composite
def histories(draw: st.DrawFn) -> list[NewEvent]:
    """The rows of a payment after as many random commands as were accepted."""
    payment = draw(payments())
    rows = decide(None, payment)
    assert isinstance(rows, tuple)
    state, history = apply(None, rows), [*rows]
    if draw(st.booleans()):
        history += rows_of(state, change(Capture, payment.payment_id))
        state = apply(None, history)
    for _ in range(COMMANDS):

        def left(event: str, order_id: str | None) -> int:
            orders: list[OrderState] = [*state.orders.values()]  # noqa: B023 - used at once
            chosen = [order for order in orders if order_id in (None, order.order_id)]
            if event == "captured":
                return sum(order.amount_minor - order.captured_minor for order in chosen)
            return sum(order.captured_minor - order.refunded_minor for order in chosen)

        decision = decide(state, draw(changes(payment, left)))
        if isinstance(decision, tuple):
            state = apply(state, decision)
            history += decision
    return history


def _collected() -> list[list[NewEvent]]:
    """Many random histories, made before there is a connection pool with its own random waits."""
    found: list[list[NewEvent]] = []

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(history=histories())
    def collect(history: list[NewEvent]) -> None:
        found.append(history)

    collect()
    return found


def test_the_guards_accept_whatever_is_decided(database: Database) -> None:
    found = _collected()
    found += [[*decide_line(json.dumps(life).encode(), psp="stripe")] for life in EVERY_EVENT]
    seen = {row.event_type for history in found for row in history}
    assert seen == set(EFFECTS[Direction.IN])
    with open_store(database.writer) as store:
        for history in found:
            store.append_many(history)
            assert len(store.load(PaymentId(history[0].payment_id))) == len(history)
