"""Run on a tree that knows `goodwill_credited`: what becomes of one, printed as one JSON object.

python goodwill.py                        # decided, folded, posted, added up, asked about
python goodwill.py OWNER_DSN WRITER_DSN   # accepted and refused by the guards, on an empty database
"""

import json
import sys
from datetime import UTC, datetime
from typing import Any

import msgspec

import schemas
from operations.verify.postings import POSTINGS
from operations.verify.revenue import REVENUE
from operations.verify.source import Window
from operations.verify.states import REFUNDS
from schemas.clickhouse.generate import FILE
from schemas.clickhouse.totals import from_entries
from schemas.errors import Rejection
from schemas.events import Event, NewEvent
from schemas.views import SELLER_REVENUE, SellerRevenueRow
from sinks.memory import MemorySink
from streams.decode import Record
from streams.fold import fold_batch, postings
from writer import commands
from writer.decide import AlreadyDone, decide
from writer.importing.history import decide_line
from writer.migrate import migrate
from writer.postgres import open_store
from writer.state import PaymentState, apply

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
EVENT_TYPE = "goodwill_credited"
PAYMENT = commands.CreatePayment(
    idempotency_key="goodwill",
    occurred_at=NOON,
    buyer_id="buyer-1",
    currency="EUR",
    psp="stripe",
    method="card",
    orders=(
        commands.OrderLine(
            order_id="order-1",
            seller_id="seller-1",
            amount_minor=1000,
            commission_minor=100,
            logistics_fee_minor=50,
        ),
    ),
)
LINE = {
    "idempotency_key": "recorded",
    "buyer_id": "buyer-1",
    "currency": "EUR",
    "method": "card",
    "created_at": NOON.isoformat(),
    "orders": [
        {
            "order_id": "order-1",
            "seller_id": "seller-1",
            "amount_minor": 10,
            "commission_minor": 0,
            "logistics_fee_minor": 0,
        }
    ],
    "events": [{"type": kind, "at": NOON.isoformat()} for kind in ("captured", EVENT_TYPE)],
}


def command(name: str, amount_minor: int | None) -> commands.Change:
    """A command about the payment."""
    made: commands.Change = getattr(commands, name)(
        payment_id=PAYMENT.payment_id,
        idempotency_key=f"{name}-{amount_minor}",
        occurred_at=NOON,
        amount_minor=amount_minor,
    )
    return made


CREDIT = command("CreditGoodwill", 300)
BEFORE = (PAYMENT, command("Capture", None), command("Release", 800))


def rows_of(*asked: commands.AnyCommand) -> tuple[PaymentState, tuple[NewEvent, ...]]:
    """The state after these commands, and all rows."""
    state: PaymentState | None = None
    rows: tuple[NewEvent, ...] = ()
    for one in asked:
        decided = decide(state, one)
        assert isinstance(decided, tuple), decided
        state, rows = apply(state, decided), rows + decided
    assert state is not None
    return state, rows


def record(offset: int, event: Event) -> Record:
    """An event as Debezium writes it."""
    envelope = {"op": "c", "source": {"ts_ms": 1}, "after": msgspec.to_builtins(event)}
    key = msgspec.json.encode({"payment_id": str(event.payment_id)})
    return Record("payments", 0, offset, 0, key, msgspec.json.encode(envelope))


def without_servers() -> dict[str, Any]:
    """Decided, folded to a state, posted, added up; and what `verify` asks about."""
    before, _ = rows_of(*BEFORE)
    state, rows = rows_of(*BEFORE, CREDIT)
    credited, order = rows[-1], state.orders["order-1"]
    refused = decide(before, command("CreditGoodwill", 1001))
    assert isinstance(refused, Rejection)
    events = [Event(**msgspec.structs.asdict(row), recorded_at=NOON) for row in rows]
    batch = fold_batch(map(record, range(len(events)), events), consumer="x", parked_at=NOON)
    sink = MemorySink()
    sink.write(batch.columns)
    [totals] = [SellerRevenueRow(*row) for row in sink.rows(SELLER_REVENUE)]
    questions = (POSTINGS.sql, REFUNDS.sql, REVENUE.everywhere(Window(), 1))
    sums = (from_entries(), FILE.read_text(encoding="utf-8"))
    return {
        "tree": list(schemas.__path__),
        "row": {
            name: getattr(credited, name)
            for name in (
                *("amount_minor", "commission_minor", "logistics_fee_minor", "refunded_minor"),
                *("reserved_minor", "pending_minor", "available_delta_minor"),
            )
        },
        "again": isinstance(decide(state, CREDIT), AlreadyDone),
        "refused": refused.code,
        "given_back": msgspec.structs.astuple(order.given_back),
        "imported": [row.event_type for row in decide_line(json.dumps(LINE).encode(), psp="x")],
        "dead_letters": [letter.error for letter in batch.dead_letters],
        "postings": [[leg.account_type, leg.amount_minor] for leg in postings(events[-1])],
        "totals": totals._asdict() | {"day": str(totals.day)},
        "asked_about": [EVENT_TYPE in sql for sql in (*questions, *sums)],
    }


def with_postgres(owner_dsn: str, writer_dsn: str) -> dict[str, Any]:
    """What the generated guards say to the right row and to wrong ones."""
    migrate(owner_dsn)
    _, rows = rows_of(*BEFORE, CREDIT)
    credited = rows[-1]
    wrong = {
        name: msgspec.structs.replace(credited, **{name: getattr(credited, name) + 1})
        for name in ("refunded_minor", "reserved_minor", "pending_minor", "commission_minor")
    }
    wrong["amount_minor"] = msgspec.structs.replace(
        credited, amount_minor=0, commission_minor=0, logistics_fee_minor=0
    )
    refused = {}
    with open_store(writer_dsn) as store:
        store.append(rows[:-1])
        for name, row in wrong.items():
            try:
                store.append([row])
            except Rejection as rejection:
                refused[name] = rejection.field
        store.append([credited])
        return {
            "stored": [event.event_type for event in store.load(PAYMENT.payment_id)],
            "refused": refused,
        }


if __name__ == "__main__":
    found = with_postgres(*sys.argv[1:]) if sys.argv[1:] else without_servers()
    sys.stdout.write(json.dumps(found))
