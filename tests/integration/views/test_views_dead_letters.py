"""What cannot be folded is parked whole, in table and topic, and its neighbours go on."""

import json
from typing import Any

import msgspec
import pytest

from schemas.lifecycle import EventType
from tests.envelopes import message, some_events
from tests.events import PAYMENT_ID, envelope, key_of, pay_in
from tests.integration.views.support import Pipeline

pytestmark = pytest.mark.integration

EVENT = pay_in(EventType.CAPTURED, amount_minor=1_000, order_amount_minor=1_000)
KEY = key_of(PAYMENT_ID)


def changed(**columns: Any) -> bytes:
    """The envelope of an event with some columns changed."""
    whole = envelope(EVENT)
    whole["after"] |= columns
    return msgspec.json.encode(whole)


def without(column: str) -> bytes:
    """The envelope of an event without a column."""
    whole = envelope(EVENT)
    del whole["after"][column]
    return msgspec.json.encode(whole)


POISON: list[tuple[str, bytes | None, bytes | None, str]] = [
    ("no value", KEY, None, "null_record"),
    ("empty value", KEY, b"", "malformed_record"),
    ("not JSON", KEY, b"\x00\xff\xfenot json", "malformed_record"),
    ("JSON, but a number", KEY, b"17", "malformed_record"),
    ("nested too deep", KEY, b"[" * 100_000, "malformed_record"),
    ("no row", KEY, msgspec.json.encode(envelope(EVENT, after=None)), "malformed_record"),
    ("a column missing", KEY, without("seller_id"), "malformed_record"),
    ("a fraction of a cent", KEY, changed(amount_minor=10.5), "malformed_record"),
    ("an amount as text", KEY, changed(amount_minor="1000"), "malformed_record"),
    ("a negative amount", KEY, changed(amount_minor=-1), "malformed_record"),
    ("2^63", KEY, changed(captured_minor=2**63), "malformed_record"),
    ("a time without zone", KEY, changed(occurred_at="2026-01-05T12:00:00"), "malformed_record"),
    ("an unknown event", KEY, changed(event_type="teleported"), "unknown_event_type"),
    ("newer than this code", KEY, changed(schema_version=99), "newer_schema_version"),
    ("a delete", KEY, msgspec.json.encode(envelope(EVENT, op="d")), "unexpected_change"),
    ("the key of another payment", b'{"payment_id": "x"}', changed(), "key_mismatch"),
    ("no key", None, changed(), "key_mismatch"),
    ("shares above the amount", KEY, changed(commission_minor=2_000), "broken_invariant"),
]


def test_poison_of_every_kind_is_parked_while_its_neighbours_flow(pipeline: Pipeline) -> None:
    events = some_events(seed=20, count=len(POISON) * 20)
    worker = pipeline.start_worker()
    worker.wait_ready()
    messages: list[tuple[bytes | None, bytes | None]] = []
    for number, (_, key, value, _) in enumerate(POISON):
        messages += [message(event) for event in events[number * 20 : number * 20 + 20]]
        messages.append((key, value))
    pipeline.producer.send_raw(messages)
    pipeline.sent += events
    pipeline.assert_views_are_right()

    rows = pipeline.query(
        "SELECT partition, kafka_offset, reason, is_null, hex(raw_key), hex(raw_value), error,"
        " consumer FROM dead_letters_v"
    )
    parked = {
        (b"" if key is None else key, None if value is None else value): reason
        for _, key, value, reason in POISON
    }
    found = {
        (bytes.fromhex(row[4]), None if row[3] else bytes.fromhex(row[5])): row[2] for row in rows
    }
    assert found == parked
    assert len(rows) == len(POISON)
    assert all(row[6] and row[7] == pipeline.name for row in rows)

    sent = pipeline.dead_letter_messages(len(POISON))
    places = {f"{pipeline.name}/{row[0]}/{row[1]}".encode(): row for row in rows}
    for one in sent:
        row = places.pop(one.key() or b"")
        headers = dict(one.headers() or [])
        assert headers["reason"].decode() == row[2]
        assert headers["error"].decode() == row[6]
        assert headers["source_topic"].decode() == pipeline.name
        assert headers["source_partition"] == str(row[0]).encode()
        assert headers["source_offset"] == str(row[1]).encode()
        assert (one.value() is None) == bool(row[3])
        assert (one.value() or b"") == bytes.fromhex(row[5])
    assert not places
    assert worker.metric("purser_views_dead_letters_total") == len(POISON)
    assert worker.health()[0] == 200


def test_a_record_of_ten_megabytes_is_parked_whole(pipeline: Pipeline) -> None:
    configs = {"max.message.bytes": str(16 * 1024 * 1024)}
    pipeline.set_topic_config(configs)
    large = json.dumps({"op": "c", "padding": "x" * 10_000_000}).encode()
    events = some_events(seed=21, count=200)
    pipeline.producer.send_raw([*(message(e) for e in events), (KEY, large)])
    pipeline.sent += events
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    assert pipeline.query("SELECT length(raw_value) FROM dead_letters_v") == [(len(large),)]
    assert [one.value() for one in pipeline.dead_letter_messages(1)] == [large]


def test_a_flood_of_bad_records_stops_the_worker_instead(pipeline: Pipeline) -> None:
    events = some_events(seed=22, count=300)
    pipeline.producer.send_raw((KEY, b"{}") for _ in range(500))
    pipeline.send(events)
    worker = pipeline.start_worker()
    assert worker.wait_ended() == 1
    assert "records cannot be folded, so they are not parked" in worker.output()
    assert "Traceback" not in worker.output()
    committed = pipeline.committed()
    assert sum(committed.values()) < 500 + 100
    pipeline.workers.remove(worker)
    # Who has looked and wants them parked says so.
    pipeline.start_worker(flood_records_min=1_000)
    pipeline.assert_views_are_right()
    assert pipeline.count("dead_letters") == 500


def test_dead_letters_wait_for_their_topic_before_anything_is_acknowledged(
    pipeline: Pipeline,
) -> None:
    events = some_events(seed=23, count=300)
    pipeline.producer.send_raw([*(message(e) for e in events), (KEY, b"{}")])
    pipeline.sent += events
    # The topic refuses messages of more than a byte, so nothing can be parked there.
    pipeline.create_dead_letters_topic({"max.message.bytes": "1"})
    worker = pipeline.start_worker()
    assert worker.wait_ended() == 1
    assert f"Kafka topic {pipeline.dead_letters_topic}" in worker.output()
    partitions = pipeline.query("SELECT partition, kafka_offset FROM dead_letters_v")
    assert pipeline.committed().get(partitions[0][0], 0) <= partitions[0][1]
    pipeline.workers.remove(worker)
    pipeline.set_topic_config({"max.message.bytes": "1000000"}, pipeline.dead_letters_topic)
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    assert len(pipeline.dead_letter_messages(1)) == 1
