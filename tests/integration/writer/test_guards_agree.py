"""The database's guards accept every history that `decide` makes, down to the last column."""

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import IN_EVENTS, EventType
from tests.integration.postgres.database import Database
from tests.property.strategies import changes, payments
from writer.decide import decide
from writer.postgres import open_store
from writer.state import OrderState, apply

COMMANDS = 25


@st.composite
def histories(draw: st.DrawFn) -> list[NewEvent]:
    """The rows of a payment after as many random commands as were accepted."""
    payment = draw(payments())
    rows = decide(None, payment)
    assert isinstance(rows, tuple)
    state, history = apply(None, rows), [*rows]
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

    @settings(max_examples=100, deadline=None)
    @given(history=histories())
    def collect(history: list[NewEvent]) -> None:
        found.append(history)

    collect()
    return found


def test_the_guards_accept_whatever_is_decided(database: Database) -> None:
    found = _collected()
    seen = {row.event_type for history in found for row in history}
    assert seen >= IN_EVENTS - {EventType.EXPIRED, EventType.CANCELLED, EventType.FAILED}
    with open_store(database.writer) as store:
        for history in found:
            store.append_many(history)
            assert len(store.load(PaymentId(history[0].payment_id))) == len(history)
