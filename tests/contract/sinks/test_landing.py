"""What ClickHouse's Kafka Connect sink writes becomes the rows that Purser's own fold makes."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from bench.peers.clickhouse_sink import FORMS, Form
from bench.peers.landing import OBJECTS, TEXTS, statements
from bench.peers.topic import records
from schemas.views import PAYMENT_EVENTS
from sinks.clickhouse import ClickHouseSink
from sinks.client import connect
from sinks.settings import ClickHouseSettings
from streams.decode import Record
from streams.fold import fold_batch

pytestmark = pytest.mark.integration

COUNT = 500
PLACE = ("kafka_partition", "kafka_offset")


def sent_by_the_sink(form: Form, value: bytes, offset: int) -> bytes:
    if form.table == TEXTS:
        return value + b"\n"
    fields = msgspec.json.decode(value)
    return msgspec.json.encode({**fields, "kafka_partition": 0, "kafka_offset": offset}) + b"\n"


def settings_of(form: Form) -> Mapping[str, str]:
    return dict(pair.split("=") for pair in form.settings["clickhouseSettings"].split(","))


def rows_of(client: Any, form: Form) -> list[tuple[Any, ...]]:
    left_out = f"EXCEPT ({', '.join(PLACE)})" if form.table == TEXTS else ""
    rows: list[tuple[Any, ...]] = client.query(
        f"SELECT * {left_out} FROM {PAYMENT_EVENTS.raw} ORDER BY payment_id, seq"
    ).result_rows
    return rows


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.table)
def test_rows_are_those_of_the_fold(clickhouse_url: str, form: Form) -> None:
    sent = [(key, value) for key, value, _ in records(COUNT, seed=7)]
    values = [value for _, value in sent]
    settings = ClickHouseSettings.load(clickhouse_url)
    with connect(settings) as client:
        described = client.query(f"DESCRIBE TABLE {PAYMENT_EVENTS.raw}").result_rows
        for statement in statements({row[0]: row[1] for row in described}):
            client.command(statement)
        folded = fold_batch(
            [
                Record(topic="t", partition=0, offset=at, timestamp=0, key=key, value=value)
                for at, (key, value) in enumerate(sent)
            ],
            consumer="test",
            parked_at=datetime.now(UTC),
            tables=(PAYMENT_EVENTS,),
        )
        assert not folded.dead_letters
        ClickHouseSink(settings).write({PAYMENT_EVENTS: folded.columns[PAYMENT_EVENTS]})
        expected = rows_of(client, form)
        assert len(expected) == COUNT
        client.command(f"TRUNCATE TABLE {PAYMENT_EVENTS.raw}")
        client.raw_insert(
            form.table,
            insert_block=b"".join(
                sent_by_the_sink(form, value, at) for at, value in enumerate(values)
            ),
            fmt="JSONEachRow" if form.table == OBJECTS else form.settings["insertFormat"],
            settings=settings_of(form),
        )
        assert rows_of(client, form) == expected
