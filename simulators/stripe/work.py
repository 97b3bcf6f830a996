"""What is due at a time, by name, and the loop that does it when the clock gets there."""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from types import MappingProxyType

from simulators.clock import DAY
from simulators.stripe import disputes, intents, paying, payouts, refunds, sessions
from simulators.stripe.account import Account, Task
from simulators.stripe.event_log import Cause
from simulators.stripe.idempotency import Answers
from simulators.stripe.kinds import INTENT

IDLE_SECONDS = 1.0
TASKS_AT_ONCE = 50
DAY_BEGINS = "day_begins"

_log = logging.getLogger("purser.simulator.work")


def _bank_answers(account: Account, identity: str) -> None:
    intent = account.store.get(INTENT, identity)
    if intent["status"] == "processing":
        paying.bank_answered(account, intent)
        account.store.save(INTENT, intent)
        sessions.after_payment(account, intent)


def _authorization_expires(account: Account, identity: str) -> None:
    intent = account.store.get(INTENT, identity)
    if intent["status"] == "requires_capture":
        intents.end(account, intent, "automatic")


def _day_begins(account: Account, _subject: str) -> None:
    """Pay out what is settled; the next day begins in a day."""
    payouts.of_the_day(account)
    next_day(account)


def next_day(account: Account) -> None:
    """Let the next day begin in time."""
    now = account.now
    account.tasks.add(DAY_BEGINS, "", now - now % DAY + DAY)


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        "bank_answers": _bank_answers,
        "authorization_expires": _authorization_expires,
        DAY_BEGINS: _day_begins,
        "refund_succeeds": refunds.succeed,
        "refund_fails": refunds.fail,
        "dispute_opens": disputes.open_,
        "inquiry_opens": disputes.inquire,
        "fraud_warning": disputes.warn,
        "dispute_decided": disputes.decide,
        "dispute_due": disputes.due,
        "session_expires": sessions.expires,
        "payout_arrives": payouts.arrive,
        "payout_fails": payouts.fail,
    }
)


class Work:
    """Does what is due, each task in a transaction of its own."""

    def __init__(self, account: Account, answers: Answers) -> None:
        self._account = account
        self._answers = answers
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.problem: str | None = None
        account.tasks.on_earlier = self._wake.set

    def start(self) -> None:
        """Begin."""
        with self._account.database.transaction():
            if not self._account.tasks.known(DAY_BEGINS):
                next_day(self._account)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what is due waits in the books."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def advance(self, seconds: float) -> None:
        """Let time pass: whatever is due within it happens at its time, in order."""
        async with self._lock:
            target = self._account.clock.now() + seconds
            await self._until(target)
            with self._account.database.transaction():
                self._account.clock.move_to(target)

    async def _until(self, moment: float) -> None:
        done = 0
        while self._next(moment):
            done += 1
            if done % TASKS_AT_ONCE == 0:
                await asyncio.sleep(0)

    def _next(self, moment: float) -> bool:
        """Do the earliest task that is due by then; whether there was one."""
        account = self._account
        with account.database.transaction():
            taken = account.tasks.take(moment)
            if taken is None:
                return False
            name, subject, due = taken
            account.clock.move_to(due)
            account.cause = Cause(identity=name)
            TASKS[name](account, subject)
        return True

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                async with self._lock:
                    await self._until(self._account.clock.now())
                self._answers.forget(self._account.clock.now())
                self.problem = None
            except Exception as error:  # noqa: BLE001 - it is told, and the task is still due
                self.problem = f"a task cannot be done: {error!r}"
                _log.exception("a task failed; it is tried again")
                await asyncio.sleep(IDLE_SECONDS)
            due = self._account.tasks.next_due()
            seconds = IDLE_SECONDS
            if due is not None:
                seconds = min(seconds, max(0.0, due - self._account.clock.now()))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), seconds)
