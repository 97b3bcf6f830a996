"""Debezium's change event for a row of `payments`, as the connector writes it to Kafka.

JSON without schemas, key = `{"payment_id": "…"}`, times as ISO strings, jsonb as a JSON string.
Unknown fields are ignored, so that a new column of the table breaks nothing.
"""

from typing import Annotated, Literal

import msgspec

from schemas.events import Event, WireEvent

CommitMilliseconds = Annotated[int, msgspec.Meta(ge=0, le=5_662_310_399_999)]  # to 2149-06-06
TransactionId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
LogPosition = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Source(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The origin of the change.

    `tx_id` is PostgreSQL's 32-bit transaction id (that of the top-level transaction, also for rows
    of savepoints). `lsn` goes backwards between interleaved transactions and gives no order.
    `ts_ms` is the commit time in milliseconds since 1970.
    """

    ts_ms: CommitMilliseconds
    tx_id: TransactionId | None = msgspec.field(name="txId", default=None)
    lsn: LogPosition | None = None


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One change: op `c` is an insert, `r` a row of the initial snapshot; `payments` has no other.

    `after` is the row. It is null only for a delete, which the table refuses.
    """

    op: str
    source: Source
    after: Event | None = None


class WireEnvelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An `Envelope` with a row, whose event is in wire form."""

    after: WireEvent
    source: Source
    op: Literal["c", "r"]
