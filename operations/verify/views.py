"""ClickHouse, the views: a reading client that spills to disk.

Raw tables are read with FINAL, so that only the row that survives deduplication counts.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from operations.verify.columns import (
    CLICKHOUSE_DAY,
    CLICKHOUSE_HASH,
    CLICKHOUSE_HASH_SUM,
    clickhouse_text,
)
from operations.verify.cut import Cut
from operations.verify.source import (
    BUCKETS_NAMED_MAX,
    Bucket,
    BucketKey,
    EventKey,
    Fingerprint,
    Window,
)
from operations.verify.wide import wide
from schemas.events import COLUMNS
from schemas.sql_words import clickhouse_literal
from schemas.topics import PAYMENTS_TOPIC, VIEWS_CONSUMER
from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings

PLACED = "NOT (op = 'r' AND lsn = 0)"
"""Condition: a row of payment_events has a position in the topic.

A replay from PostgreSQL writes rows without one: partition and offset are 0 (see
`operations.replay.snapshot`). Debezium gives a log position to every row.
"""
QUERY_SECONDS = 1800
SPILL_BYTES = 128 * 1024**2
SETTINGS: Mapping[str, Any] = {
    # Above this limit a query spills to disk: the server may have little memory and much load.
    "max_bytes_before_external_group_by": SPILL_BYTES,
    "max_bytes_before_external_sort": SPILL_BYTES,
    "max_bytes_ratio_before_external_group_by": 0,
    "max_bytes_ratio_before_external_sort": 0,
    "max_execution_time": QUERY_SECONDS,
    "max_query_size": 4 * 1024**2,
}


class Views:
    """A session that reads the views; a context manager."""

    def __init__(self, url: str) -> None:
        settings = ClickHouseSettings.load(url).model_copy(
            update={"clickhouse_request_seconds": QUERY_SECONDS}
        )
        self._address = settings.address()
        self._client = connect(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return all rows of an answer that is known to be small."""
        with translated(self._address):
            return list(self._client.query(sql, settings=dict(SETTINGS)).result_rows)

    def dictionaries(self, sql: str) -> list[dict[str, Any]]:
        """Like `rows`, with each row as column name -> value."""
        with translated(self._address):
            return list(self._client.query(sql, settings=dict(SETTINGS)).named_results())

    def stream(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """Yield rows one by one, reading block by block."""
        with (
            translated(self._address),
            self._client.query_rows_stream(sql, settings=dict(SETTINGS)) as answer,
        ):
            yield from answer

    # -- payment_events

    def raw_count(self, cut: Cut, window: Window) -> int:
        """Count rows in the cut with duplicates: cheap, and never less than there are events."""
        return int(
            self.rows(
                "SELECT count() FROM payment_events_raw"
                f" WHERE {cut.clickhouse_condition()} AND {days(window)}"
            )[0][0]
        )

    def buckets(self, cut: Cut, window: Window) -> dict[BucketKey, Bucket]:
        """Like `Source.buckets`, for the rows in the cut."""
        rows = self.rows(
            f"SELECT {CLICKHOUSE_DAY} AS bucket_day, event_type, currency, count(),"
            f" sum({wide('amount_minor')}), {CLICKHOUSE_HASH_SUM} FROM payment_events_raw FINAL"
            f" WHERE {cut.clickhouse_condition()} AND {days(window)}"
            " GROUP BY bucket_day, event_type, currency"
        )
        return {
            (day, event_type, currency): Bucket(count, int(amount), int(hash_sum))
            for day, event_type, currency, count, amount, hash_sum in rows
        }

    def fingerprints(
        self, cut: Cut, window: Window, buckets: Collection[BucketKey]
    ) -> Iterator[Fingerprint]:
        """Like `Source.fingerprints`, for the rows in the cut."""
        condition = "1"
        if len(buckets) <= BUCKETS_NAMED_MAX:
            named = ", ".join(
                f"(toDate('{day}'), {clickhouse_literal(event_type)},"
                f" {clickhouse_literal(currency)})"
                for day, event_type, currency in buckets
            )
            # As text, because event_type and currency may be stored as LowCardinality.
            key = f"({CLICKHOUSE_DAY}, toString(event_type), toString(currency))"
            condition = f"{key} IN ({named})"
        rows = self.stream(
            f"SELECT toString(payment_id) AS id, seq, {CLICKHOUSE_HASH},"
            " toDateTime64(recorded_at, 6, 'UTC') FROM payment_events_raw FINAL"
            f" WHERE {cut.clickhouse_condition()} AND {days(window)} AND {condition}"
            # ClickHouse orders UUIDs differently from their texts.
            " ORDER BY id, seq"
        )
        for payment_id, seq, row_hash, recorded_at in rows:
            yield Fingerprint(payment_id, seq, row_hash, utc(recorded_at))

    def events(self, keys: Collection[EventKey]) -> dict[EventKey, Mapping[str, str]]:
        """Return whole rows with every column as text, and their op and txid."""
        texts = ", ".join(f"{clickhouse_text(column)} AS t_{column}" for column in COLUMNS)
        found = self.dictionaries(
            f"SELECT {texts}, toString(op) AS t_op, toString(txid) AS t_txid"
            f" FROM payment_events_raw FINAL WHERE {event_keys(keys)}"
        )
        rows = [{name.removeprefix("t_"): text for name, text in row.items()} for row in found]
        return {(row["payment_id"], int(row["seq"])): row for row in rows}

    # -- how far the pipeline is

    def acknowledged(self) -> dict[int, int]:
        """Return each partition's last offset whose rows and totals are all written.

        Empty if the views were made from several topics of this name. Offsets of a topic that was
        deleted say nothing about the one that was made anew.
        """
        topics = self.rows(
            "SELECT uniqExact(topic_id) FROM source_topics"
            f" WHERE topic = {clickhouse_literal(PAYMENTS_TOPIC)}"
        )
        return self.last_offsets() if topics[0][0] <= 1 else {}

    def last_offsets(self) -> dict[int, int]:
        """Return each partition's highest offset in pipeline_progress, of whichever topic."""
        return dict(
            self.rows(
                "SELECT toInt64(partition), toInt64(max(last_offset)) FROM pipeline_progress_raw"
                f" WHERE topic = {clickhouse_literal(PAYMENTS_TOPIC)}"
                f" AND consumer = {clickhouse_literal(VIEWS_CONSUMER)} GROUP BY partition"
            )
        )

    def frontier(self) -> dict[int, int]:
        """Return each partition's highest offset among the rows of payment_events."""
        return dict(
            self.rows(
                "SELECT toInt64(kafka_partition) AS p, toInt64(max(kafka_offset))"
                f" FROM payment_events_raw WHERE {PLACED} GROUP BY p"
            )
        )

    def has_unplaced(self) -> bool:
        """Return whether events have no position in the topic, after a replay from PostgreSQL."""
        return bool(self.rows(f"SELECT 1 FROM payment_events_raw WHERE NOT {PLACED} LIMIT 1"))

    def dead_letters(self) -> int:
        """Count the records that could not be folded and were not redriven since."""
        return int(self.rows("SELECT count() FROM dead_letters WHERE state = 'open'")[0][0])


def days(window: Window, column: str = "occurred_at") -> str:
    """Return a ClickHouse condition for a window on a time column."""
    if window.is_open:
        return "1"
    since, until = window.bounds()
    return f"({column} >= toDateTime64('{since}', 6, 'UTC') AND {column} < {_time(until)})"


def _time(text: str) -> str:
    return f"toDateTime64('{text}', 6, 'UTC')"


def utc(moment: datetime) -> datetime:
    """Add the UTC zone to a time of the client, which may omit it."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def uuids(payment_ids: Collection[str]) -> str:
    """Return a list of UUID literals, at least one, so that it is valid after IN."""
    texts = [f"toUUID('{UUID(text)}')" for text in payment_ids]
    return ", ".join(texts or ["toUUID('00000000-0000-0000-0000-000000000000')"])


def event_keys(keys: Collection[EventKey]) -> str:
    """Return a condition for (payment_id, seq) in `keys`; payment_id alone uses the index."""
    if not keys:
        return "0"
    pairs = ", ".join(f"('{UUID(payment_id)}', {int(seq)})" for payment_id, seq in keys)
    payment_ids = {payment_id for payment_id, _ in keys}
    return (
        f"payment_id IN ({uuids(payment_ids)})"
        f" AND (toString(payment_id), toInt64(seq)) IN ({pairs})"
    )
