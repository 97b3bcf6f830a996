"""`purser demo`: real orders and a shop's live traffic through the whole pipeline, proven equal."""

import asyncio
import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import psycopg
import typer
from rich.console import Console

from cli.books import books
from cli.demo_traffic import live_traffic, summarize
from cli.import_ import import_
from cli.tour import show
from cli.verify import verify
from marketplace.pending import wait_until_settled
from marketplace.psp_faults import advance
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

SLICE = CHECKOUT / "data" / "online-retail-slice.jsonl.gz"
VERIFY_SECONDS = 120.0
VISIBLE_SECONDS = 120.0
SETTLE_SECONDS = 60.0
BOOKS_SECONDS = 60.0
BANK_DAYS = 6
DIFFERENT = 1
"""The exit status of `purser verify` and `purser books` for a difference that is proven."""


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
        typer.Option(help="Purchases per second.", min=0.1, max=10_000),
    ] = 10.0,
    seconds: Annotated[
        float,
        typer.Option(help="How long live traffic runs.", min=1.0, max=86_400),
    ] = 30.0,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of the shop and of the faults; the same seed gives the same ones."),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the stack running, with its data.")
    ] = False,
) -> None:
    """Import real orders, let a shop buy through the API, and prove the views and books right.

    A simulator stands for the PSP. It has faults while the shop buys: lost answers, errors, lost
    and doubled webhooks. Afterwards the views must equal `payments`, and so must the PSP's books.

    The stack is in the folder `demo` of PURSER_HOME, separate from that of `purser up`. It is
    removed at the end, also after Ctrl-C, unless you give --keep. Exit status: 0 all is equal, 1 a
    difference is proven, by `purser verify`, by `purser books` or by a repeated answer, 2 one of
    the two could not tell.

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
        endpoints = stack.endpoints
        os.environ.update(endpoints.environment() | endpoints.outside(os.environ))
        _import(file)
        _wait_until_visible(stack)
        live = live_traffic(stack, seed, rate, seconds)
        _settle(stack)
        status = exit_status(_verify(), _books(), different=bool(live.shop.api.different))
        console.print()
        with connect(ClickHouseSettings.load()) as client:
            show(client, console)
        summarize(console, live)
        _how_to_look_further(console, stack, keep=keep)
    raise typer.Exit(status)


def exit_status(*statuses: int, different: bool) -> int:
    """1 if a difference is proven, whatever else could not be told; else the highest."""
    proven = DIFFERENT in statuses or different
    return DIFFERENT if proven else max(statuses)


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


def _settle(stack: Stack) -> None:
    """Wait until what the faults left open is settled, and let banks decide about their debits."""
    say("the faults are over; waiting until every request to the PSP has its outcome")
    _wait_settled(stack, banks=False)
    say(f"{BANK_DAYS} days pass at the PSP, in which banks decide about debits of accounts")
    url = stack.endpoints.environment()["PURSER_SIMULATOR_URL"]
    asyncio.run(advance(url, BANK_DAYS * 86_400))
    _wait_settled(stack, banks=True)


def _wait_settled(stack: Stack, *, banks: bool) -> None:
    started = time.monotonic()
    left = wait_until_settled(stack.endpoints.postgres_reader_dsn, SETTLE_SECONDS, banks=banks)
    if left:
        still_open = ", ".join(f"{what} × {times}" for what, times in left.items())
        say(f"  still open after {SETTLE_SECONDS:g} s: {still_open}; the books will show them")
    else:
        say(f"  settled after {time.monotonic() - started:.0f} s")


def _verify() -> int:
    say("waiting until the views agree with the source")
    try:
        verify(timeout=VERIFY_SECONDS)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def _books() -> int:
    say("comparing with the PSP's books")
    try:
        books(timeout=BOOKS_SECONDS)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def _how_to_look_further(console: Console, stack: Stack, *, keep: bool) -> None:
    if not keep:
        console.print("\nTo explore: make demo DEMO_ARGS=--keep leaves the stack running.")
        return
    settings = stack.settings
    console.print(
        "\nThe stack is still running. To explore, in a new shell:\n"
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
