"""Views in a real ClickHouse that lack some events, and what they must be after a redrive.

Records flow as through the worker, by the fold and the sink. What an older worker could not fold is
parked as it would have parked it, though the present code can: the fix is there already.
"""

import io
import json
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from clickhouse_connect.driver.client import Client

from cli.commands import app
from operations.command_line import run
from schemas.columns import instant
from schemas.topics import VIEWS_CONSUMER
from schemas.views import (
    BUYER_ORDERS,
    DEAD_LETTERS,
    LEDGER_ENTRIES,
    PAYMENT_EVENTS,
    PAYOUTS,
    SELLER_REVENUE,
    DeadLetterRow,
    Table,
    columns_of,
)
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.memory import MemorySink
from sinks.settings import ClickHouseSettings
from streams.decode import Record
from streams.fold import fold_batch

VIEWS = (PAYMENT_EVENTS, LEDGER_ENTRIES, BUYER_ORDERS, PAYOUTS, SELLER_REVENUE)
PARKED_AT = datetime(2026, 2, 1, 9, 30, 0, 654321, tzinfo=UTC)
OLD_REASON, OLD_ERROR = "unknown_event_type", "event_type: 'x' is not known to this code"

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command did: exit status, standard output and error."""

    status: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.output.decode()

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.output)


def purser(*arguments: str) -> Answer:
    """`purser dead-letters …` in this process."""
    output, errors, status = io.BytesIO(), io.StringIO(), 0
    lines = io.TextIOWrapper(output, encoding="utf-8", write_through=True)
    try:
        with redirect_stdout(lines), redirect_stderr(errors):
            run(app, "purser", ["dead-letters", *arguments])
    except SystemExit as ended:
        assert isinstance(ended.code, int)
        status = ended.code
    lines.detach()  # closing it would close what it has written
    return Answer(status=status, output=output.getvalue(), errors=errors.getvalue())


@dataclass(slots=True, kw_only=True)
class Parked:
    """The database under test, and every record that was ever sent into it."""

    url: str
    client: Client
    sink: ClickHouseSink
    sent: list[Record] = field(default_factory=list)

    @classmethod
    def at(cls, url: str) -> "Parked":
        settings = ClickHouseSettings.load(url)
        return cls(url=url, client=connect(settings), sink=ClickHouseSink(settings))

    def close(self) -> None:
        """Let go of connections."""
        self.sink.close()
        self.client.close()

    # -- filling

    def flow(self, records: Iterable[Record], *, parked_at: datetime = PARKED_AT) -> None:
        """As through the present worker: rows, notes, and what it cannot fold is parked."""
        batch = fold_batch(records, consumer=VIEWS_CONSUMER, parked_at=parked_at)
        self.sink.write(batch.columns)
        self.sink.note_minutes(batch.minutes)

    def park(
        self,
        records: Iterable[Record],
        *,
        parked_at: datetime = PARKED_AT,
        reason: str = OLD_REASON,
    ) -> list[str]:
        """As an older worker parked them; their positions."""
        rows = [
            DeadLetterRow(
                topic=record.topic,
                partition=record.partition,
                kafka_offset=record.offset,
                reason=reason,
                error=OLD_ERROR,
                raw_key=record.key or b"",
                raw_value=record.value or b"",
                is_null=record.value is None,
                recorded_at=instant(record.timestamp),
                consumer=VIEWS_CONSUMER,
                parked_at=parked_at,
            )
            for record in records
        ]
        self.sink.write({DEAD_LETTERS: columns_of(rows)})
        return [f"{row.topic}/{row.partition}/{row.kafka_offset}" for row in rows]

    # -- looking

    def rows(self, table: Table) -> list[Row]:
        """What a reader of the table's view sees, in the order of the keys."""
        found = self.client.query(f"SELECT {', '.join(table.columns)} FROM {table.name}")
        places = [table.columns.index(name) for name in table.key]
        plain = [tuple(map(_plain, row)) for row in found.result_rows]
        return sorted(plain, key=lambda row: [row[place] for place in places])

    def views(self) -> dict[str, list[Row]]:
        """Every view."""
        return {table.name: self.rows(table) for table in VIEWS}

    def states(self) -> dict[str, str]:
        """Position -> state of every dead letter."""
        found = self.client.query(
            "SELECT concat(topic, '/', toString(partition), '/', toString(kafka_offset)), state"
            " FROM dead_letters"
        )
        return dict(found.result_rows)

    def notes(self) -> list[dict[str, Any]]:
        """The audit, in the order in which it was written."""
        order = "redriven_at, topic, partition, kafka_offset"
        found = self.client.query(f"SELECT * FROM dead_letter_redrives ORDER BY {order}")
        return list(found.named_results())


def as_if_never_failed(records: Sequence[Record]) -> dict[str, list[Row]]:
    """The views of these records, folded one at a time into a sink in memory."""
    sink = MemorySink()
    for record in records:
        sink.write(fold_batch([record], consumer=VIEWS_CONSUMER, parked_at=PARKED_AT).columns)
    return {table.name: [tuple(row) for row in sink.rows(table)] for table in VIEWS}


def _plain(value: Any) -> Any:
    """clickhouse-connect gives the times of UTC columns without their zone."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value
