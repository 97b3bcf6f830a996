"""Two real processes of the API on a whole stack, with the simulator as the processor."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import aiohttp
import httpx
import psutil

from stack.native import Stack
from stack.ports import lend_port
from stack.settings import CHECKOUT
from stack.topology import PAYINS_WORKER
from tests.waiting import wait_until
from tests.whole_stack import whole_stack

SECONDS = 30


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """Its content."""
        return httpx.Response(200, content=self.body).json()


@dataclass
class RealApi:
    """The processes, by their addresses."""

    stack: Stack
    urls: tuple[str, str]
    second: "subprocess.Popen[bytes]"

    def token(self, role: str = "service", subject: str = "shop") -> str:
        """A token of this stack."""
        return self.stack.token(role, subject)

    def run(self, work: Callable[["Client"], Awaitable[Any]], **who: str) -> Any:
        """Run a test's requests with a client."""

        async def within() -> Any:
            headers = {"Authorization": f"Bearer {self.token(**who)}"}
            connector = aiohttp.TCPConnector(limit=200)
            timeout = aiohttp.ClientTimeout(total=SECONDS)
            async with aiohttp.ClientSession(
                headers=headers, connector=connector, timeout=timeout
            ) as session:
                return await work(Client(self, session))

        return asyncio.run(within())

    def simulator(self, path: str) -> Any:
        """What the simulator's own pages say."""
        answer = httpx.get(f"{self.stack.endpoints.simulator_url}{path}")
        answer.raise_for_status()
        return answer.json()

    def charges(self) -> list[dict[str, Any]]:
        """The simulator's charges."""
        page = self.simulator("/_simulator/charges?limit=1000")
        assert page["next_cursor"] is None, "more than a page"
        charges: list[dict[str, Any]] = page["data"]
        return charges

    @contextmanager
    def held_worker(self) -> Iterator[None]:
        """Let the worker of payments in stand still, so it takes over no request that is slow."""
        pid = self.stack.pid(PAYINS_WORKER.name)
        assert pid is not None
        worker = psutil.Process(pid)
        worker.suspend()
        try:
            yield
        finally:
            worker.resume()

    @contextmanager
    def slow_processor(self, seconds: float) -> Iterator[None]:
        """Let every call of the simulator take so long."""
        url = f"{self.stack.endpoints.simulator_url}/_simulator/faults"
        httpx.put(url, json={"plan": {"latency_seconds": seconds}}).raise_for_status()
        try:
            yield
        finally:
            httpx.delete(url).raise_for_status()


@dataclass
class Client:
    """Sends requests to either process."""

    api: RealApi
    session: aiohttp.ClientSession

    async def send(
        self, method: str, path: str, process: int = 0, key: str | None = None, **request: Any
    ) -> Reply:
        """One request; a POST without a key gets a new one."""
        headers = dict(request.pop("headers", {}))
        if method == "POST":
            headers.setdefault("Idempotency-Key", key or str(uuid4()))
        url = f"{self.api.urls[process]}{path}"
        async with self.session.request(method, url, headers=headers, **request) as answer:
            return Reply(answer.status, answer.headers.copy(), await answer.read())

    async def create(self, key: str | None = None, process: int = 0, **changes: Any) -> Reply:
        """Create a payment."""
        return await self.send(
            "POST", "/v1/payments", process=process, key=key, json=payment(**changes)
        )

    async def until(self, path: str, wanted: Callable[[Any], bool]) -> Any:
        """Read until it is as wanted."""
        deadline = time.monotonic() + SECONDS
        while True:
            found = (await self.send("GET", path)).json
            if wanted(found) or time.monotonic() > deadline:
                assert wanted(found), found
                return found
            await asyncio.sleep(0.1)


def payment(**changes: Any) -> dict[str, Any]:
    """A good body; `amount_minor` is that of its only order."""
    good = {
        "buyer_id": "b-3",
        "currency": "EUR",
        "method": "card",
        "payment_token": "pm_card_visa",
        "orders": [
            {
                "order_id": f"o-{uuid4()}",
                "seller_id": changes.pop("seller_id", "s-7"),
                "amount_minor": changes.pop("amount_minor", 2500),
                "commission_minor": 250,
                "logistics_fee_minor": 100,
            }
        ],
    }
    return good | changes


@contextmanager
def real_api(**environment: str) -> Iterator[RealApi]:
    """A whole stack and a second process of the API."""
    with (
        whole_stack(**environment) as stack,
        second_process(stack, **environment) as (url, process),
    ):
        yield RealApi(stack, (stack.endpoints.api_url, url), process)


@contextmanager
def second_process(
    stack: Stack, **environment: str
) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """Another process of the API, with ports of its own."""
    port, metrics = lend_port(), lend_port()
    cleared = {name: value for name, value in os.environ.items() if "PURSER_" not in name}
    endpoints = stack.endpoints
    log = stack.home.log("api-2").open("ab")
    process = subprocess.Popen(
        [sys.executable, "-m", "service.main"],
        cwd=CHECKOUT,
        env=cleared
        | endpoints.environment()
        | endpoints.outside({})
        | environment
        | {
            "PURSER_HOME": str(stack.home.path),
            "PURSER_API_PORT": str(port),
            "PURSER_WORKER_METRICS_PORT": str(metrics),
        },
        stderr=log,
    )
    log.close()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/readyz"), "the second process is ready")
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(SECONDS)


def answers(url: str) -> bool:
    """Whether it is ready."""
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
