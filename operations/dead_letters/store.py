"""ClickHouse access for dead letters: parked records, their redrives, existing rows.

The table `dead_letters` is the source and has the whole record; the topic `purser.dead_letters` has
a copy for other tools. This module reads only through the views and writes only audit rows.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Self

import pyarrow
from clickhouse_connect.driver.external import ExternalData

from operations.dead_letters.audit import DEAD_LETTER_REDRIVES, RedriveRow
from operations.dead_letters.letter import (
    Chosen,
    Letter,
    Listed,
    Redrive,
    State,
    Summary,
    known_reasons,
)
from operations.dead_letters.position import Position
from schemas.errors import InputError
from schemas.views import Columns, Table, columns_of
from sinks.arrow import arrow_table
from sinks.clickhouse import INSERT_SETTINGS
from sinks.client import connect, translated
from sinks.migrate import check_schema
from sinks.settings import ClickHouseSettings

_KEYS = "keys_asked"
_POSITION = "topic, partition, kafka_offset"
_POSITION_TYPES = {"topic": "String", "partition": "UInt32", "kafka_offset": "UInt64"}


class DeadLetters:
    """A session with ClickHouse; a context manager."""

    def __init__(self, settings: ClickHouseSettings) -> None:
        """Connect.

        Raises:
            SchemaVersionError: tables are missing or have another version than this code expects.
            ServiceUnavailable, ConfigurationError: see `sinks.client`.
        """
        check_schema(settings.clickhouse_url.get_secret_value())
        self._address = settings.address()
        self._client = connect(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    # -- looking

    def count_open(self) -> int:
        """Count the records that are missing from the views."""
        return int(self._rows("SELECT count() FROM dead_letters WHERE state = 'open'")[0][0])

    def summary(self, reason: str | None = None) -> list[Summary]:
        """Summarize every reason, or the given one, the most frequent first."""
        rows = self._rows(
            "SELECT toString(reason), countIf(state = 'open'), countIf(state = 'redriven'),"
            " countIf(recorded_at >= now64(3) - INTERVAL 1 DAY),"
            " min(recorded_at), max(recorded_at)"
            f" FROM dead_letters WHERE {_of(reason)} GROUP BY reason"
            " ORDER BY count() DESC, reason",
            {"reason": reason},
        )
        return [
            Summary(
                reason=row[0],
                open=row[1],
                redriven=row[2],
                last_day=row[3],
                first_recorded_at=_utc(row[4]),
                last_recorded_at=_utc(row[5]),
            )
            for row in rows
        ]

    def listed(self, *, reason: str | None, state: State | None, limit: int) -> list[Listed]:
        """List parked records, the last parked first.

        Raises:
            InputError: an unknown reason.
        """
        self.check_reason(reason)
        rows = self._rows(
            "SELECT toString(topic), partition, kafka_offset, toString(reason), error, recorded_at,"
            " parked_at, length(raw_key) + length(raw_value), is_null, state FROM dead_letters"
            f" WHERE {_of(reason)} AND {_in(state)}"
            f" ORDER BY parked_at DESC, {_POSITION} LIMIT {limit}",
            {"reason": reason},
        )
        return [
            Listed(
                position=Position(*row[:3]),
                reason=row[3],
                error=row[4],
                recorded_at=_utc(row[5]),
                parked_at=_utc(row[6]),
                size=row[7],
                is_null=bool(row[8]),
                state=State(row[9]),
            )
            for row in rows
        ]

    def one(self, position: Position) -> Letter:
        """Return one whole record.

        Raises:
            InputError: there is no dead letter at this position.
        """
        letters = self.whole([position])
        if not letters:
            raise _unknown(position)
        return letters[0]

    def history(self, position: Position) -> list[Redrive]:
        """Return every redrive of a record, the oldest first."""
        rows = self._rows(
            "SELECT redriven_at, redriven_by, toString(outcome), toString(reason), error,"
            " payment_id, seq, row_count FROM dead_letter_redrives"
            f" WHERE ({_POSITION}) IN (SELECT {_POSITION} FROM {_KEYS}) ORDER BY redriven_at",
            external=_positions([position]),
        )
        return [Redrive(_utc(row[0]), *row[1:]) for row in rows]

    # -- choosing

    def check_reason(self, reason: str | None) -> None:
        """Raise InputError unless the reason is None, known to this code, or that of a record."""
        if reason is None:
            return
        known = known_reasons() | {
            row[0] for row in self._rows("SELECT DISTINCT toString(reason) FROM dead_letters_raw")
        }
        if reason not in known:
            raise InputError(
                "--reason", f"{reason[:80]!r} is unknown; give one of {', '.join(sorted(known))}"
            )

    def open_ones(self, reason: str | None = None) -> list[Chosen]:
        """Return the open records, of one reason or of all, ordered by position.

        Raises:
            InputError: an unknown reason.
        """
        self.check_reason(reason)
        return self._chosen(f"state = 'open' AND {_of(reason)}", {"reason": reason})

    def at(self, positions: Sequence[Position]) -> list[Chosen]:
        """Return the records at these positions, open or not, ordered by position.

        Raises:
            InputError: one position has no dead letter.
        """
        condition = f"({_POSITION}) IN (SELECT {_POSITION} FROM {_KEYS})"
        found = self._chosen(condition, external=_positions(positions))
        missing = set(positions) - {chosen.position for chosen in found}
        if missing:
            raise _unknown(min(missing))
        return found

    def _chosen(
        self,
        condition: str,
        parameters: dict[str, Any] | None = None,
        external: ExternalData | None = None,
    ) -> list[Chosen]:
        rows = self._rows(
            "SELECT toString(topic), partition, kafka_offset, length(raw_key) + length(raw_value),"
            f" state FROM dead_letters WHERE {condition} ORDER BY {_POSITION}",
            parameters,
            external,
        )
        return [Chosen(Position(*row[:3]), row[3], State(row[4])) for row in rows]

    def whole(self, positions: Sequence[Position]) -> list[Letter]:
        """Return the whole records at these positions, except those that no longer exist."""
        rows = self._rows(
            "SELECT toString(topic), partition, kafka_offset, toString(reason), error, raw_key,"
            " raw_value, is_null, recorded_at, toString(consumer), parked_at, state"
            f" FROM dead_letters WHERE ({_POSITION}) IN (SELECT {_POSITION} FROM {_KEYS})"
            f" ORDER BY {_POSITION}",
            external=_positions(positions),
        )
        return [
            Letter(
                position=Position(*row[:3]),
                reason=row[3],
                error=row[4],
                key=row[5],
                value=None if row[7] else row[6],
                recorded_at=_utc(row[8]),
                consumer=row[9],
                parked_at=_utc(row[10]),
                state=State(row[11]),
            )
            for row in rows
        ]

    # -- what a redrive needs

    def versions(self, table: Table, columns: Columns) -> dict[tuple[str, ...], int]:
        """Return those of these rows' keys that exist in the table, as texts, with their versions.

        The version is 0 in tables where rows with the same key are always equal.
        """
        keys = ", ".join(table.key)
        rows = self._rows(
            f"SELECT {keys}, {table.version or 0} FROM {table.name}"
            f" WHERE ({keys}) IN (SELECT {keys} FROM {_KEYS})",
            external=_keys(table, columns),
        )
        return {tuple(map(str, row[:-1])): int(row[-1]) for row in rows}

    def note(self, rows: Sequence[RedriveRow]) -> None:
        """Write audit rows; returns when ClickHouse has confirmed them."""
        with translated(self._address):
            self._client.insert_arrow(
                DEAD_LETTER_REDRIVES.raw,
                arrow_table(DEAD_LETTER_REDRIVES, columns_of(rows)),
                settings=INSERT_SETTINGS,
            )

    def _rows(
        self,
        sql: str,
        parameters: dict[str, Any] | None = None,
        external: ExternalData | None = None,
    ) -> list[tuple[Any, ...]]:
        with translated(self._address):
            answer = self._client.query(
                sql,
                parameters={name: value for name, value in (parameters or {}).items() if value},
                external_data=external,
                # Raw bytes; by default the client returns text, or hex if that fails.
                column_formats={"raw_key": "bytes", "raw_value": "bytes"},
            )
            return list(answer.result_rows)


def _of(reason: str | None) -> str:
    return "1" if reason is None else "reason = {reason:String}"


def _in(state: State | None) -> str:
    return "1" if state is None else f"state = '{state}'"


def _unknown(position: Position) -> InputError:
    return InputError(
        "position", f"there is no dead letter at {position}; `purser dead-letters list` prints them"
    )


def _positions(positions: Collection[Position]) -> ExternalData:
    topics, partitions, offsets = zip(*positions, strict=True)
    table = pyarrow.table(
        {
            "topic": pyarrow.array(topics, pyarrow.string()),
            "partition": pyarrow.array(partitions, pyarrow.uint32()),
            "kafka_offset": pyarrow.array(offsets, pyarrow.uint64()),
        }
    )
    return _external(table, _POSITION_TYPES)


_KEY_TYPES = {
    "payment_id": "UUID",
    "payout_id": "UUID",
    "seq": "UInt32",
    "leg": "UInt8",
    "day": "Date",
}
"""ClickHouse types of key columns that are not texts."""


def _keys(table: Table, columns: Columns) -> ExternalData:
    keys = arrow_table(table, columns).select(list(table.key))
    return _external(keys, {name: _KEY_TYPES.get(name, "String") for name in table.key})


def _external(table: pyarrow.Table, types: dict[str, str]) -> ExternalData:
    """Return rows as a temporary table of the query, so that no value becomes SQL text."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return ExternalData(
        file_name=_KEYS,
        fmt="ArrowStream",
        structure=", ".join(f"{name} {kind}" for name, kind in types.items()),
        data=sink.getvalue().to_pybytes(),
    )


def _utc(moment: datetime) -> datetime:
    """Add the UTC zone to a time of the client, which may omit it."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
