"""One round: a shop buys through the API, the PSP misbehaves, and processes are killed.

    python -m tests.chaos.payins --kills 100 --seed 7     a long round, on a stack of its own

The seed decides what is bought, what fails at the PSP, what dies and when. Clients send a request
again under its key until it is answered. Then everything settles, and

- every key has at most one charge, and exactly one if its payment is captured or authorized;
- every charge has a record, and every event that an answer showed is there;
- nothing is in doubt; the views equal `payments`, and `payments` agrees with the PSP's books.
"""

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import aiohttp
import psutil
import psycopg

from bench.survival import GONE_SECONDS, verify_stack, wait_all_ready
from marketplace.api_client import ApiClient
from marketplace.browser import Browser
from marketplace.pending import wait_until_settled
from marketplace.psp_faults import EVERY_FAULT
from marketplace.shop import Shop, ShopSettings
from marketplace.shopping import Shopping
from operations.books import BooksSettings, Options, Report, Verdict, compare_books
from schemas.errors import PurserError, ServiceUnavailable
from stack.native import Stack
from stack.process import POLL_SECONDS
from tests.chaos.payins.outcome import Charged, Killed, Outcome
from tests.chaos.payins.plan import HELD, SIMULATOR, TARGETS
from tests.chaos.plan import Kill
from tests.payments_stack import PaymentsStack

TRAFFIC_SECONDS = 7 * 86_400.0
"""Longer than any round; the shop closes when everything was killed."""
HELD_SECONDS = 1.0
"""By now some request waits for the process that is held."""
SETTLE_SECONDS = 420.0
BOOKS_SECONDS = 180.0
MEANWHILE_SECONDS = 20.0
CLIENT_SECONDS = 300.0
"""As long as clients ask again: several processes may die one after the other."""
TAKES_OR_HOLDS = frozenset({"succeeded", "pending"})
"""Statuses of a charge at the PSP that is one; a declined one is none."""

_STATES = """
SELECT DISTINCT ON (payment_id, order_id) payment_id::text, status
FROM payments WHERE direction = 'in' ORDER BY payment_id, order_id, seq DESC
"""
_HIGHEST = "SELECT payment_id, max(seq) FROM payments GROUP BY payment_id"
_REFERENCES = "SELECT DISTINCT psp_reference FROM payments WHERE psp_reference LIKE 'pi%'"


class Differs(PurserError):  # noqa: N818 - named for what it found
    """The PSP's books differ from `payments` while nothing but time could excuse it."""


def play(
    stack: Stack,
    kills: Sequence[Kill],
    *,
    seed: int,
    rate: float,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Kill the targets one after the other while the shop is open, and see what is left."""
    played = _Round(stack, seed=seed, rate=rate, planned=len(kills), say=say)
    try:
        asyncio.run(played.run(kills))
        played.check()
    except* PurserError as errors:
        reasons = "; ".join(map(str, errors.exceptions))
        played.outcome.problem = f"{played.at}, seed {seed}: {reasons}"
    return played.outcome


class _Round:
    """A round while it is played."""

    def __init__(
        self, stack: Stack, *, seed: int, rate: float, planned: int, say: Callable[[str], None]
    ) -> None:
        self.outcome = Outcome(seed=seed, rate=rate, planned=planned)
        self.at = "before the first kill"
        self._stack = stack
        self._payments = PaymentsStack(stack)
        self._say = say
        self._shown: defaultdict[UUID, int] = defaultdict(int)
        self._began = time.monotonic()

    # -- under load

    async def run(self, kills: Sequence[Kill]) -> None:
        """Let the shop buy while everything is killed; all its requests are answered."""
        outcome, payments = self.outcome, self._payments
        report = outcome.shopping
        settings = ShopSettings(
            payments_per_second=outcome.rate,
            double_click_share=0.1,
            hang_up_share=0.1,
            asks_again_share=0.3,
        )
        await self._misbehave(0)
        async with AsyncExitStack() as open_:
            clients = [
                ApiClient(
                    payments.api_url,
                    payments.token(role, role),
                    report.api,
                    give_up_seconds=CLIENT_SECONDS,
                )
                for role in ("service", "finance")
            ]
            for each in clients:
                await open_.enter_async_context(each)
            browser = await open_.enter_async_context(Browser())
            shopping = Shopping(
                clients[0], browser, report, finance=clients[1], on_answered=self._show
            )
            purchases = Shop(outcome.seed, settings, run=str(time.time_ns())).purchases(
                TRAFFIC_SECONDS
            )
            async with asyncio.TaskGroup() as group:
                buying = group.create_task(shopping.run(purchases))
                try:
                    await self._kill_all(kills)
                    await self._compare_meanwhile()
                except asyncio.CancelledError:
                    outcome.interrupted = True
                    raise
                finally:
                    shopping.stop()
                await buying
        await payments.end_faults()

    def _show(self, payment: UUID, seq: int) -> None:
        self._shown[payment] = max(seq, self._shown[payment])

    async def _misbehave(self, number: int) -> None:
        """Put the faults on, by another seed for each `number`.

        A simulator that was killed still has its plan, but counts its requests anew: by the same
        seed the same ones would fail again.
        """
        await self._payments.put_faults(self.outcome.seed + number, EVERY_FAULT)

    async def _kill_all(self, kills: Sequence[Kill]) -> None:
        for number, one in enumerate(kills, start=1):
            await asyncio.sleep(one.pause_seconds)
            self.at = f"kill {number} of {len(kills)} ({one.target})"
            killed = await asyncio.to_thread(self._kill, one)
            self.outcome.killed.append(killed)
            self.outcome.seconds = time.monotonic() - self._began
            if one.target == SIMULATOR:
                await self._misbehave(number)
            self._say(f"{datetime.now(UTC):%H:%M:%S} {self.outcome.line()}")

    async def _compare_meanwhile(self) -> None:
        """Compare with the PSP's books while the shop buys; under way is no difference.

        Raises Differs if one is proven.
        """
        self.at = "under traffic, after the last kill"
        report = await asyncio.to_thread(self._compare, MEANWHILE_SECONDS)
        self._say(f"under traffic: books {report.verdict} {report.reason}".rstrip())
        if report.verdict is Verdict.DIFFER:
            self.outcome.compared = report
            raise Differs(f"under traffic: {report.reason}")

    def _compare(self, timeout_seconds: float) -> Report:
        dsn = self._stack.endpoints.postgres_reader_dsn
        return compare_books(
            BooksSettings.load(postgres_reader_dsn=dsn),
            Options(timeout_seconds=timeout_seconds),
            self._payments.open_books(),
        )

    def _kill(self, one: Kill) -> Killed:
        victim, waits_for = HELD.get(one.target, (one.target, None))
        held = self._held(waits_for)
        for pid in held:
            _signal(pid, signal.SIGSTOP)
        try:
            if held:
                time.sleep(HELD_SECONDS)
            self._kill_one(victim)
        finally:
            for pid in held:
                _signal(pid, signal.SIGCONT)
        killed_at = time.monotonic()
        wait_all_ready(self._stack, TARGETS)
        return Killed(kill=one, ready_seconds=time.monotonic() - killed_at)

    def _held(self, name: str | None) -> list[int]:
        """The processes to hold: a server's backends, too."""
        if name is None:
            return []
        pid = self._stack.pid(name)
        assert pid is not None, name
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]

    def _kill_one(self, name: str) -> None:
        pid = self._stack.kill(name)
        deadline = time.monotonic() + GONE_SECONDS
        while self._stack.pid(name) == pid:  # or it would still count as ready
            if time.monotonic() > deadline:
                raise ServiceUnavailable(f"{name} (pid {pid}) survives kill -9")
            time.sleep(POLL_SECONDS)

    # -- afterwards

    def check(self) -> None:
        """Let everything settle, then compare all that can be compared."""
        outcome, dsn = self.outcome, self._stack.endpoints.postgres_reader_dsn
        self.at = "after the last kill"
        wait_all_ready(self._stack)
        began = time.monotonic()
        outcome.open_requests = wait_until_settled(dsn, SETTLE_SECONDS)
        outcome.settled_seconds = time.monotonic() - began
        self._say(f"settled after {outcome.settled_seconds:.0f} s; comparing")
        outcome.compared = self._compare(BOOKS_SECONDS)
        outcome.verified = verify_stack(self._stack)
        outcome.acknowledged = sum(self._shown.values())
        outcome.lost = self._lost(dsn)
        outcome.charged = asyncio.run(self._charged(dsn))
        found = asyncio.run(self._payments.ask_simulator("GET", "/_simulator/books"))
        outcome.contradictions = [f"{d['problem']}: {d['id']}" for d in found["differences"]]
        outcome.seconds = time.monotonic() - self._began

    def _lost(self, dsn: str) -> int:
        with psycopg.connect(dsn) as session:
            highest: Mapping[UUID, int] = dict(session.execute(_HIGHEST).fetchall())
        return sum(max(0, seq - highest.get(each, 0)) for each, seq in self._shown.items())

    async def _charged(self, dsn: str) -> Charged:
        try:
            charges = await self._payments.charges()
        except aiohttp.ClientError as error:
            raise ServiceUnavailable(f"the simulator does not answer: {error!r}") from error
        with psycopg.connect(dsn) as session:
            states: dict[str, set[str]] = defaultdict(set)
            for payment, status in session.execute(_STATES):
                states[payment].add(status)
            references = {reference for (reference,) in session.execute(_REFERENCES)}
        return beside(charges, states, references)


def beside(
    charges: Sequence[Mapping[str, Any]],
    states: Mapping[str, set[str]],
    references: set[str],
) -> Charged:
    """Put the charges at the PSP beside the payments: `states` are those of a payment's orders."""
    real: defaultdict[str, list[str]] = defaultdict(list)
    for charge in charges:
        if charge["status"] in TAKES_OR_HOLDS:
            real[charge["payment_id"]].append(charge["payment_intent"])
    charged = {payment for payment, found in states.items() if found & {"captured", "authorized"}}
    return Charged(
        charges=sum(map(len, real.values())),
        twice=sorted(payment for payment, found in real.items() if len(found) > 1),
        without_record=sorted(
            intent
            for payment, found in real.items()
            for intent in found
            if payment not in states or intent not in references
        ),
        without_charge=sorted(payment for payment in charged if payment not in real),
    )


def _signal(pid: int, number: signal.Signals) -> None:
    """Send a signal; a backend may have ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
