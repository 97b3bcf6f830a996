"""Times the documented example queries on millions of payments, cold and warm.

The queries are those of `docs/reference/views.md`, for a seller, a buyer and a payment of average
size. As in production, nine tenths of the rows are merged and the rest is in unmerged parts, so
that `FINAL` has work to do.
"""

import re
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from bench.figures import Figure
from bench.generated import Generator, complete_totals
from bench.sections import Bench
from operations.console import say
from schemas.views import RAW_SUFFIX, TABLES, TOTALS
from sinks.client import connect
from sinks.migrate import migrate
from sinks.settings import ClickHouseSettings
from stack.settings import CHECKOUT

DATABASE = "purser_bench_queries"
PAGE = CHECKOUT / "docs" / "reference" / "views.md"
WARM_RUNS = 5
RECENT_PARTS = 5
QUERY_SECONDS = 900
BYTES_GOAL = 300.0

_TITLE = re.compile(r"-- (.*)")
_ANY_PAYMENT = "(SELECT payment_id FROM payment_events WHERE event_type = 'captured' LIMIT 1)"
_SCALED = ("payment_events", "ledger_entries", "buyer_orders", "payouts")
"""Tables that grow with the number of payments."""
_COMPUTED = ("seller_revenue", "seller_balances", "account_days", "account_balances")
"""Views that are computed from them; queries of other views are not timed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One documented query."""

    name: str
    sql: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds of the first run after the caches were dropped, and of the median of more runs."""

    cold_seconds: float
    warm_seconds: float
    read_rows: int
    read_bytes: int


def documented_queries(page: str, names: dict[str, str]) -> list[Query]:
    """The page's queries of growing tables; `names` replaces the page's example ids."""
    found = []
    for title, section in re.findall(r"^## `(\w+)`\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.M):
        if title not in (*_SCALED, *_COMPUTED):
            continue
        for number, sql in enumerate(re.findall(r"```sql\n(.*?)```", section, re.DOTALL), start=1):
            said = _TITLE.search(sql)
            text = sql.rstrip().rstrip(";")
            for example, real in names.items():
                text = text.replace(example, real)
            name = said.group(1).rstrip(".") if said else f"example {number}"
            found.append(Query(name=f"{title}: {name}", sql=text))
    return found


def typical(client: Client) -> dict[str, str]:
    """The page's example ids -> ids in these data: a seller and a buyer of median size."""
    [(seller,)] = client.query(
        "SELECT seller_id FROM seller_revenue WHERE currency = 'EUR' GROUP BY seller_id"
        " ORDER BY sum(capture_count), seller_id LIMIT 1 OFFSET"
        " (SELECT intDiv(uniqExact(seller_id), 2) FROM seller_revenue WHERE currency = 'EUR')"
    ).result_rows
    [(buyer,)] = client.query("SELECT any(buyer_id) FROM buyer_orders_raw").result_rows
    [(payment,)] = client.query("SELECT any(payment_id) FROM buyer_orders_raw").result_rows
    return {"'seller-1'": f"'{seller}'", "'buyer-1'": f"'{buyer}'", _ANY_PAYMENT: f"'{payment}'"}


def measure(client: Client, query: Query) -> Timing:
    """Time one query, cold and warm, from the client's side."""
    for cache in ("MARK CACHE", "UNCOMPRESSED CACHE", "PRIMARY INDEX CACHE"):
        client.command(f"SYSTEM DROP {cache}")
    seconds = []
    read_rows = read_bytes = 0
    for _ in range(1 + WARM_RUNS):
        started = time.perf_counter()
        answer = client.query(query.sql)
        seconds.append(time.perf_counter() - started)
        read_rows = int(answer.summary.get("read_rows", 0))
        read_bytes = int(answer.summary.get("read_bytes", 0))
    return Timing(
        cold_seconds=seconds[0],
        warm_seconds=statistics.median(seconds[1:]),
        read_rows=read_rows,
        read_bytes=read_bytes,
    )


def fill(client: Client, settings: ClickHouseSettings, payments: int, seed: int) -> None:
    """Insert the payments; merge nine tenths and leave the last tenth as inserted."""
    generator = Generator(client=client, total=payments, seed=seed)
    recent = payments // 10 // RECENT_PARTS
    settled = payments - recent * RECENT_PARTS
    generator.payments(0, settled)
    for table in _SCALED:
        client.command(f"OPTIMIZE TABLE {table}{RAW_SUFFIX} FINAL")
    for part in range(RECENT_PARTS):
        generator.payments(settled + part * recent, recent)
    complete_totals(settings)


@contextmanager
def filled_database(url: str, payments: int, seed: int) -> Iterator[Client]:
    """A separate database with that many payments, dropped at the end."""
    settings = ClickHouseSettings.load(_of_database(url)).model_copy(
        update={"clickhouse_request_seconds": QUERY_SECONDS}
    )
    migrate(_of_database(url))
    client = connect(settings)
    try:
        fill(client, settings, payments, seed)
        yield client
    finally:
        client.command(f"DROP DATABASE {DATABASE} SYNC")
        client.close()


def queries(bench: Bench) -> list[Figure]:
    """Fill a database, time every documented query, and measure bytes at rest per payment."""
    payments = bench.payments
    say(f"generating {payments:,} payments; a million takes about two minutes")
    with filled_database(bench.stack.endpoints.clickhouse_url, payments, bench.seed) as client:
        say("running the documented queries")
        section = f"queries, {payments:,} payments"
        figures = []
        for query in documented_queries(PAGE.read_text(encoding="utf-8"), typical(client)):
            timing = measure(client, query)
            for name, value, unit in (
                ("warm", 1000 * timing.warm_seconds, "ms"),
                ("cold", 1000 * timing.cold_seconds, "ms"),
                ("read", timing.read_rows, "rows"),
            ):
                figures.append(
                    Figure(section=section, name=f"{query.name}, {name}", value=value, unit=unit)
                )
        return [*figures, *bytes_at_rest(client, payments)]


def bytes_at_rest(client: Client, payments: int) -> list[Figure]:
    """Bytes per payment of each table after merging."""
    section = "storage, live traffic"
    figures = []
    for name in (*(table.raw for table in TABLES.values()), TOTALS):
        client.command(f"OPTIMIZE TABLE {name} FINAL")
        [(size,)] = client.query(
            "SELECT sum(bytes_on_disk) FROM system.parts"
            " WHERE active AND database = currentDatabase() AND table = {table:String}",
            parameters={"table": name},
        ).result_rows
        if size:
            figures.append(
                Figure(
                    section=section,
                    name=f"ClickHouse {name.removesuffix(RAW_SUFFIX)}",
                    value=size / payments,
                    unit="bytes/payment",
                )
            )
    total = sum(figure.value for figure in figures)
    return [
        *figures,
        Figure(
            section=section,
            name="ClickHouse, all views",
            value=total,
            unit="bytes/payment",
            goal=f"<= {BYTES_GOAL:g}",
            met=total <= BYTES_GOAL,
        ),
    ]


def _of_database(url: str) -> str:
    """The URL of the benchmark's database on the same server."""
    return f"{url.rsplit('/', 1)[0]}/{DATABASE}"
