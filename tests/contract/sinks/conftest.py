"""Every sink, empty, what is written to it, and what a reader of its views would see."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from schemas.events import Event
from schemas.views import Table
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.memory import MemorySink
from sinks.migrate import migrate
from sinks.protocol import ViewSink
from sinks.settings import ClickHouseSettings
from streams.fold import FoldedBatch, fold_batch
from tests.clickhouse_server import database
from tests.events import NOON, records

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Store:
    """A sink, `another` one on the same store as another worker has it, and `rows` of its views.

    The sinks of the store have a limit of 3 rows per insert.
    """

    sink: ViewSink
    another: Callable[[], ViewSink]
    rows: Callable[[Table], list[Row]]


NASTY = 'O\'Brien\\ "x" {id:String} %s \x00\n\t é \u202e 𝄞;--'

AGES = {
    "now": timedelta(),
    "an hour ago": timedelta(hours=1),
    "a day and a half ago": timedelta(hours=36),
    "a week ago": timedelta(days=7),
    "years ago": timedelta(days=4_000),
}
"""How long before they are written entries may have been recorded: each is stored another way."""


def folded(*events: Event, consumer: str = "views") -> FoldedBatch:
    return fold_batch(records(events), consumer=consumer, parked_at=NOON)


def write(sink: ViewSink, *events: Event) -> FoldedBatch:
    batch = folded(*events)
    assert not batch.dead_letters
    sink.write(batch.columns)
    return batch


def recorded(events: Iterable[Event], age: timedelta) -> list[Event]:
    """The same events, recorded at that age."""
    recorded_at = datetime.now(UTC) - age
    return [replace(event, recorded_at=recorded_at) for event in events]


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
        yield Store(memory, lambda: memory, memory.rows)
        return
    url = request.getfixturevalue("clickhouse_url")
    settings = ClickHouseSettings.load(url).model_copy(update={"clickhouse_insert_rows_max": 3})
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

    yield Store(sinks[0], another, rows)
    client.close()
    for sink in sinks:
        sink.close()


def _plain(value: Any) -> Any:
    """clickhouse-connect gives the times of UTC columns without their zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
