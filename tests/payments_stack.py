"""Payments in with real processes: PostgreSQL, ClickHouse, the simulator and the API.

A test talks to the API as the shop does, to the simulator as an outsider, and runs commands as an
operator does.
"""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Container, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import psycopg

from connectors.books import Books
from connectors.stripe.books import StripeBooks
from connectors.stripe.settings import StripeSettings
from marketplace.api_client import Answer, ApiClient, ApiReport
from operations.bring_up import migrate_all
from stack.local_http import local_get
from stack.native import Stack
from stack.ports import lend_port
from stack.programs import worker_specification
from stack.settings import CHECKOUT, HOST
from stack.topology import API
from tests.waiting import wait_until
from tests.whole_stack import empty_stack, whole_stack

SERVERS = ("postgres", "clickhouse", "valkey")
COMMAND_SECONDS = 300.0
SOON = {"PURSER_STRIPE_UNDER_WAY_SECONDS": "10", "PURSER_EVENTS_POLL_SECONDS": "5"}
"""A simulator is not as slow as a PSP may be, so absence is proven sooner."""
GUARDS = """
SELECT tgrelid::regclass::text, tgname FROM pg_trigger
WHERE NOT tgisinternal AND tgenabled = 'A' AND tgrelid IN (
    SELECT 'payments'::regclass UNION ALL
    SELECT inhrelid FROM pg_inherits WHERE inhparent = 'payments'::regclass)
"""
IN_DOUBT = """
SELECT DISTINCT ON (payment_id, order_id) payment_id::text, status, event_type
FROM payments WHERE direction = 'in' ORDER BY payment_id, order_id, seq DESC
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A command that has ended, and the JSON that it printed."""

    status: int
    json: Mapping[str, Any]
    errors: str


@contextmanager
def payments_stack() -> Iterator["PaymentsStack"]:
    """PostgreSQL, ClickHouse, the simulator and one process of the API; no stream, no worker."""
    with empty_stack() as stack:
        stack.up(SERVERS)
        endpoints = stack.endpoints
        migrate_all(endpoints.postgres_admin_dsn, endpoints.clickhouse_url, say=print)
        stack.start_workers(("simulator", "api"))
        yield PaymentsStack(stack)


@contextmanager
def whole_payments_stack(**environment: str) -> Iterator["PaymentsStack"]:
    """Everything that `purser up` starts. The workers get these variables."""
    with whole_stack(**SOON, **environment) as stack:
        yield PaymentsStack(stack)


@dataclass(frozen=True)
class PaymentsStack:
    """A running stack, and what a test does with it."""

    stack: Stack

    @property
    def simulator_url(self) -> str:
        """Where the simulators answer."""
        return self.stack.endpoints.simulator_url

    @property
    def api_url(self) -> str:
        """Where the first process of the API answers."""
        return self.stack.endpoints.api_url

    def environment(self) -> dict[str, str]:
        """What `purser env` prints."""
        endpoints = self.stack.endpoints
        return {**endpoints.environment(), **endpoints.outside({})}

    def token(self, role: str = "service", subject: str = "shop") -> str:
        """A token of the stack's own issuer."""
        return self.stack.token(role, subject, minutes=600)

    @asynccontextmanager
    async def client(
        self, url: str = "", report: ApiReport | None = None, **settings: Any
    ) -> AsyncIterator[ApiClient]:
        """The shop's client, which asks again until it is answered."""
        async with ApiClient(
            url or self.api_url, self.token(), report or ApiReport(), **settings
        ) as client:
            yield client

    def command(self, *arguments: str) -> Ended:
        """Run `purser …` with its answer as JSON."""
        cleared = {name: value for name, value in os.environ.items() if "PURSER_" not in name}
        ended = subprocess.run(
            [sys.executable, "-m", "cli.main", *arguments, "--json"],
            cwd=CHECKOUT,
            env=cleared | self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )
        try:
            printed = json.loads(ended.stdout)
        except ValueError:
            printed = {}
        return Ended(status=ended.returncode, json=printed, errors=ended.stderr)

    def books(self, *, timeout: float = 60.0, grace: float = 0.0) -> Ended:
        """Run `purser books`; without patience by default, because nothing is under way."""
        return self.command("books", f"--timeout={timeout:g}", f"--grace={grace:g}")

    def open_books(self) -> Books:
        """The simulator's books, read as Stripe's."""
        settings = StripeSettings.load(
            api_base=self.simulator_url,
            api_key=self.environment()["PURSER_STRIPE_API_KEY"],
            webhook_secret=self.environment()["PURSER_STRIPE_WEBHOOK_SECRET"],
        )
        return StripeBooks(settings)

    @contextmanager
    def another_api(self) -> Iterator[str]:
        """A second process of the API beside the first, with the same settings; its address."""
        api, operators = lend_port(), lend_port()
        specification = worker_specification(API, self.stack.settings, self.stack.endpoints)
        environment = {
            **os.environ,
            **specification.environment,
            "PURSER_API_PORT": str(api),
            "PURSER_WORKER_METRICS_PORT": str(operators),
            "PURSER_WORKER_INSTANCE": "api-2",
        }
        log = self.stack.home.log("api-2")
        with (
            log.open("ab") as out,
            subprocess.Popen(
                specification.command, cwd=CHECKOUT, env=environment, stdout=out, stderr=out
            ) as process,
        ):
            try:
                wait_until(lambda: _answers(f"http://{HOST}:{operators}/health"), "the second API")
                yield f"http://{HOST}:{api}"
            finally:
                process.terminate()

    # -- our table

    def statuses(self) -> dict[str, str]:
        """The latest status of every payment's last order."""
        with psycopg.connect(self.stack.endpoints.postgres_reader_dsn) as session:
            return {payment: status for payment, status, _ in session.execute(IN_DOUBT)}

    def story(self, payment: str) -> list[str]:
        """A line for each event of a payment, for the message of a failed test."""
        with psycopg.connect(self.stack.endpoints.postgres_reader_dsn) as session:
            rows = session.execute(
                "SELECT seq, event_type, amount_minor, psp_reference, idempotency_key, occurred_at,"
                " recorded_at, details FROM payments WHERE payment_id = %s ORDER BY seq",
                [payment],
            )
            return [" ".join(map(str, row)) for row in rows]

    def in_doubt(self, statuses: Container[str] = ("created", "unknown", "processing")) -> set[str]:
        """Payments of which a processor was asked something, and the outcome is not known."""
        return {payment for payment, status in self.statuses().items() if status in statuses}

    def settle(self, seconds: float, **more: Any) -> None:
        """Wait until nothing is in doubt any more."""
        wait_until(
            lambda: not self.in_doubt(**more),
            "nothing in doubt",
            seconds=seconds,
            seen=lambda: self.in_doubt(**more),
        )

    def grow_older(self, seconds: float) -> None:
        """Let all events be older, as if this much time had passed here.

        The rows are taken away and inserted anew, so the stream sees them twice, and the second
        time older: a test that does this cannot compare the views.
        """
        with self.without_guards() as session:
            session.execute("CREATE TEMP TABLE kept AS SELECT * FROM payments")
            session.execute("DELETE FROM payments")
            session.execute(
                "UPDATE kept SET occurred_at = occurred_at - %(age)s,"
                " recorded_at = recorded_at - %(age)s",
                {"age": timedelta(seconds=seconds)},
            )
            session.execute("INSERT INTO payments SELECT * FROM kept ORDER BY payment_id, seq")

    @contextmanager
    def without_guards(self) -> Iterator[psycopg.Connection]:
        """One transaction in which `payments` can be changed; only who owns the table can do so."""
        dsn = self.stack.endpoints.postgres_superuser_dsn
        with psycopg.connect(dsn, dbname="purser") as session:
            triggers = session.execute(GUARDS).fetchall()
            for table, trigger in triggers:
                session.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}".encode())
            yield session
            for table, trigger in triggers:
                session.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {trigger}".encode())

    # -- the PSP's side, as an outsider sees it

    async def ask_simulator(
        self, method: str, path: str, *, form: Mapping[str, Any] | None = None, body: Any = None
    ) -> Any:
        """Call the simulator; raises AssertionError unless it answers 2xx."""
        headers = {"Authorization": f"Bearer {self.environment()['PURSER_STRIPE_API_KEY']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.simulator_url + path, data=form, json=body) as answer,
        ):
            text = await answer.text()
            assert answer.status < 300, (path, answer.status, text)
            return json.loads(text) if text else None

    async def charges(self) -> list[dict[str, Any]]:
        """Every charge at the PSP, each with our payment's id."""
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.ask_simulator("GET", f"/_simulator/charges?limit=1000{cursor}")
            found += page["data"]
            if not page.get("next_cursor"):
                return found
            cursor = f"&cursor={page['next_cursor']}"

    async def put_faults(self, seed: int, plan: Mapping[str, object]) -> None:
        """Let the PSP misbehave."""
        await self.ask_simulator("PUT", "/_simulator/faults", body={"seed": seed, "plan": plan})

    async def end_faults(self) -> None:
        """Let the PSP behave."""
        await self.ask_simulator("DELETE", "/_simulator/faults")

    async def advance(self, seconds: float) -> None:
        """Let time pass at the PSP."""
        await self.ask_simulator("POST", "/_simulator/clock", body={"advance_seconds": seconds})


def _answers(url: str) -> bool:
    try:
        return local_get(url, 2.0).is_success
    except (httpx.HTTPError, OSError):
        return False


def a_request(currency: str = "EUR", amount: int = 2500, **fields: Any) -> dict[str, Any]:
    """The body of a create: one order, unless given."""
    number = uuid4().hex[:12]
    order = {
        "order_id": f"o-{number}",
        "seller_id": "s-7",
        "amount_minor": amount,
        "commission_minor": amount // 10,
    }
    return {
        "buyer_id": f"b-{number}",
        "currency": currency,
        "method": "card",
        "payment_token": "pm_card_visa",
        "orders": [order],
        **fields,
    }


CREATE = "POST /v1/payments"


async def create(client: ApiClient, key: str, body: Mapping[str, object]) -> Answer:
    """Create a payment."""
    return await client.post(CREATE, "/v1/payments", body, key)


async def change(client: ApiClient, payment: str, what: str, key: str, **body: object) -> Answer:
    """Capture, cancel or refund (`refunds`)."""
    path = f"/v1/payments/{payment}/{what}"
    return await client.post(f"POST {what}", path, body, key)
