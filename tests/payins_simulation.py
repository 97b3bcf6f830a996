"""A seeded simulation of payments in: callers, worker, webhooks and processors, with crashes.

Everything that waits for something outside stops at a point (`Scheduler.point`). The scheduler lets
one waiting task go on, chosen by the seed, or lets it crash there, or moves the clock. So a seed
gives the same interleaving each time, and a failing one can be replayed.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from connectors.charges import ChargeStatus, DisputeStatus, RefundStatus
from payins.answers import Answered, InFlight
from payins.carry_out import CarryOut
from payins.catch_up import CatchUp
from payins.evidence import Unrecordable
from payins.execute import PayIns, RequestLimits
from payins.journal import MemoryMap
from payins.letters import DeadLetter
from payins.metrics import PayInsMetrics
from payins.pending import PendingMemory
from payins.poller import Poller
from payins.processors import CallLimits, Processors
from payins.resolve import LATE_REFUND_FAILED, Resolver
from payins.retries import Retry
from schemas.errors import ProcessorRefused, Rejection
from schemas.events import Event, NewEvent
from schemas.ids import PaymentId
from schemas.lifecycle import EventType, Status
from tests.builders import a_payment, line
from tests.model_psp import Fault, ModelClock, ModelPsp
from tests.model_table import SimulatedTable
from writer.append import Appended, Writer
from writer.commands import (
    AnyCommand,
    CreatePayment,
    RequestCancel,
    RequestCapture,
    RequestRefund,
)
from writer.memory import MemoryStore

TOKENS = (
    "ok", "ok", "ok", "declined", "action", "slow", "partial", "one_capture", "no_such_token",
)  # fmt: skip
HORIZON = timedelta(days=60)
_PAID = frozenset({EventType.CAPTURED, EventType.HONOURED, EventType.STRAY_CAPTURED})
_OVER = frozenset({Status.FAILED, Status.EXPIRED, Status.CANCELLED})
CALLER_WAITS_MOST = 1800.0
ONLY = frozenset({0})
"""The partitions."""


class Crash(BaseException):
    """The process ends here."""


class Scheduler:
    """Lets one waiting task at a time go on."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = ModelClock()
        self.crash_share = 0.0
        self._waiting: list[asyncio.Future[None]] = []

    async def point(self) -> None:
        """Wait until it is this task's turn; the process may crash here."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def run(self, tasks: set["asyncio.Task[None]"]) -> None:
        """Run until every task has ended."""
        while not all(task.done() for task in tasks):
            for _ in range(6):  # until each runs into a point
                await asyncio.sleep(0)
            if not self._waiting:
                continue
            turn = self._waiting.pop(self.random.randrange(len(self._waiting)))
            if self.random.random() < self.crash_share:
                turn.set_exception(Crash())
            else:
                self.clock.advance(self.random.choice((0.0, 0.0, 0.01, 0.2, 3.0)))
                turn.set_result(None)
        for task in tasks:
            task.result()


class SimulatedLedger:
    """A ledger whose calls can be interleaved, and crash before or after their commit."""

    def __init__(self, store: MemoryStore, point: Callable[[], Awaitable[None]]) -> None:
        self.store = store
        self._point = point
        self._writer = Writer(store, read_seconds=0)  # known streams are used after lost races, too

    async def handle(
        self, command: AnyCommand, known: Sequence[Event] | None = None
    ) -> Appended | Rejection:
        await self._point()
        answer = self._writer.handle(command, known)
        await self._point()
        return answer

    async def load(self, payment_id: PaymentId) -> tuple[Event, ...]:
        await self._point()
        return self.store.load(payment_id)


class Topic(MemoryStore):
    """The store, with everything that was appended in its order: what Kafka would deliver."""

    def __init__(self, clock: ModelClock) -> None:
        super().__init__(clock)
        self.records: list[Event] = []

    def append(self, events: Any) -> tuple[Event, ...]:
        appended = super().append(events)
        self.records += appended
        return appended


@dataclass
class Simulation:
    """One run; `problems` is what the auditor found."""

    seed: int
    payments: int = 6
    fault_share: float = 0.15
    crash_share: float = 0.03
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scheduler = Scheduler(self.seed)
        self.random = random.Random(self.seed + 1)
        self.clock = self.scheduler.clock
        self.topic = Topic(self.clock)
        self.psps = {
            name: ModelPsp(
                name=name, clock=self.clock, faults=self._fault, point=self.scheduler.point
            )
            for name in ("stripe", "adyen")
        }
        self.table = SimulatedTable(self.topic.records, self.clock, self.scheduler.point)
        self.answers: dict[str, tuple[NewEvent, ...]] = {}
        self.commands: list[CreatePayment] = []
        self.retries: MemoryMap[Retry] = MemoryMap()  # in Kafka: they outlive a process
        self.letters: MemoryMap[DeadLetter] = MemoryMap()
        self.unrecordable: list[Unrecordable] = []
        self._faults_on = True
        self._callers_done = 0

    # -- processes

    def _parts(self) -> tuple[PayIns, Resolver]:
        """A process of its own: nothing is shared but the store and the processors."""
        metrics = PayInsMetrics()
        limits = CallLimits(breaker_failures=1_000)
        processors = Processors(list(self.psps.values()), metrics, limits)
        ledger = SimulatedLedger(self.topic, self.scheduler.point)
        alone = RequestLimits(alone_seconds=1e9 if self.random.random() < 0.5 else 1e-9)
        payins = PayIns(ledger, processors, metrics, limits=alone, clock=self.clock)
        carry_out: CarryOut = payins.carry_out
        resolver = Resolver(carry_out, ledger, processors, self._claimed, self.clock)
        return payins, resolver

    async def _claimed(self, payment_id: PaymentId, orders: frozenset[str]) -> frozenset[str]:
        return frozenset(
            event.order_id
            for event in self.topic.records
            if event.payment_id != payment_id and event.order_id in orders and self._claims(event)
        )

    def _claims(self, event: Event) -> bool:
        """Whether a payment has paid this order, or can still do so: as `payins.rebuild` asks."""
        if event.event_type in _PAID:
            return True
        mine = [row for row in self.topic.records if row.payment_id == event.payment_id]
        latest = [row for row in mine if row.order_id == event.order_id][-1]
        return latest.status not in _OVER

    def _fault(self, operation: str) -> Fault | None:
        if not self._faults_on or self.random.random() >= self.fault_share:
            return None
        return self.random.choice(list(Fault))

    # -- callers

    async def _call(self, ask: Callable[[PayIns], Awaitable[Any]], key: str) -> Any:
        """Repeat a request until it is answered, through crashes of the service."""
        wait_seconds = 1.0
        while True:
            payins, _ = self._parts()
            try:
                result = await ask(payins)
            except Crash:
                continue
            if isinstance(result, InFlight):
                # What Stripe has failed to do stays failed under its key for a day.
                self.clock.advance(wait_seconds)
                wait_seconds = min(2 * wait_seconds, CALLER_WAITS_MOST)
                continue
            if isinstance(result, Answered):
                first = self.answers.setdefault(key, result.events)
                if first != result.events:
                    self.problems.append(f"{key} was answered twice, differently")
            return result

    async def _caller(self, number: int) -> None:
        choose = self.random.choice
        orders = (line("A"),) if number % 3 else (line("A"), line("B", 500, 0))
        command = a_payment(
            *orders,
            idempotency_key=f"create-{self.seed}-{number}",
            occurred_at=self.clock(),
            flow=choose(("direct", "direct", "direct", "hosted", "confirm_later")),
            capture=choose(("automatic", "manual", "manual")),
            payment_token=choose(TOKENS),
            method=choose(("card", "bank_transfer")),
        )
        self.commands.append(command)
        asynchronous = self.random.random() < 0.2
        await self._call(
            lambda p: p.create(command, respond_async=asynchronous), command.idempotency_key
        )
        if command.flow == "confirm_later" and self.random.random() < 0.8:
            await self._call(
                lambda p: p.confirm(command.payment_id, payment_token="ok"),
                f"confirm-{number}",
            )
        for change in range(self.random.randrange(4)):
            await self._change(command, number, change)
        self._callers_done += 1

    async def _change(self, command: CreatePayment, number: int, change: int) -> None:
        fields: dict[str, Any] = {
            "idempotency_key": f"change-{number}-{change}",
            "occurred_at": self.clock(),
            "payment_id": command.payment_id,
            "order_id": self.random.choice((None, "A")),
        }
        key = fields["idempotency_key"]
        match self.random.randrange(5):
            case 4:
                await self._captures_at_once(command, key)
            case 0:
                capture = RequestCapture(
                    **fields,
                    amount_minor=self.random.choice((None, 300)),
                    final=self.random.choice((None, None, True)),
                )
                await self._call(lambda p: p.capture(capture), key)
            case 1:
                await self._call(lambda p: p.cancel(RequestCancel(**fields)), key)
            case _:
                refund = RequestRefund(
                    **fields, refund_id=f"r-{change}", amount_minor=self.random.choice((None, 300))
                )
                await self._call(lambda p: p.refund(refund), key)

    async def _captures_at_once(self, command: CreatePayment, key: str) -> None:
        """A shop that ships two orders captures both at once, and asks again if it must."""
        left = [each.order_id for each in command.orders]
        for _ in range(len(left)):
            fields = {"occurred_at": self.clock(), "payment_id": command.payment_id}
            requests = [
                RequestCapture(**fields, idempotency_key=f"{key}-{each}", order_id=each)  # type: ignore[arg-type]
                for each in left
            ]
            results = await asyncio.gather(
                *(
                    self._call(lambda p, r=each: p.capture(r), each.idempotency_key)  # type: ignore[misc]
                    for each in requests
                )
            )
            left = [
                each
                for each, result in zip(left, results, strict=True)
                if isinstance(result, Rejection)
            ]

    # -- the worker

    async def _worker(self, until: Callable[[], bool]) -> None:
        """A worker that loses its memory with each crash, and starts from its last checkpoint."""
        while True:
            try:
                await self._work(until)
                return
            except Crash:
                continue

    async def _work(self, until: Callable[[], bool]) -> None:
        memory = PendingMemory(limit=1_000)
        started, read = self.clock(), len(self.topic.records)
        catch_up = CatchUp(
            memory=memory, table=self.table, checkpoints=self.table, partitions=len(ONLY)
        )
        await catch_up.start(ONLY)
        _, resolver = self._parts()
        poller = Poller(memory, resolver, self.retries, self.letters, PayInsMetrics(), self.clock)
        while True:
            await self.scheduler.point()
            for event in self.topic.records[read:]:
                memory.apply(event, 0)
            read = len(self.topic.records)
            if self.random.random() < 0.1:
                await catch_up.go_on(ONLY)
            if until() and len(memory) == self._in_vain(memory):
                return
            for payment_id in memory.take_due(self.clock(), 3):
                await poller.visit(payment_id, started)
            if (due := memory.next_due()) is not None:
                self._sleep_until(due)

    def _in_vain(self, memory: PendingMemory) -> int:
        """How many payments wait for a person: their late money cannot go back."""
        letters = self.letters.items.values()
        waiting = {each.payment_id for each in letters if each.reason == LATE_REFUND_FAILED}
        return sum(memory.get(PaymentId(each)) is not None for each in waiting if each)

    def _sleep_until(self, due: Any) -> None:
        """With nothing else to do, time passes until the next payment is due."""
        if self._callers_done == self.payments and due > self.clock():
            self.clock.now = min(due, self.clock() + HORIZON)

    # -- what happens at the processors, and webhooks

    async def _world(self) -> None:
        """Buyers act, banks decide, operators refund and banks dispute, until the callers end."""
        while self._callers_done < self.payments:
            try:
                await self.scheduler.point()
            except Crash:
                continue
            self._something_happens()

    def _something_happens(self) -> None:
        psp = self.random.choice(list(self.psps.values()))
        if not psp.charges or self.random.random() < 0.7:
            return
        reference = self.random.choice(list(psp.charges))
        charge = psp.charges[reference]
        if charge.status in (ChargeStatus.ACTION_REQUIRED, ChargeStatus.PROCESSING):
            psp.settle(reference, self.random.choice(_BANK_ANSWERS))
            return
        if charge.status is ChargeStatus.FAILED and self.random.random() < 0.3:
            psp.settle(reference, ChargeStatus.CAPTURED)  # the buyer tries another card
            return
        if charge.status is not ChargeStatus.CAPTURED:
            return
        self._money_moves(psp, reference)

    def _money_moves(self, psp: ModelPsp, reference: str) -> None:
        """What happens to a charge that was captured, by the hands of others."""
        charge = psp.charges[reference]
        match self.random.randrange(10):
            case 0:
                with suppress(ProcessorRefused):  # nothing is left, or it is disputed
                    psp.refund_now(reference, self.random.choice((100, 700)), None)
            case 1 if len(charge.disputes) < 2:
                psp.dispute(reference, self.random.choice((charge.captured_minor, 250)))
            case 2 | 3 | 4 if charge.disputes:  # decided, or decided once more
                number = self.random.randrange(len(charge.disputes))
                decisions = set(_DECISIONS) - {charge.disputes[number].status}
                psp.decide(reference, number, self.random.choice(sorted(decisions)))
            case 5 | 6 if charge.refunds:
                number = self.random.randrange(len(charge.refunds))
                if charge.refunds[number].status is RefundStatus.SUCCEEDED:
                    psp.settle_refund(reference, number, RefundStatus.FAILED)
            case 7 if reference not in psp.doubled:
                psp.charge_again(reference)
            case _:
                return

    async def _webhooks(self) -> None:
        """Deliver events late, twice, in any order, or never."""
        _, resolver = self._parts()
        while self._callers_done < self.payments:
            try:
                await self.scheduler.point()
                log = [event for psp in self.psps.values() for event in psp.log]
                if not log:
                    continue
                event = self.random.choice(log)
                assert event.charge is not None
                charge = event.charge
                if self.random.random() < 0.5:
                    charge = self.psps[event.psp].charges[charge.reference]
                await resolver.observe(charge)
            except (Crash, ProcessorRefused):
                continue
            except Exception as error:
                if type(error).__name__ not in ("NotSent", "OutcomeUnknown"):
                    raise

    async def _sweep(self) -> None:
        """What the poll of events does in the end: every charge is looked at once more."""
        _, resolver = self._parts()
        self.unrecordable = []
        for psp in self.psps.values():
            for charge in list(psp.charges.values()):
                self.unrecordable += await resolver.observe(charge)

    def _afterwards(self) -> None:
        """Weeks later banks and buyers change their minds about what was settled."""
        for psp in self.psps.values():
            for reference, charge in list(psp.charges.items()):
                if charge.status is ChargeStatus.CAPTURED:
                    for _ in range(self.random.randrange(4)):
                        self._money_moves(psp, reference)

    # -- the run

    async def _run(self) -> None:
        self.scheduler.crash_share = self.crash_share
        callers = [self._caller(number) for number in range(self.payments)]
        done = lambda: self._callers_done == self.payments  # noqa: E731
        await self._together(*callers, self._worker(done), self._world(), self._webhooks())
        self._faults_on = False
        self.scheduler.crash_share = 0.0
        for weeks in range(5):
            await self._together(self._sweep())
            await self._together(self._worker(lambda: True))
            if weeks < 2:
                self._afterwards()
        self.problems += [
            f"no event says {fact}"
            for fact in self.unrecordable
            if fact.reason != "refund_failed_after_success"  # recorded; a person pays the buyer
        ]
        await self._together(*(self._ask_again(command) for command in self.commands))

    async def _ask_again(self, command: CreatePayment) -> None:
        result = await self._call(lambda p: p.create(command), command.idempotency_key)
        if not (isinstance(result, Answered) and result.replayed):
            self.problems.append(f"{command.idempotency_key} is not answered again: {result}")

    async def _together(self, *coroutines: Coroutine[Any, Any, None]) -> None:
        await self.scheduler.run({asyncio.ensure_future(each) for each in coroutines})

    def run(self) -> list[str]:
        """Run, audit, and return what is wrong."""
        asyncio.run(self._run())
        return self.problems


_BANK_ANSWERS = (ChargeStatus.CAPTURED, ChargeStatus.CAPTURED, ChargeStatus.FAILED)
_DECISIONS = (DisputeStatus.WON, DisputeStatus.LOST)
