"""The background deliverer: sends each event to each endpoint until it answers 2xx.

The deliveries are in the books, so a restart or a kill -9 goes on where it was. An event may then
come twice, and in any order: nobody may rely on more (https://docs.stripe.com/webhooks).
"""

import asyncio
import hmac
import logging
import sqlite3
import time
from contextlib import suppress
from hashlib import sha256

import aiohttp

from simulators.clock import DAY
from simulators.stripe import endpoints
from simulators.stripe.account import Account
from simulators.stripe.store import encode

AT_ONCE = 16
TAKEN_MOST = 128
ANSWER_SECONDS = 20.0
IDLE_SECONDS = 1.0
LINGER_SECONDS = 0.01
"""Events of this time are sent together, so that their outcome costs one transaction."""
BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
"""Pauses after each failure; the last one is repeated."""
GIVE_UP_SECONDS = 3 * DAY

_log = logging.getLogger("purser.simulator.webhooks")
_Row = tuple[int, int, int]


def signature(body: bytes, secrets: tuple[str, ...], moment: int) -> str:
    """The header Stripe-Signature: one v1 for each secret, while one rotates."""
    signed = f"{moment}.".encode() + body
    parts = [hmac.new(secret.encode(), signed, sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={moment}", *(f"v1={part}" for part in parts)])


class Deliverer:
    """Sends what is due: each endpoint has a lane of its own, so a slow one delays no other."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._main: asyncio.Task[None] | None = None
        self._problem: str | None = None
        self._problems: dict[str, str] = {}
        account.events.on_delivery = lambda _due: self._wake.set()

    @property
    def problem(self) -> str | None:
        """Why events are not delivered, of what is due now."""
        return self._problem or next(iter(self._problems.values()), None)

    def start(self) -> None:
        """Begin."""
        self._main = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End; what was not answered is sent again at the next start."""
        if self._main is not None:
            self._main.cancel()
            with suppress(asyncio.CancelledError):
                await self._main

    def wake(self) -> None:
        """Look again: time may have passed."""
        self._wake.set()

    async def _run(self) -> None:
        limit = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=AT_ONCE)
        async with aiohttp.ClientSession(timeout=limit, connector=connector) as session:
            try:
                while True:
                    try:
                        await self._look(session)
                    except sqlite3.Error as error:
                        self._problem = f"deliveries cannot be read: {error}"
                        await asyncio.sleep(IDLE_SECONDS)
            finally:
                for lane in self._tasks.values():
                    lane.cancel()
                await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _look(self, session: aiohttp.ClientSession) -> None:
        """Start the lanes of endpoints that have something due, and wait for the next wake."""
        self._wake.clear()
        self._start_lanes(session)
        seconds = self._seconds_to_next()
        self._problem = None
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        await asyncio.sleep(LINGER_SECONDS)

    def _start_lanes(self, session: aiohttp.ClientSession) -> None:
        due = self._with_due()
        for endpoint in self._problems.keys() - set(due):
            del self._problems[endpoint]  # nothing waits for it any more
        for endpoint in due:
            lane = self._tasks.get(endpoint)
            if lane is None or lane.done():
                self._tasks[endpoint] = asyncio.create_task(self._lane(session, endpoint))

    def _with_due(self) -> list[str]:
        now = self._account.clock.now()
        return [
            each.endpoint
            for each in self._account.events.subscriptions
            if self._account.database.row(
                "SELECT 1 FROM deliveries WHERE endpoint = ? AND given_up = 0 AND due <= ? LIMIT 1",
                (each.endpoint, now),
            )
        ]

    def _seconds_to_next(self) -> float:
        """How long to wait if nobody wakes us; a lane that works looks for itself."""
        now = self._account.clock.now()
        seconds = IDLE_SECONDS
        for each in self._account.events.subscriptions:
            found = self._account.database.row(
                "SELECT due FROM deliveries WHERE endpoint = ? AND given_up = 0 AND due > ?"
                " ORDER BY due LIMIT 1",
                (each.endpoint, now),
            )
            if found is not None:
                seconds = min(seconds, max(LINGER_SECONDS, found[0] - now))
        return seconds

    async def _lane(self, session: aiohttp.ClientSession, endpoint: str) -> None:
        """Send all that is due to one endpoint."""
        try:
            more = True
            while more:
                more = await self._round(session, endpoint)
                self._problems.pop(endpoint, None)
        except Exception as error:  # noqa: BLE001 - the lane goes on with the next wake
            self._problems[endpoint] = f"events cannot be delivered: {error!r}"
            _log.exception("deliveries to %s failed and will go on", endpoint)
            await asyncio.sleep(IDLE_SECONDS)

    async def _round(self, session: aiohttp.ClientSession, endpoint: str) -> bool:
        """Send some, remember the outcome in one transaction; whether there was anything."""
        rows: list[_Row] = self._account.database.rows(
            "SELECT n, event, attempts FROM deliveries WHERE endpoint = ? AND given_up = 0"
            f" AND due <= ? ORDER BY due, n LIMIT {TAKEN_MOST}",
            (endpoint, self._account.clock.now()),
        )
        known = endpoints.secrets_of(self._account, endpoint)
        if not rows or known is None:
            return False
        gate = asyncio.Semaphore(AT_ONCE)

        async def send(row: _Row) -> bool:
            async with gate:
                return await self._send(session, row[1], *known)

        outcomes = await asyncio.gather(*(send(row) for row in rows))
        with self._account.database.transaction():
            for row, delivered in zip(rows, outcomes, strict=True):
                self._remember(row, endpoint, delivered=delivered)
        return True

    async def _send(
        self, session: aiohttp.ClientSession, number: int, url: str, secrets: tuple[str, ...]
    ) -> bool:
        """Whether the endpoint took the event."""
        event = self._account.events.by_number(number)
        assert event is not None, number
        body = encode(event)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
            # The receiver compares it with its own clock, not with the simulator's.
            "Stripe-Signature": signature(body, secrets, int(time.time())),
        }
        try:
            async with session.post(
                url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                await answer.read()  # else the connection cannot be used again
                return 200 <= answer.status < 300
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            _log.debug("event %s was not delivered to %s: %r", event["id"], url, error)
            return False

    def _remember(self, row: _Row, endpoint: str, *, delivered: bool) -> None:
        number, event, attempts = row
        execute = self._account.database.execute
        if delivered:
            execute("DELETE FROM deliveries WHERE n = ?", (number,))
            left = self._account.database.row(
                "SELECT 1 FROM deliveries WHERE event = ? AND endpoint = ?", (event, endpoint)
            )
            if left is None:  # else a second copy is on its way and will count
                execute(
                    "UPDATE events SET undelivered = max(0, undelivered - 1) WHERE n = ?", (event,)
                )
            return
        pause = BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS) - 1)]
        now = self._account.clock.now()
        created = self._account.database.row("SELECT created FROM events WHERE n = ?", (event,))[0]
        execute(
            "UPDATE deliveries SET attempts = attempts + 1, due = ?, given_up = ? WHERE n = ?",
            (now + pause, now - created > GIVE_UP_SECONDS, number),
        )
