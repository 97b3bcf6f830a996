"""`purser demo`: real orders and live traffic through the whole pipeline, proven equal."""

import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from cli.import_ import import_
from cli.tour import show
from cli.verify import verify
from marketplace.freshness import FreshnessProbe, quantile
from marketplace.market import Marketplace, MarketplaceSettings
from marketplace.traffic import Traffic, TrafficReport, run_in_background
from operations.bring_up import bring_up
from operations.console import say, wide_console
from operations.own_stack import own_stack
from schemas.errors import ConfigurationError
from sinks.client import connect
from sinks.queries import event_count
from sinks.settings import ClickHouseSettings
from stack.native import Stack
from stack.settings import CHECKOUT
from stack.topology import Port
from writer.append import open_writer

SLICE = CHECKOUT / "data" / "online-retail-slice.jsonl.gz"
REPORT_SECONDS = 5.0
VERIFY_SECONDS = 120.0
VISIBLE_SECONDS = 120.0
FRESHNESS_WAIT_SECONDS = 30.0


def demo(
    file: Annotated[
        Path,
        typer.Option(
            help="Recorded orders to import; JSON Lines, plain or gzip.",
            show_default="data/online-retail-slice.jsonl.gz of the checkout",
        ),
    ] = SLICE,
    rate: Annotated[
        float,
        typer.Option(help="Live payments per second.", min=0.1, max=10_000),
    ] = 20.0,
    seconds: Annotated[
        float,
        typer.Option(help="How long live traffic runs.", min=1.0, max=86_400),
    ] = 30.0,
    seed: Annotated[
        int | None, typer.Option(help="Marketplace seed; the same seed gives the same orders.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stack running, with its data.")
    ] = False,
) -> None:
    """Import real orders into a temporary stack, run live traffic, and prove the views equal.

    The stack is in the folder `demo` of PURSER_HOME, separate from that of `purser up`. It is
    removed at the end, also after Ctrl-C, unless you give --keep. The exit status is that of
    `purser verify`.

    Example: purser demo --rate 50 --seconds 60 --keep
    """
    if not file.is_file():
        raise ConfigurationError(f"--file: there is no file {file}; name an existing file")
    console = wide_console()
    seed = secrets.randbelow(10**6) if seed is None else seed
    with own_stack("demo", keep=keep) as stack:
        started = time.monotonic()
        bring_up(stack, say)
        say(f"the stack is up after {time.monotonic() - started:.0f} s")
        os.environ.update(stack.endpoints.environment())
        _import(file)
        _wait_until_visible(stack)
        report, freshness = _live_traffic(stack, seed, rate, seconds)
        status = _verify()
        console.print()
        with connect(ClickHouseSettings.load()) as client:
            show(client, console)
        _summarize(console, report, freshness)
        _how_to_look_further(console, stack, keep=keep)
    raise typer.Exit(status)


def _import(file: Path) -> None:
    say(f"importing {file.name}: real orders, checked by the rules of live traffic")
    try:
        import_(str(file))
    except typer.Exit as ended:
        if ended.exit_code != 1:  # 1: some lines were rejected and reported, the rest is imported
            raise


def _wait_until_visible(stack: Stack) -> None:
    """Wait for the history, so that the freshness figures describe live traffic only."""
    say("waiting until the history is in the views")
    with (
        psycopg.connect(stack.endpoints.postgres_reader_dsn) as connection,
        connect(ClickHouseSettings.load()) as client,
    ):
        appended = connection.execute("SELECT count(*) FROM payments").fetchone()
        assert appended is not None
        started = time.monotonic()
        while time.monotonic() - started < VISIBLE_SECONDS:
            if event_count(client) >= appended[0]:
                return
            time.sleep(0.2)
    say("  the views are late; continuing, since `verify` will wait for them")


def _live_traffic(
    stack: Stack, seed: int, rate: float, seconds: float
) -> tuple[TrafficReport, list[float]]:
    """Run the marketplace; return its report and the seconds from commit to visible."""
    say(f"live traffic: {rate:g} payments/s for {seconds:g} s, marketplace seed {seed}")
    market = Marketplace(seed, datetime.now(UTC), MarketplaceSettings(payments_per_second=rate))
    endpoints = stack.endpoints
    with (
        FreshnessProbe(endpoints.clickhouse_url) as probe,
        open_writer(endpoints.postgres_dsn) as writer,
    ):
        traffic = Traffic(writer, market.steps(seconds), on_appended=probe.watch)
        finish = run_in_background(traffic)
        try:
            _report_while_running(traffic, probe, seconds)
        finally:
            report = finish()
        deadline = time.monotonic() + FRESHNESS_WAIT_SECONDS
        while probe.pending() and time.monotonic() < deadline:
            time.sleep(0.05)
        return report, probe.seconds


def _report_while_running(traffic: Traffic, probe: FreshnessProbe, seconds: float) -> None:
    started = time.monotonic()
    while (passed := time.monotonic() - started) < seconds:
        time.sleep(min(REPORT_SECONDS, seconds - passed))
        report = traffic.report
        say(
            f"  {report.payments:,} payments, {report.events:,} events appended; visible after"
            f" {1000 * quantile(probe.seconds, 0.5):.0f} ms"
            f" (p50) / {1000 * quantile(probe.seconds, 0.99):.0f} ms (p99)"
        )


def _verify() -> int:
    say("waiting until the views agree with the source")
    try:
        verify(timeout=VERIFY_SECONDS)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def _summarize(console: Console, report: TrafficReport, freshness: list[float]) -> None:
    rejected = sum(report.rejections.values())
    console.print(
        f"live traffic   {report.payments:,} payments, {report.events:,} events,"
        f" {rejected} commands rejected, {report.resent} sent again"
    )
    console.print(
        f"append         p50 {1000 * quantile(report.append_seconds, 0.5):.1f} ms,"
        f" p99 {1000 * quantile(report.append_seconds, 0.99):.1f} ms"
    )
    console.print(
        f"freshness      p50 {1000 * quantile(freshness, 0.5):.0f} ms,"
        f" p99 {1000 * quantile(freshness, 0.99):.0f} ms from commit to visible in ClickHouse"
        f" ({len(freshness):,} events watched)"
    )


def _how_to_look_further(console: Console, stack: Stack, *, keep: bool) -> None:
    if not keep:
        console.print("\nTo explore: make demo DEMO_ARGS=--keep leaves the stack running.")
        return
    settings = stack.settings
    console.print(
        "\nThe stack is still running. To explore:\n"
        f"  export PURSER_HOME={settings.home} PURSER_PORT_BASE={settings.port_base}\n"
        "  .venv/bin/purser status           every process, the slot, the connector\n"
        '  eval "$(.venv/bin/purser env)"    addresses and passwords, then for example\n'
        '  curl "${PURSER_CLICKHOUSE_READER_URL%/*}" --data "SELECT * FROM seller_balances"\n'
        f"  http://127.0.0.1:{settings.port(Port.CLICKHOUSE)}/play  queries in a browser\n"
        "  .venv/bin/purser verify           prove it again\n"
        "  .venv/bin/purser down             stop it; the data are kept",
        highlight=False,
        soft_wrap=True,
    )
