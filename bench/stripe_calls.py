"""Measures the CPU of one charge at Stripe: our client, the SDK as it comes, and bare aiohttp.

`python -m bench.stripe_calls` starts a server process that answers with a PaymentIntent, and sends
it the same charge through each client in turns. It prints CPU microseconds of this process per
call. The SDK's HTTPX client is measured too: it is what the SDK takes by itself.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, cast
from uuid import UUID

import aiohttp
import stripe

from bench.figures import Figure, show, write
from bench.run import RESULTS
from connectors.charges import ChargeRequest
from connectors.stripe import requests
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from operations.console import say, wide_console
from schemas.runtime import entry_point

KEY = "sk_test_bench"
AT_ONCE = 8
TURNS = 5
BARE = "aiohttp alone, JSON parsed"
OURS = "the connector, request to Charge"
PATH = "/v1/payment_intents"
REQUEST = ChargeRequest(
    payment_id=UUID(int=1),
    intent_seq=1,
    key="purser-bench-1",
    currency="EUR",
    amount_minor=2500,
    method="card",
    capture_manually=False,
    payment_token="pm_card_visa",
    hosted=False,
    return_url="https://shop.example/thanks",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)
INTENT = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 2500,
    "amount_capturable": 0,
    "amount_received": 2500,
    "created": 1_796_000_000,
    "currency": "eur",
    "latest_charge": "ch_1",
    "metadata": {"purser_payment_id": str(UUID(int=1)), "purser_intent_seq": "1"},
    "payment_method_types": ["card"],
    "status": "succeeded",
    # A real one has some forty fields, most of them null.
    **{f"field_{number}": None for number in range(30)},
}
Call = Callable[[], Awaitable[object]]


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    body = json.dumps(INTENT).encode()
    head = f"HTTP/1.1 200 OK\r\nRequest-Id: req_1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    try:
        while True:
            asked = (await reader.readuntil(b"\r\n\r\n")).lower()
            _, _, length = asked.partition(b"content-length: ")
            await reader.readexactly(int(length.split(b"\r\n")[0] or 0))
            writer.write(head + body)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _serve(port: Connection) -> None:
    async def main() -> None:
        server = await asyncio.start_server(_answer, "127.0.0.1", 0)
        port.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


async def _cpu_of(call: Call, count: int) -> float:
    """Make `count` calls, a few at once; return the CPU seconds of this process."""

    async def some() -> None:
        for _ in range(count // AT_ONCE):
            await call()

    started = time.process_time()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return time.process_time() - started


async def measure(url: str, calls: int) -> dict[str, float]:
    """Return CPU seconds per call of each client, the least of several turns."""
    processor = StripeProcessor(
        StripeSettings.load(api_base=url, api_key=KEY, webhook_secret="whsec_bench")
    )
    params = requests.direct(REQUEST, partial=False)
    stock = {
        "the SDK on its AIOHTTP client": stripe.AIOHTTPClient(),
        "the SDK on its HTTPX client": stripe.HTTPXClient(allow_sync_methods=False),
    }

    def through(client: stripe.HTTPClient) -> Call:
        sdk = stripe.StripeClient(
            KEY, base_addresses={"api": url}, max_network_retries=0, http_client=client
        )
        create = cast(Any, sdk.v1.payment_intents.create_async)
        return lambda: create(params, {"idempotency_key": REQUEST.key})

    async with aiohttp.ClientSession() as session:

        async def bare() -> object:
            async with session.post(url + PATH, data="amount=2500&currency=eur") as response:
                return json.loads(await response.read())

        subjects: dict[str, Call] = {BARE: bare, OURS: lambda: processor.charge(REQUEST)}
        subjects |= {name: through(client) for name, client in stock.items()}
        least = {name: await _cpu_of(call, AT_ONCE * 10) for name, call in subjects.items()}
        least = dict.fromkeys(least, float("inf"))
        for _ in range(TURNS):
            for name, call in subjects.items():
                least[name] = min(least[name], await _cpu_of(call, calls) / calls)
    await processor.close()
    for client in stock.values():
        await client.close_async()  # type: ignore[no-untyped-call]
    return least


def figures(seconds: dict[str, float]) -> list[Figure]:
    """CPU per call, and its ratio to aiohttp alone."""
    return [
        Figure(
            section="one charge at Stripe",
            name=name,
            value=1e6 * value,
            unit="µs/call",
            baseline=BARE,
            ratio=value / seconds[BARE],
        )
        for name, value in seconds.items()
    ]


@entry_point
def main() -> None:
    """Measure against a server process, print the table, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=2_000, help="calls a turn, of each client")
    options = parser.parse_args()
    here, there = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(there,), daemon=True)
    server.start()
    try:
        measured = figures(asyncio.run(measure(f"http://127.0.0.1:{here.recv()}", options.calls)))
    finally:
        server.kill()
        server.join()
    show(measured, wide_console())
    command = f"python -m bench.stripe_calls --calls {options.calls}"
    say(f"written to {write(measured, RESULTS, command)}")


if __name__ == "__main__":
    main()
