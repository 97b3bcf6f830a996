"""The trickle's records, and what ClickHouse's Kafka Connect sink is configured with."""

from uuid import UUID

import msgspec

from bench.peers.clickhouse_sink import FORMS, connector_of
from bench.peers.topic import records
from bench.peers.trickle import prepare
from schemas.envelope import WireEnvelope
from sinks.settings import ClickHouseSettings

SENT_AT = 1_800_000_000.123


def test_a_record_of_the_trickle_differs_only_in_its_commit_time() -> None:
    for key, value, _ in records(50, seed=1):
        before = msgspec.json.decode(value, type=WireEnvelope)
        prepared = prepare(key, value)
        after = msgspec.json.decode(prepared.value(SENT_AT), type=WireEnvelope)
        assert after.source.ts_ms == 1_800_000_000_123
        assert (prepared.payment_id, prepared.seq) == (
            UUID(before.after.payment_id),
            before.after.seq,
        )
        again = prepared.value(before.source.ts_ms / 1000)
        assert again == value


def test_a_connector_holds_no_password_and_is_tuned() -> None:
    address = ClickHouseSettings.load("http://someone:secret@127.0.0.1:8123/views").address()
    for form in FORMS:
        connector = connector_of(form, "bench.topic", address)
        assert "secret" not in str(connector)
        assert connector["consumer.override.max.poll.records"] == "20000"
        assert connector["ignorePartitionsWhenBatching"] == "true"
        assert connector["topic2TableMap"] == f"bench.topic={form.table}"
