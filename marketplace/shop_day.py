"""A day at the shop: its purchases through the API while the PSP has faults, for a bounded time.

The demo, the tests of the whole stack and the soak run it. Afterwards the faults are over; what is
still under way is the pipeline's to settle.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

from marketplace.api_client import ApiClient
from marketplace.browser import Browser
from marketplace.psp_faults import EVERY_FAULT, faults
from marketplace.shop import Shop, ShopSettings
from marketplace.shopping import OnAnswered, Shopping, ShoppingReport
from marketplace.traffic import Recorder

Meanwhile = Callable[[ShoppingReport], Coroutine[Any, Any, None]]
"""Runs beside the shop, to report on it or to kill something; is cancelled at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """Where the shop buys and for how long. The tokens are those of the shop and of finance."""

    api_url: str
    simulator_url: str
    shop_token: str
    finance_token: str
    seed: int
    settings: ShopSettings
    seconds: float
    run: str = "1"
    faults: Mapping[str, object] | None = None
    """None: every kind of fault."""


async def run_day(
    day: Day,
    report: ShoppingReport,
    *,
    writer: Recorder | None = None,
    on_answered: OnAnswered | None = None,
    meanwhile: Meanwhile | None = None,
) -> None:
    """Fill in the report while the shop is open; requests under way at the end are answered.

    Raises:
        ServiceUnavailable: the API or the simulator gives no answer for minutes.
    """
    async with AsyncExitStack() as stack:
        plan = EVERY_FAULT if day.faults is None else day.faults
        if plan:
            await stack.enter_async_context(faults(day.simulator_url, day.seed, plan))
        api = ApiClient(day.api_url, day.shop_token, report.api)
        finance = ApiClient(day.api_url, day.finance_token, report.api)
        browser = Browser()
        for client in (api, finance, browser):
            await stack.enter_async_context(client)
        shopping = Shopping(
            api, browser, report, finance=finance, writer=writer, on_answered=on_answered
        )
        beside = asyncio.create_task(meanwhile(report)) if meanwhile else None
        closing = asyncio.get_running_loop().call_later(day.seconds, shopping.stop)
        try:
            await shopping.run(Shop(day.seed, day.settings, run=day.run).purchases(day.seconds))
        finally:
            closing.cancel()
            if beside is not None:
                beside.cancel()
                with suppress(asyncio.CancelledError):
                    await beside
