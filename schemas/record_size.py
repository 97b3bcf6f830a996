"""The largest record of an event, by the limits of its columns, and the limits that it must fit.

The guards of PostgreSQL bound every column of `payments`. Debezium writes a row as JSON and sends
it through Kafka. What the table has accepted can never be removed, so it must pass the producer,
the broker and every consumer. Their limits are above it. Sizes are bytes, uncompressed.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from schemas.details import MAX_DETAILS_BYTES
from schemas.events import COLUMNS
from schemas.ids import MAX_LENGTHS
from schemas.lifecycle import Direction, Dispute, EventType, Fulfilment, Status
from schemas.topics import TOPIC_PREFIX

MESSAGE_BYTES_MOST = 16 * 1024**2
"""Limit of Debezium's producer, of the topic and of the broker, far above `LARGEST_RECORD_BYTES`.
A foreign record of the topic may be as large."""
DEAD_LETTER_BYTES_MOST = 2 * MESSAGE_BYTES_MOST
"""Limit of the dead letters' topic: any record of the events' topic, with headers that say why."""

# PostgreSQL limits names to 63 bytes, and names of replication origins to 512.
_NAME_BYTES = 63
_ORIGIN_BYTES = 512
_NUMBER = -(2**63)
_TIME = "2099-12-31T23:59:59.999999+00:00"
_UUID = "00000000-0000-0000-0000-000000000000"
# JSON writes this character with two bytes. jsonb as text has none that takes more: it writes
# control characters as \u001f, and only the backslash of that is doubled.
_TWO_BYTES_IN_JSON = '"'
# JSON writes this character with six bytes. A database may be named so.
_SIX_BYTES_IN_JSON = "\x1f"
_BATCH_BYTES = 200
"""Above the header of a record batch (61 bytes) and the lengths in a record (36 at most)."""


def _longest(words: type[StrEnum]) -> str:
    return max(words, key=len)


_LARGEST_VALUES: Mapping[str, str] = MappingProxyType(
    {
        "payment_id": _UUID,
        "event_type": _longest(EventType),
        "status": _longest(Status),
        "fulfilment": _longest(Fulfilment),
        "dispute": _longest(Dispute),
        "direction": _longest(Direction),
        "currency": "EUR",
        "details": _TWO_BYTES_IN_JSON * MAX_DETAILS_BYTES,
        "occurred_at": _TIME,
        "recorded_at": _TIME,
        **{name: _TWO_BYTES_IN_JSON * length for name, length in MAX_LENGTHS.items()},
    }
)
"""Column -> its longest text in JSON; the other columns are numbers."""


def largest_record() -> tuple[bytes, bytes]:
    """Return key and value of the largest record that Debezium can write for a row."""
    longest_name = _SIX_BYTES_IN_JSON * _NAME_BYTES
    source = {
        "version": "100.100.100.Final",
        "connector": "postgresql",
        "name": TOPIC_PREFIX,
        "ts_ms": _NUMBER,
        "snapshot": "first_in_data_collection",
        "db": longest_name,
        "sequence": f'["{_NUMBER}","{_NUMBER}"]',
        "ts_us": _NUMBER,
        "ts_ns": _NUMBER,
        "schema": longest_name,
        "table": longest_name,
        "txId": _NUMBER,
        "lsn": _NUMBER,
        "xmin": _NUMBER,
        "origin": _SIX_BYTES_IN_JSON * _ORIGIN_BYTES,
        "origin_lsn": _NUMBER,
    }
    value = {
        "before": None,
        "after": {name: _LARGEST_VALUES.get(name, _NUMBER) for name in COLUMNS},
        "source": source,
        "transaction": None,
        "op": "c",
        "ts_ms": _NUMBER,
        "ts_us": _NUMBER,
        "ts_ns": _NUMBER,
    }
    return msgspec.json.encode({"payment_id": _UUID}), msgspec.json.encode(value)


LARGEST_RECORD_BYTES = sum(map(len, largest_record())) + _BATCH_BYTES
"""With a lower limit on the way into the topic, a row can stop the pipeline for good."""
