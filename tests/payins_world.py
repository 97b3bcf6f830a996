"""Payments in without servers: a store and processors in memory, and what tests ask of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from payins.answers import Answered
from payins.carry_out import CarryOut
from payins.execute import PayIns, RequestLimits, Result
from payins.metrics import PayInsMetrics
from payins.processors import Processors
from schemas.errors import Rejection
from schemas.events import Event
from schemas.ids import PaymentId
from schemas.lifecycle import EventType
from tests.builders import a_payment, fresh_key, line
from tests.model_psp import Fault, ModelClock, ModelPsp
from writer.append import Appended, Writer
from writer.commands import AnyCommand, CreatePayment
from writer.memory import MemoryStore
from writer.state import PaymentState, fold


class DirectLedger:
    """A ledger on a store in memory."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self._writer = Writer(store)

    async def handle(
        self, command: AnyCommand, known: Sequence[Event] | None = None
    ) -> Appended | Rejection:
        return self._writer.handle(command, known)

    async def load(self, payment_id: PaymentId) -> Sequence[Event]:
        return self.store.load(payment_id)


@dataclass
class World:
    """One service with its store and its processors; more processors can be given."""

    clock: ModelClock = field(default_factory=ModelClock)
    others: tuple[str, ...] = ()
    limits: RequestLimits = field(default_factory=RequestLimits)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.ledger = DirectLedger(self.store)
        names = ("stripe", *self.others)
        self.psps = {name: ModelPsp(name=name, clock=self.clock) for name in names}
        self.psp = self.psps["stripe"]
        self.metrics = PayInsMetrics()
        self.processors = Processors(list(self.psps.values()), self.metrics)
        self.payins = PayIns(
            self.ledger, self.processors, self.metrics, limits=self.limits, clock=self.clock
        )

    @property
    def carry_out(self) -> CarryOut:
        """What carries out intents."""
        return self.payins.carry_out

    def payment(self, token: str = "ok", **fields: Any) -> CreatePayment:
        """A payment of one order of 1000, paid directly with a token."""
        lines = fields.pop("lines", (line("A"),))
        wishes = {
            "flow": "direct",
            "capture": "automatic",
            "payment_token": token,
            "occurred_at": self.clock(),
        }
        return a_payment(*lines, **wishes | fields)

    def change(self, command: type[Any], payment_id: PaymentId, **fields: Any) -> Any:
        """A command about a payment."""
        defaults = {"idempotency_key": fresh_key(), "occurred_at": self.clock()}
        return command(**defaults | fields, payment_id=payment_id)

    def events(self, payment_id: PaymentId) -> tuple[Event, ...]:
        """A payment's stream."""
        return self.store.load(payment_id)

    def types(self, payment_id: PaymentId) -> list[str]:
        """The event types of a payment's stream."""
        return [event.event_type.value for event in self.events(payment_id)]

    def state(self, payment_id: PaymentId) -> PaymentState:
        """A payment's state."""
        state = fold(self.events(payment_id))
        assert state is not None
        return state


def failing(*faults: tuple[str, Fault]) -> Callable[[str], Fault | None]:
    """Faults for the next calls of these operations, in this order."""
    left = list(faults)

    def next_fault(operation: str) -> Fault | None:
        if left and left[0][0] == operation:
            return left.pop(0)[1]
        return None

    return next_fault


def answered(result: Result) -> list[EventType]:
    """The event types of an answer, which there must be."""
    assert isinstance(result, Answered), result
    return [event.event_type for event in result.events]


def books_agree(world: World, payment_id: PaymentId) -> bool:
    """Whether the money at the processors is the money in the stream, processor by processor."""
    return all(
        psp.net_minor(payment_id) == recorded_minor(world.events(payment_id), psp.name)
        for psp in world.psps.values()
    )


def recorded_minor(events: Sequence[Event], psp: str) -> int:
    """What a stream says a processor owes us: taken, less what went back or is disputed."""
    return sum(_SIGNS[event.event_type](event) for event in events if event.psp == psp)


def _nothing(_event: Event) -> int:
    return 0


_SIGNS: dict[EventType, Callable[[Event], int]] = {
    **dict.fromkeys(EventType, _nothing),
    EventType.CAPTURED: lambda event: event.amount_minor,
    EventType.REFUNDED: lambda event: -event.amount_minor,
    EventType.STRAY_CAPTURED: lambda event: event.suspense_minor,
    EventType.STRAY_REFUNDED: lambda event: event.suspense_minor,
    EventType.DISPUTE_OPENED: lambda event: event.suspense_minor - event.amount_minor,
    EventType.DISPUTE_WON: lambda event: event.suspense_minor + event.amount_minor,
    EventType.DISPUTE_REVERSED: lambda event: event.suspense_minor + event.amount_minor,
    EventType.REFUND_RETURNED: lambda event: event.amount_minor,
    EventType.STRAY_DISPUTED: lambda event: -event.amount_minor,
    EventType.STRAY_DISPUTE_WON: lambda event: event.amount_minor,
}
"""Event type -> what it adds to the money at its processor."""
