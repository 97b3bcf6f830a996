"""What cannot be folded is parked whole, in table and topic, and its neighbours go on."""

from typing import Any

import pytest

from tests.envelopes import message, some_events
from tests.integration.views.poison import KEY, POISON
from tests.integration.views.support import Pipeline

pytestmark = pytest.mark.integration


def test_poison_of_every_kind_is_parked_while_its_neighbours_flow(pipeline: Pipeline) -> None:
    worker = pipeline.start_worker()
    worker.wait_ready()
    pipeline.send_poisoned(some_events(seed=20, count=len(POISON) * 20))
    pipeline.assert_views_are_right()

    rows = pipeline.query(
        "SELECT partition, kafka_offset, reason, is_null, hex(raw_key), hex(raw_value), error,"
        " consumer FROM dead_letters"
    )
    parked = {(each.key or b"", each.value): each.reason for each in POISON}
    assert len(parked) == len(POISON)
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


@pytest.mark.parametrize(
    "raised", [{"flood_records_min": 1_000}, {"flood_share_max": 1.0}], ids=str
)
def test_a_flood_of_bad_records_stops_the_worker_instead(
    pipeline: Pipeline, raised: dict[str, Any]
) -> None:
    events = some_events(seed=22, count=300)
    pipeline.producer.send_raw((KEY, b"{}") for _ in range(500))
    pipeline.send(events)
    worker = pipeline.start_worker()
    assert worker.wait_ended() == 1
    [line] = [line for line in worker.output().splitlines() if "exiting, nothing was" in line]
    assert "records cannot be folded, so they are not parked; look at what changed" in line
    assert "Traceback" not in worker.output()
    partition = int(line.split(f"({pipeline.name} partition ")[1].split()[0])
    assert_what_is_acknowledged_is_parked(pipeline, partition)
    # As it was, it stops again at the same records: nobody has parked them meanwhile.
    assert pipeline.count("dead_letters") < 500
    again = pipeline.start_worker()
    assert again.wait_ended() == 1
    assert_what_is_acknowledged_is_parked(pipeline, partition)
    assert pipeline.count("dead_letters") < 500
    pipeline.workers.clear()
    # Who has looked and wants them parked says so.
    pipeline.start_worker(**raised)
    pipeline.assert_views_are_right()
    assert pipeline.count("dead_letters") == 500


def assert_what_is_acknowledged_is_parked(pipeline: Pipeline, partition: int) -> None:
    """The flood begins at the partition's first record."""
    committed = pipeline.committed().get(partition, 0)
    [(there,)] = pipeline.query(
        f"SELECT count() FROM dead_letters WHERE kafka_offset < {committed}"
    )
    assert there == min(committed, 500)


def test_a_few_bad_records_among_many_are_no_flood(pipeline: Pipeline) -> None:
    events = some_events(seed=24, count=600)
    # A bad one after every fourth, with the same key: whichever partition comes first has few.
    good = [message(event) for event in events]
    pipeline.producer.send_raw(
        one
        for number, (key, value) in enumerate(good)
        for one in [(key, value), (key, b"{}")][: 2 if number % 4 == 3 else 1]
    )
    pipeline.sent += events
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    assert pipeline.count("dead_letters") == 150


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
    partitions = pipeline.query("SELECT partition, kafka_offset FROM dead_letters")
    assert pipeline.committed().get(partitions[0][0], 0) <= partitions[0][1]
    pipeline.workers.remove(worker)
    pipeline.set_topic_config({"max.message.bytes": "1000000"}, pipeline.dead_letters_topic)
    pipeline.start_worker()
    pipeline.assert_views_are_right()
    assert len(pipeline.dead_letter_messages(1)) == 1
