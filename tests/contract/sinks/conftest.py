"""Every sink, empty, and how to see what a reader of its views would see."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.views import SELLER_REVENUE, SellerRevenueRow, Table, columns_of
from sinks.arrow import arrow_table
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.memory import MemorySink
from sinks.migrate import migrate
from sinks.protocol import ViewSink
from sinks.settings import ClickHouseSettings
from tests.clickhouse_server import database

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Store:
    """A sink, `another` one on the same store as another worker has it, and `rows` of its views.

    The sinks of the store have limits of 3 rows per insert and 3 keys per refresh. `plant` puts
    totals there as if a refresh had computed them.
    """

    sink: ViewSink
    another: Callable[[], ViewSink]
    rows: Callable[[Table], list[Row]]
    plant: Callable[[SellerRevenueRow], None]


@pytest.fixture
def clickhouse_url(clickhouse_server_url: str) -> Iterator[str]:
    """The URL of an empty database with our schema."""
    with database(clickhouse_server_url) as url:
        migrate(url)
        yield url


@pytest.fixture(
    params=["memory", pytest.param("clickhouse", marks=pytest.mark.integration)],
)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty store."""
    if request.param == "memory":
        memory = MemorySink()
        yield Store(
            memory,
            lambda: memory,
            memory.rows,
            lambda row: memory.write({SELLER_REVENUE: columns_of([row])}),
        )
        return
    url = request.getfixturevalue("clickhouse_url")
    settings = ClickHouseSettings.load(url).model_copy(
        update={"clickhouse_insert_rows_max": 3, "clickhouse_revenue_keys_max": 3}
    )
    sinks = [ClickHouseSink(settings)]
    client = connect(settings)

    def another() -> ViewSink:
        sinks.append(ClickHouseSink(settings))
        return sinks[-1]

    def rows(table: Table) -> list[Row]:
        columns = ", ".join(table.columns)
        found = client.query(
            f"SELECT {columns} FROM {table.name}",
            column_formats={name: "bytes" for name in table.columns if name.startswith("raw_")},
        )
        plain = [table.row_type(*map(_plain, row)) for row in found.result_rows]
        places = [table.columns.index(name) for name in table.key]
        return sorted(plain, key=lambda row: [row[place] for place in places])

    def plant(row: SellerRevenueRow) -> None:
        totals = arrow_table(SELLER_REVENUE, columns_of([row]))
        client.insert_arrow(SELLER_REVENUE.raw, totals)

    yield Store(sinks[0], another, rows, plant)
    client.close()
    for sink in sinks:
        sink.close()


def _plain(value: Any) -> Any:
    """clickhouse-connect gives the times of UTC columns without their zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
