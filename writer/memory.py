"""An event store in memory, for simulations and tests; the simplest statement of the rules.

It implements only the table's uniqueness and the payout guard. One lock makes it thread-safe.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from threading import Lock

import msgspec

from schemas.effects import effect_of
from schemas.errors import Rejection
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.rejections import RejectionCode
from writer.store import Account, StreamMoved


class MemoryStore:
    """`EventStore` without a server; `clock` supplies `recorded_at`."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = Lock()
        self._streams: dict[PaymentId, tuple[Event, ...]] = {}
        self._available: defaultdict[tuple[str, str], int] = defaultdict(int)

    def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        return self._streams.get(payment_id, ())

    def available_minor(self, seller_id: str, currency: str) -> int:
        return self._available.get((seller_id, currency), 0)

    def available_many_minor(self, accounts: Collection[Account]) -> Mapping[Account, int]:
        return {account: self.available_minor(*account) for account in accounts}

    def load_many(self, payment_ids: Sequence[PaymentId]) -> Mapping[PaymentId, tuple[Event, ...]]:
        return {key: self._streams[key] for key in payment_ids if key in self._streams}

    def recover(self) -> None:
        """Do nothing: there are no connections."""

    def append_many(self, events: Sequence[NewEvent]) -> None:
        self.append(events)

    def append(self, events: Sequence[NewEvent]) -> tuple[Event, ...]:
        with self._lock:
            recorded_at = self._clock()
            streams: dict[PaymentId, tuple[Event, ...]] = {}
            available = defaultdict(int, self._available)
            appended = []
            for event in events:
                payment_id = PaymentId(event.payment_id)
                stream = streams.get(payment_id, self._streams.get(payment_id, ()))
                if event.seq != len(stream) + 1:
                    raise StreamMoved(f"payment {payment_id} already has {len(stream)} events")
                balance = (event.seller_id, event.currency)
                available[balance] += event.available_delta_minor
                if effect_of(event).draws_on_balance and available[balance] < 0:
                    raise _above_balance(event)
                row = Event(**msgspec.structs.asdict(event), recorded_at=recorded_at)
                streams[payment_id] = (*stream, row)
                appended.append(row)
            self._streams |= streams
            self._available = available
        return tuple(appended)


def _above_balance(event: NewEvent) -> Rejection:
    return Rejection(
        code=RejectionCode.PAYOUT_ABOVE_BALANCE,
        field="amount_minor",
        problem=f"is {event.amount_minor}, more than seller {event.seller_id} has available",
    )
