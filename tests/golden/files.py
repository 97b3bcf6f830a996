"""The golden files: how they are named, read, written, and what today's code makes of them.

`vN.jsonl` holds recorded envelopes, one a line, with `key` and `value` as the connector's very
bytes. `vN.rows.jsonl` holds the rows of every view that they fold to, one `[table, row]` a line.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from schemas.effects import EFFECTS
from schemas.views import SELLER_REVENUE, TABLES
from sinks.memory import MemorySink
from streams.decode import Record
from streams.fold import FoldedBatch, fold_batch

FOLDER = Path(__file__).parent
CONSUMER = "golden"
PARKED_AT = datetime(2026, 1, 1, tzinfo=UTC)

KINDS = frozenset(
    (str(direction), str(event)) for direction, effects in EFFECTS.items() for event in effects
)
"""Every (direction, event type) there is."""

Rows = dict[str, list[dict[str, Any]]]


def envelopes_file(version: int) -> Path:
    """Where the envelopes of a version are."""
    return FOLDER / f"v{version}.jsonl"


def expected_file(version: int) -> Path:
    """Where the rows are that they must fold to."""
    return FOLDER / f"v{version}.rows.jsonl"


def read_envelopes(version: int) -> list[Record]:
    """The recorded envelopes of a version, by partition and offset."""
    lines = envelopes_file(version).read_text(encoding="utf-8").splitlines()
    return [
        Record(**fields | {"key": fields["key"].encode(), "value": fields["value"].encode()})
        for fields in map(json.loads, lines)
    ]


def write_envelopes(version: int, records: Iterable[Record]) -> None:
    """Write a version's file; raises FileExistsError when there is one."""
    with envelopes_file(version).open("x", encoding="utf-8") as file:
        for record in records:
            assert record.key is not None and record.value is not None
            fields = record._asdict()
            fields |= {"key": record.key.decode(), "value": record.value.decode()}
            file.write(json.dumps(fields, separators=(",", ":"), ensure_ascii=False) + "\n")


def folded(version: int) -> FoldedBatch:
    """All envelopes of a version folded by today's code."""
    return fold_batch(read_envelopes(version), consumer=CONSUMER, parked_at=PARKED_AT)


def rows_by_table(batch: FoldedBatch) -> Rows:
    """What the views hold afterwards, as JSON has it: table -> rows in the order of their keys."""
    sink = MemorySink()
    sink.write(batch.columns)
    sink.note_minutes(batch.minutes)
    return {
        table.name: [
            dict(zip(table.columns, msgspec.to_builtins(row), strict=True))
            for row in sink.rows(table)
        ]
        for table in (*TABLES.values(), SELLER_REVENUE)
    }


def read_expected(version: int) -> Rows:
    """The rows that the envelopes of a version must fold to."""
    rows: Rows = {table.name: [] for table in (*TABLES.values(), SELLER_REVENUE)}
    for line in expected_file(version).read_text(encoding="utf-8").splitlines():
        table, row = json.loads(line)
        rows[table].append(row)
    return rows


def write_expected(version: int) -> None:
    """Write down what today's code makes of a version."""
    lines = (
        json.dumps([table, row], separators=(",", ":"), ensure_ascii=False) + "\n"
        for table, rows in rows_by_table(folded(version)).items()
        for row in rows
    )
    expected_file(version).write_text("".join(lines), encoding="utf-8")
