"""Puts faults on the simulator of a PSP, and takes them off again."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from schemas.errors import ServiceUnavailable

ANSWER_SECONDS = 30.0

EVERY_FAULT: Mapping[str, object] = {
    "timeout_after_commit": 0.02,
    "http_500": 0.01,
    "http_429": 0.01,
    "http_409": 0.01,
    "slow_seconds": [0.02, 0.2],
    "webhook_lost": 0.05,
    "webhook_duplicated": 0.1,
    "webhook_delayed_seconds": [0, 5],
    "webhook_out_of_order": True,
    "paid_then_failed": 0.01,
}
"""Every kind of fault that the simulator has, more often than a bad day at a PSP has them."""


async def _ask(method: str, url: str, body: Mapping[str, object] | None = None) -> Any:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.request(method, url, json=body) as response,
        ):
            if response.status >= 400:
                raise ServiceUnavailable(
                    f"the simulator answers {response.status} at {url}: {await response.text()}"
                )
            return await response.json(content_type=None) if response.status != 204 else None
    except (aiohttp.ClientError, TimeoutError) as error:
        raise ServiceUnavailable(f"the simulator does not answer at {url}: {error!r}") from error


@asynccontextmanager
async def faults(
    simulator_url: str, seed: int, plan: Mapping[str, object] = EVERY_FAULT
) -> AsyncIterator[None]:
    """Faults by a seed inside the `async with`; the same seed and requests give the same faults.

    Raises:
        ServiceUnavailable: the simulator does not answer, or refuses the plan.
    """
    url = f"{simulator_url}/_simulator/faults"
    await _ask("PUT", url, {"seed": seed, "plan": plan})
    try:
        yield
    finally:
        await _ask("DELETE", url)


async def advance(simulator_url: str, seconds: float) -> None:
    """Let time pass at the PSP, in which banks answer and money settles."""
    await _ask("POST", f"{simulator_url}/_simulator/clock", {"advance_seconds": seconds})
