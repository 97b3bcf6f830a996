"""The simulator of Stripe as a process of its own, and the connector pointed at it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp.web
import httpx

from connectors.charges import ChargeRequest
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from tests import simulator
from tests.simulator import KEY
from tests.stripe_charges import request

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Simulator:
    """Its address, its clock, its faults and its books."""

    url: str
    http: httpx.Client

    def now(self) -> datetime:
        """The time in the simulator; tests let it pass."""
        return datetime.fromisoformat(self._call("GET", "clock")["now"])

    def advance(self, **delta: float) -> None:
        """Let time pass, with everything that is due in it."""
        units = {"seconds": 1, "hours": 3600, "days": 86_400}
        seconds = sum(units[unit] * amount for unit, amount in delta.items())
        self._call("POST", "clock", {"advance_seconds": seconds})

    @contextmanager
    def faults(self, seed: int = 1, **plan: Any) -> Iterator[None]:
        """Let calls fail inside a `with`."""
        self._call("PUT", "faults", {"seed": seed, "plan": plan})
        try:
            yield
        finally:
            self._call("DELETE", "faults")

    def books(self) -> dict[str, Any]:
        """Counts and sums of everything in it."""
        return dict(self._call("GET", "books"))

    def press(self, url: str | None, **form: str) -> int:
        """Send a page's form as a buyer does; return the status."""
        assert url is not None
        return self.http.post(url, data=form).status_code

    def api(self, method: str, path: str, **form: Any) -> dict[str, Any]:
        """Call the API beside the connector, as an operator in Stripe's pages would."""
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = self.http.request(method, f"{self.url}/v1/{path}", data=form, headers=headers)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def charge(self, **changed: Any) -> ChargeRequest:
        """Ask for a charge of a payment that is new."""
        payment = uuid4()
        fresh = {
            "payment_id": payment,
            "key": f"purser-{payment}-1",
            "created_at": self.now(),
        }
        return request(**(fresh | changed))

    def use(self, what: Callable[[StripeProcessor], Awaitable[Result]], **changed: Any) -> Result:
        """Run an operation of the connector."""
        settings = StripeSettings.load(
            api_base=self.url, api_key=KEY, webhook_secret="whsec_contract", **changed
        )

        async def main() -> Result:
            async with StripeProcessor(settings, now=self.now) as processor:
                return await what(processor)

        return asyncio.run(main())

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.http.request(method, f"{self.url}/_simulator/{path}", json=body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None


@contextmanager
def running(home: Path) -> Iterator[Simulator]:
    """Run the simulator with empty books."""
    with (
        simulator.running(home) as started,
        httpx.Client(verify=False, timeout=simulator.ANSWER_SECONDS) as http,
    ):
        yield Simulator(started.url, http)


class Receiver:
    """An endpoint for webhooks inside a `with`; keeps what arrives."""

    def __init__(self) -> None:
        self.deliveries: asyncio.Queue[tuple[bytes, str]] = asyncio.Queue()

    async def __aenter__(self) -> "Receiver":
        application = aiohttp.web.Application()
        application.router.add_post("/webhooks/stripe", self._take)
        self._runner = aiohttp.web.AppRunner(application)
        await self._runner.setup()
        site = aiohttp.web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}/webhooks/stripe"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        await self.deliveries.put((await request.read(), request.headers["Stripe-Signature"]))
        return aiohttp.web.Response()
