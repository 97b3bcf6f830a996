"""The tables that ClickHouse's Kafka Connect sink writes to, and the views that unwrap its records.

The sink writes a record as it is, and the event is inside the record. So it writes to a table that
keeps nothing (`Null`), and a materialized view makes rows of `payment_events` of what arrives:

    objects  JSON objects, parsed by the table's own columns
    texts    the record's text, unwrapped with ClickHouse's JSON functions
"""

import re
from collections.abc import Mapping

from schemas.events import WireEvent
from schemas.views import PAYMENT_EVENTS

OBJECTS = "landed_objects"
TEXTS = "landed_texts"

_SOURCE = "Tuple(ts_ms Int64, txId UInt32, lsn UInt64)"
_MOMENT = "DateTime64"
_COMMON = (
    "source.txId AS txid",
    "source.lsn AS lsn",
    "op",
    "fromUnixTimestamp64Milli(source.ts_ms, 'UTC') AS committed_at",
)


def statements(types: Mapping[str, str]) -> tuple[str, ...]:
    """The statements that create both; `types` are those of the columns of `payment_events`."""
    of_event = {name: _plain(types[name]) for name in WireEvent.__struct_fields__}
    return (*_objects(of_event), *_texts(of_event))


def _objects(types: Mapping[str, str]) -> tuple[str, str]:
    after = _tuple(types)
    place = ("kafka_partition", "kafka_offset")
    columns = [f"after.{name} AS {name}" for name in types]
    return (
        f"CREATE TABLE {OBJECTS} (after {after}, source {_SOURCE}, op String,"
        " kafka_partition UInt32, kafka_offset UInt64) ENGINE = Null",
        _view(OBJECTS, [*columns, *place, *_COMMON], OBJECTS),
    )


def _texts(types: Mapping[str, str]) -> tuple[str, str]:
    """A text has no partition and no offset: these columns keep their defaults."""
    texts = {name: "String" if form.startswith(_MOMENT) else form for name, form in types.items()}
    record = f"Tuple(after {_tuple(texts)}, source {_SOURCE}, op String)"
    columns = [
        f"parseDateTime64BestEffort(after.{name}, 6, 'UTC') AS {name}"
        if form.startswith(_MOMENT)
        else f"after.{name} AS {name}"
        for name, form in types.items()
    ]
    unwrapped = (
        f"(SELECT JSONExtract(record, '{record}') AS fields,"
        f" fields.1 AS after, fields.2 AS source, fields.3 AS op FROM {TEXTS})"
    )
    return (
        f"CREATE TABLE {TEXTS} (record String) ENGINE = Null",
        _view(TEXTS, [*columns, *_COMMON], unwrapped),
    )


def _view(name: str, columns: list[str], source: str) -> str:
    return (
        f"CREATE MATERIALIZED VIEW {name}_unwrapped TO {PAYMENT_EVENTS.raw}"
        f" AS SELECT {', '.join(columns)} FROM {source}"
    )


def _tuple(types: Mapping[str, str]) -> str:
    return f"Tuple({', '.join(f'{name} {form}' for name, form in types.items())})"


def _plain(form: str) -> str:
    """The type without its dictionary, which the table makes itself."""
    return re.sub(r"LowCardinality\((\w+)\)", r"\1", form)
