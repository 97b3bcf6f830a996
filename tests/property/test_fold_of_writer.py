"""Whatever the writer appends, the fold reads, and both agree about the seller's balances."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.accounts import AccountType
from schemas.events import Event
from schemas.views import LEDGER_ENTRIES, LedgerEntryRow, rows_of
from streams.fold import fold_batch
from tests.builders import a_payout, change
from tests.events import records
from tests.property.strategies import changes, payments
from writer import commands as c
from writer.decide import decide
from writer.memory import MemoryStore
from writer.state import fold

NOW = datetime(2024, 6, 1, tzinfo=UTC)


def append(store: MemoryStore, command: c.AnyCommand) -> None:
    """What the rules allow is appended, the rest is left."""
    available = None
    if isinstance(command, c.RequestPayout):
        available = store.available_minor(command.seller_id, command.currency)
    rows = decide(fold(store.load(command.payment_id)), command, available_minor=available)
    if isinstance(rows, tuple):
        store.append(rows)


@given(payment=payments(), data=st.data())
def test_the_ledger_is_what_the_writer_knows(payment: c.CreatePayment, data: st.DataObject) -> None:
    store = MemoryStore(lambda: NOW)
    ids = [payment.payment_id]
    append(store, payment)
    append(store, change(c.Capture, payment.payment_id))
    most = sum(line.amount_minor for line in payment.orders)
    for _ in range(data.draw(st.integers(0, 12))):
        append(store, data.draw(changes(payment, lambda event, order_id: most)))
    for seller in ("s1", "s2"):
        asked = a_payout(
            seller_id=seller, currency=payment.currency, amount_minor=data.draw(st.integers(1, 600))
        )
        ids.append(asked.payment_id)
        append(store, asked)
        for kind in data.draw(st.lists(st.sampled_from(PAYOUT_STEPS), max_size=3)):
            append(store, change(kind, asked.payment_id))
    events = [event for one in ids for event in store.load(one)]
    folded = fold_batch(records(events), consumer="views", parked_at=NOW)
    assert not folded.dead_letters
    assert folded.event_count == len(events)

    balances: Counter[tuple[str, str]] = Counter()
    for row in rows_of(LEDGER_ENTRIES, folded.columns[LEDGER_ENTRIES]):
        entry = LedgerEntryRow(*row)
        balances[entry.account_type, entry.account_id] -= entry.amount_minor
    for seller in ("s1", "s2"):
        available = store.available_minor(seller, payment.currency)
        assert balances[AccountType.SELLER_AVAILABLE, seller] == available
        assert balances[AccountType.SELLER_PENDING, seller] == pending_of(events, seller)
    state = fold(store.load(payment.payment_id))
    assert state is not None
    held = sum(order.captured_minor - order.refunded_minor for order in state.orders.values())
    disputed = sum(order.disputed_minor for order in state.orders.values())
    owed, kept = 0, 0
    for psp in ("stripe", "adyen"):
        suspense = sum(order.suspense_minor.get(psp, 0) for order in state.orders.values())
        assert balances[AccountType.SUSPENSE, psp] == suspense
        owed -= balances[AccountType.PSP_RECEIVABLE, psp] + suspense
        kept -= balances[AccountType.PSP_DISPUTED, psp]
    assert (owed, kept) == (held - disputed, disputed)


PAYOUT_STEPS = (c.SubmitPayout, c.MarkPayoutPaid, c.FailPayout, c.ReturnPayout, c.CancelPayout)


def last_of_orders(events: list[Event]) -> list[Event]:
    """The latest event of each order of the payment."""
    return list({event.order_id: event for event in events if event.direction == "in"}.values())


def pending_of(events: list[Event], seller: str) -> int:
    return sum(e.pending_minor for e in last_of_orders(events) if e.seller_id == seller)
