"""The live part of `purser demo`: a shop buys through the API while the PSP has faults."""

import asyncio
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from rich.console import Console

from marketplace.freshness import FreshnessProbe, quantile
from marketplace.groups import GroupSizes, appended_since
from marketplace.psp_faults import EVERY_FAULT
from marketplace.shop import ShopSettings
from marketplace.shop_day import Day, run_day
from marketplace.shopping import ShoppingReport
from operations.console import say
from stack.native import Stack
from writer.append import open_writer

REPORT_SECONDS = 5.0
FRESHNESS_WAIT_SECONDS = 30.0
TOKEN_MINUTES = 24 * 60
CREATES = ("POST /v1/payments", "POST /payments/init", "POST /payments/confirm")
"""Operations that begin a payment or charge one, in the summary's order."""


@dataclass(kw_only=True)
class Live:
    """What the live part saw."""

    shop: ShoppingReport = field(default_factory=ShoppingReport)
    freshness: list[float] = field(default_factory=list)
    groups: GroupSizes = field(default_factory=lambda: GroupSizes.of({}))


def live_traffic(stack: Stack, seed: int, rate: float, seconds: float) -> Live:
    """Let the shop buy for so long; return what was seen of it and of its events."""
    say(f"live traffic through the API: {rate:g} purchases/s for {seconds:g} s, seed {seed}")
    say("  the PSP's simulator has faults by the same seed:")
    for about_webhooks in (False, True):
        faults = [
            _fault(name, value)
            for name, value in EVERY_FAULT.items()
            if name.startswith("webhook") is about_webhooks
        ]
        say(f"    {', '.join(faults)}")
    live = Live()
    began = datetime.now(UTC)
    endpoints = stack.endpoints
    environment = endpoints.environment()
    day = Day(
        api_url=environment["PURSER_API_URL"],
        simulator_url=environment["PURSER_SIMULATOR_URL"],
        shop_token=stack.token("service", "demo-service", minutes=TOKEN_MINUTES),
        finance_token=stack.token("finance", "demo-finance", minutes=TOKEN_MINUTES),
        seed=seed,
        settings=ShopSettings(payments_per_second=rate),
        seconds=seconds,
    )
    with (
        FreshnessProbe(endpoints.clickhouse_url) as probe,
        open_writer(endpoints.postgres_dsn) as writer,
    ):

        async def tell(report: ShoppingReport) -> None:
            while True:
                await asyncio.sleep(REPORT_SECONDS)
                say(_progress(report, probe))

        def watch(payment_id: UUID, seq: int) -> None:
            probe.watch_event(payment_id, seq)

        asyncio.run(run_day(day, live.shop, writer=writer, on_answered=watch, meanwhile=tell))
        deadline = time.monotonic() + FRESHNESS_WAIT_SECONDS
        while probe.pending() and time.monotonic() < deadline:
            time.sleep(0.05)
        live.freshness = probe.seconds
    live.groups = appended_since(endpoints.postgres_reader_dsn, began)
    return live


def _fault(name: str, value: object) -> str:
    """One fault as people read it: a share in percent, or a range of seconds."""
    match value:
        case True:
            return name
        case float():
            return f"{name} {value:.0%}"
        case list():
            return f"{name} {value[0]:g} to {value[1]:g}"
    return f"{name} {value}"


def _progress(report: ShoppingReport, probe: FreshnessProbe) -> str:
    api = report.api
    return (
        f"  {report.purchases:,} purchases, {sum(api.answers.values()):,} requests answered,"
        f" {sum(api.resent.values()):,} sent again; visible after"
        f" {1000 * quantile(probe.seconds, 0.5):.0f} ms"
        f" (p50) / {1000 * quantile(probe.seconds, 0.99):.0f} ms (p99)"
    )


def summarize(console: Console, live: Live) -> None:
    """Print latencies, statuses, repeats, groups and freshness."""
    shop, api = live.shop, live.shop.api
    line = _Lines(console)
    line("live traffic", f"{shop.purchases:,} purchases, {sum(api.answers.values()):,} requests")
    line("statuses", ", ".join(f"{status} × {n:,}" for status, n in api.statuses().items()))
    line("refusals", ", ".join(f"{code} × {n:,}" for code, n in sorted(api.refusals.items())))
    for operation in CREATES:
        if seconds := api.seconds.get(operation):
            line("", f"{operation:22} {_quantiles(seconds)}")
    line("all requests", _quantiles(api.all_seconds()))
    line("sent again", ", ".join(f"{why} × {n:,}" for why, n in sorted(api.resent.items())))
    line(
        "repeated",
        f"{api.replays:,} answers were repeats; of {api.compared:,} compared with the first"
        f" {len(api.different)} differed",
    )
    line("buyers", ", ".join(f"{what} × {n:,}" for what, n in sorted(shop.visits.items())))
    line("groups", f"commands that came together were appended together: {live.groups}")
    line(
        "freshness",
        f"{_quantiles(live.freshness)} from commit to visible in ClickHouse"
        f" ({len(live.freshness):,} events watched)",
    )
    for difference in api.different:
        console.print(f"DIFFERENT  {difference}", highlight=False)


class _Lines:
    """Prints a label and its text; a label without text is left out."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, label: str, text: str) -> None:
        if text:
            self._console.print(f"{label:14} {text}", highlight=False)


def _quantiles(seconds: list[float]) -> str:
    p50, p99 = (1000 * quantile(seconds, share) for share in (0.5, 0.99))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"
