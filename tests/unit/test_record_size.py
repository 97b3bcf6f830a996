"""The largest row of `payments` passes every limit between PostgreSQL and ClickHouse."""

import json
from datetime import UTC, datetime

import pytest

from connectors.debezium.config import connector_config
from connectors.debezium.settings import DebeziumSettings
from operations.replay.settings import ReplaySettings
from schemas.details import MAX_DETAILS_BYTES
from schemas.errors import ConfigurationError, Rejection
from schemas.events import COLUMNS
from schemas.ids import MAX_ID_LENGTH, MAX_IDEMPOTENCY_KEY_LENGTH
from schemas.record_size import (
    DEAD_LETTER_BYTES_MOST,
    LARGEST_RECORD_BYTES,
    MESSAGE_BYTES_MOST,
    largest_record,
)
from stack.kafka import CONFIGURATION
from streams.fold import fold_batch
from streams.settings import StreamSettings
from streams.transport.limits import TransportLimits
from streams.views.parking import dead_letter_headers, dead_letter_key
from tests.builders import a_payment, change, rows_of, state_after
from tests.events import raw_record
from writer import commands as c
from writer.decide import decide

CONFIG = connector_config(DebeziumSettings())
BROKER_DEFAULTS = {"socket.request.max.bytes": 100 * 1024**2}
"""Kafka's own, where we set nothing (https://kafka.apache.org/documentation/#brokerconfigs)."""
PRODUCER_MEMORY_BYTES = 32 * 1024**2
"""`buffer.memory` of Kafka's producer by default."""
STREAM = StreamSettings()
HEADER_BYTES = 8 * 1024
NUMBERS = {"seq", "schema_version"}


def broker(name: str) -> int:
    lines = (line.partition("=") for line in CONFIGURATION.splitlines())
    values = {key: value for key, _, value in lines}
    value = values.get(name, str(BROKER_DEFAULTS.get(name)))
    return int(value.format(message_bytes=MESSAGE_BYTES_MOST))


LIMITS = {
    "producer, one request": int(CONFIG["producer.override.max.request.size"]),
    "producer, memory": PRODUCER_MEMORY_BYTES,
    "topic": int(CONFIG["topic.creation.default.max.message.bytes"]),
    "broker, message": broker("message.max.bytes"),
    "broker, copy to another broker": broker("replica.fetch.max.bytes"),
    "broker, request": broker("socket.request.max.bytes"),
    "worker, partition of a fetch": STREAM.fetch_partition_bytes_max,
    "worker, fetch": STREAM.fetch_response_bytes_max,
    "worker, transport": TransportLimits().fetch_response_bytes_max,
    "worker, memory": STREAM.in_flight_bytes_max,
    "replay, partition of a fetch": ReplaySettings.model_fields["replay_fetch_bytes_max"].default,
    "dead letters, topic and producer": DEAD_LETTER_BYTES_MOST - HEADER_BYTES,
}


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_the_largest_record_is_far_below_each_limit(limit: int) -> None:
    assert limit > LARGEST_RECORD_BYTES * 8


def test_the_largest_record_has_every_column_at_its_largest() -> None:
    key, value = largest_record()
    assert json.loads(key).keys() == {"payment_id"}
    after = json.loads(value)["after"]
    assert tuple(after) == COLUMNS
    # Whoever adds a column of text has to say how long it is.
    numbers = {name for name in COLUMNS if name.endswith("_minor")} | {"seq", "schema_version"}
    assert {name for name, largest in after.items() if isinstance(largest, int)} == numbers
    assert len(after["order_id"]) == MAX_ID_LENGTH
    assert len(after["idempotency_key"]) == MAX_IDEMPOTENCY_KEY_LENGTH
    assert len(after["details"]) == MAX_DETAILS_BYTES
    assert len(json.dumps(after["details"])) > 2 * MAX_DETAILS_BYTES
    assert len(key) + len(value) < LARGEST_RECORD_BYTES < len(key) + len(value) + 1_000


@pytest.mark.parametrize("character", [chr(code) for code in range(0x20, 0x80)] + ["é", "€", "😀"])
def test_no_character_of_jsonb_takes_more_than_twice_its_bytes_in_json(character: str) -> None:
    written = json.dumps(character, ensure_ascii=False).encode()
    assert len(written) - 2 <= 2 * len(character.encode())


def test_a_limit_below_the_largest_record_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of the producer and the topic. Kafka sends a consumer a larger record all the same."""
    variable = "PURSER_DEBEZIUM_RECORD_BYTES_MOST"
    monkeypatch.setenv(variable, str(LARGEST_RECORD_BYTES - 1))
    with pytest.raises(ConfigurationError, match=f"^{variable}: .*{LARGEST_RECORD_BYTES}"):
        DebeziumSettings.load()
    monkeypatch.setenv(variable, str(LARGEST_RECORD_BYTES))
    config = connector_config(DebeziumSettings.load())
    assert config["producer.override.max.request.size"] == str(LARGEST_RECORD_BYTES)


def test_a_dead_letter_of_the_largest_record_fits_its_topic() -> None:
    key, value = largest_record()
    folded = fold_batch(
        [raw_record(value, key=key)], consumer="c" * 200, parked_at=datetime.now(UTC)
    )
    [letter] = folded.dead_letters  # its values are as long as can be, and mean nothing
    headers = sum(len(name) + len(text) for name, text in dead_letter_headers(letter))
    assert headers + len(dead_letter_key(letter)) < HEADER_BYTES
    assert letter.raw_value == value


def test_the_writer_refuses_a_long_reason_by_its_field() -> None:
    payment = a_payment()
    state = state_after([payment])
    refused = decide(state, change(c.Fail, payment.payment_id, reason="x" * MAX_DETAILS_BYTES))
    assert isinstance(refused, Rejection)
    assert refused.field == "reason"
    assert "at most 128" in refused.problem


def test_the_longest_details_that_the_writer_makes_are_far_below_the_guards_limit() -> None:
    payment = a_payment()
    longest = "!" * MAX_ID_LENGTH
    rows = rows_of(
        state_after([payment, change(c.Capture, payment.payment_id)]),
        change(c.OpenDispute, payment.payment_id, reason=longest, amount_minor=1),
    )
    assert all(len(row.details) * 8 < MAX_DETAILS_BYTES for row in rows)
