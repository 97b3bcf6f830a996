"""Transactions left open: by Kafka, made by taking back what was written of their markers.

A broker that is killed at the wrong moment ends as here: the coordinators' log knows that a
transaction is complete, the partition does not.
"""

import os
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.admin import KafkaAdminClient, TransactionState, UpdateFeatureType

from connectors.debezium.hanging_transactions import HangingTransactionRepair
from connectors.debezium.orphaned_transactions import OrphanedTransactionRepair
from connectors.debezium.transaction_version import (
    CHECK_SECONDS,
    FEATURE,
    TransactionVersionCheck,
    check_transaction_version,
    lower_transaction_version,
)
from schemas.errors import ConfigurationError
from stack.native import Stack
from tests.waiting import throughout, wait_until
from tests.whole_stack import empty_stack

pytestmark = pytest.mark.integration

KAFKA = "kafka"
COMMITTED, ABORTED, UNDECIDED, LIVE = TOPICS = ("committed", "aborted", "undecided", "live")
ANSWER_SECONDS = 30.0
STILL_SECONDS = 2.0


@pytest.fixture
def kafka() -> Iterator[Stack]:
    """A stack of Kafka only, with the topics of these tests, one partition each."""
    with empty_stack() as stack:
        stack.up((KAFKA,))
        admin = AdminClient({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
        made = admin.create_topics([NewTopic(topic, num_partitions=1) for topic in TOPICS])
        for future in made.values():
            future.result(ANSWER_SECONDS)
        yield stack


def begin(stack: Stack, topic: str) -> Producer:
    """A transaction with a record in a topic, left open."""
    producer = Producer(
        {"bootstrap.servers": stack.endpoints.kafka_bootstrap, "transactional.id": topic}
    )
    producer.init_transactions(ANSWER_SECONDS)
    producer.begin_transaction()
    producer.produce(topic, b"first")
    assert producer.flush(ANSWER_SECONDS) == 0
    return producer


def wait_complete(stack: Stack, *transactional_ids: str) -> None:
    """Wait for what Kafka does after it has answered: markers, and a note that they are written."""
    complete = {TransactionState.COMPLETE_COMMIT, TransactionState.COMPLETE_ABORT}
    admin = KafkaAdminClient(bootstrap_servers=stack.endpoints.kafka_bootstrap)

    def states() -> set[TransactionState]:
        return {each.state for each in admin.describe_transactions(transactional_ids).values()}

    with closing(admin):
        wait_until(lambda: states() <= complete, "transactions are complete", seen=states)


def folders(stack: Stack, name: str) -> list[Path]:
    """Where the broker keeps the partitions of a topic."""
    return sorted((stack.settings.home / "kafka" / "data").glob(f"{name}-[0-9]*"))


def keep(stack: Stack, copies: Path, *names: str) -> None:
    """Copy partitions as they are now, while the broker does nothing."""
    pid = stack.pid(KAFKA)
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        for name in names:
            for folder in folders(stack, name):
                shutil.copytree(folder, copies / folder.name)
    finally:
        os.kill(pid, signal.SIGCONT)


def take_back(stack: Stack, copies: Path) -> None:
    """Let the broker start from the copies, as after a crash."""
    stack.stop(KAFKA)
    data = stack.settings.home / "kafka" / "data"
    (data / ".kafka_cleanshutdown").unlink()
    for copy in copies.iterdir():
        shutil.rmtree(data / copy.name)
        shutil.copytree(copy, data / copy.name)
    stack.start(KAFKA)
    stack.wait_ready(KAFKA)


def read_committed(stack: Stack, topic: str, count: int, seconds: float) -> list[bytes | None]:
    """Values that a read-committed reader gets, until there are so many or time is up."""
    consumer = Consumer(
        {
            "bootstrap.servers": stack.endpoints.kafka_bootstrap,
            "group.id": "reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
        }
    )
    values: list[bytes | None] = []
    with closing(consumer):
        consumer.assign([TopicPartition(topic, 0, 0)])
        for _ in throughout(seconds, poll_seconds=0.0):
            message = consumer.poll(0.5)
            if message is not None and message.error() is None:
                values.append(message.value())
            if len(values) >= count:
                break
    return values


def produce_plainly(stack: Stack, topic: str) -> None:
    """A record without a transaction, behind whatever hangs."""
    producer = Producer({"bootstrap.servers": stack.endpoints.kafka_bootstrap})
    producer.produce(topic, b"second")
    assert producer.flush(ANSWER_SECONDS) == 0


def test_hanging_transactions_end_as_was_decided_and_others_are_left_alone(
    kafka: Stack, tmp_path: Path
) -> None:
    committing, aborting = begin(kafka, COMMITTED), begin(kafka, ABORTED)
    keep(kafka, tmp_path, COMMITTED, ABORTED)
    committing.commit_transaction(ANSWER_SECONDS)
    aborting.abort_transaction(ANSWER_SECONDS)
    wait_complete(kafka, COMMITTED, ABORTED)
    keep(kafka, tmp_path, "__transaction_state")
    begin(kafka, UNDECIDED)
    take_back(kafka, tmp_path)

    live = begin(kafka, LIVE)
    for topic in (COMMITTED, ABORTED, UNDECIDED):
        produce_plainly(kafka, topic)
        assert read_committed(kafka, topic, 1, STILL_SECONDS) == []

    repair = HangingTransactionRepair(kafka.endpoints.kafka_bootstrap)
    repair.look(0.0)
    assert repair.ended == 2
    assert f"hangs in {UNDECIDED}-0 from offset 0" in " ".join(repair.reasons)

    assert read_committed(kafka, COMMITTED, 2, ANSWER_SECONDS) == [b"first", b"second"]
    assert read_committed(kafka, ABORTED, 1, ANSWER_SECONDS) == [b"second"]
    assert read_committed(kafka, UNDECIDED, 1, STILL_SECONDS) == []
    live.commit_transaction(ANSWER_SECONDS)
    assert read_committed(kafka, LIVE, 1, ANSWER_SECONDS) == [b"first"]

    repair.look(1.0)
    assert repair.ended == 2
    assert UNDECIDED in " ".join(repair.reasons)


def test_what_a_killed_connect_left_open_is_ended_once_it_is_gone(kafka: Stack) -> None:
    bootstrap = kafka.endpoints.kafka_bootstrap
    with socket.create_server(("127.0.0.1", 0)) as connect:
        repair = OrphanedTransactionRepair(
            f"http://127.0.0.1:{connect.getsockname()[1]}", bootstrap, transactional_id=LIVE
        )
        begin(kafka, LIVE).commit_transaction(ANSWER_SECONDS)
        orphan = begin(kafka, LIVE)
        produce_plainly(kafka, LIVE)
        repair.look(0.0)
        assert repair.ended == 0
        assert read_committed(kafka, LIVE, 1, ANSWER_SECONDS) == [b"first"]
        assert b"second" not in read_committed(kafka, LIVE, 2, STILL_SECONDS)

    repair.look(1.0)
    assert repair.reasons == ()
    assert read_committed(kafka, LIVE, 2, ANSWER_SECONDS) == [b"first", b"second"]
    with pytest.raises(KafkaException):
        orphan.commit_transaction(ANSWER_SECONDS)

    successor = begin(kafka, LIVE)
    repair.look(2.0)  # nothing listens yet, and the successor is left alone
    successor.commit_transaction(ANSWER_SECONDS)
    assert repair.ended == 1


def look_until_well(repair: HangingTransactionRepair | TransactionVersionCheck) -> None:
    """For moments after its start a broker does not lead its partitions."""

    def is_well() -> bool:
        repair.look(time.monotonic())
        return not repair.reasons

    wait_until(is_well, "nothing hangs", seen=lambda: repair.reasons)


def test_a_broker_that_is_away_is_told_and_found_again(kafka: Stack) -> None:
    bootstrap = kafka.endpoints.kafka_bootstrap
    repair = HangingTransactionRepair(bootstrap)
    look_until_well(repair)
    kafka.stop(KAFKA)
    repair.look(time.monotonic())
    assert f"Kafka at {bootstrap} cannot be asked" in " ".join(repair.reasons)
    kafka.start(KAFKA)
    kafka.wait_ready(KAFKA)
    look_until_well(repair)


def set_transaction_version(bootstrap: str, version: int) -> None:
    """What an upgrade of Kafka does, or an administrator."""
    kind = UpdateFeatureType.UPGRADE if version == 2 else UpdateFeatureType.SAFE_DOWNGRADE
    with closing(KafkaAdminClient(bootstrap_servers=bootstrap)) as admin:
        assert admin.update_features({FEATURE: (kind, version)}) == {FEATURE: "OK"}


def test_the_version_of_transactions_is_lowered_once(kafka: Stack) -> None:
    bootstrap = kafka.endpoints.kafka_bootstrap
    assert lower_transaction_version(bootstrap) is False, "formatted with version 1"
    check_transaction_version(bootstrap)
    set_transaction_version(bootstrap, 2)
    with pytest.raises(ConfigurationError, match="is 2, so Connect may stop for ever"):
        check_transaction_version(bootstrap)
    assert lower_transaction_version(bootstrap) is True
    check_transaction_version(bootstrap)
    assert lower_transaction_version(bootstrap) is False


def test_a_version_that_was_raised_is_reported(kafka: Stack) -> None:
    bootstrap = kafka.endpoints.kafka_bootstrap
    check = TransactionVersionCheck(bootstrap)
    assert check.reasons, "healthy before the first check"
    look_until_well(check)
    set_transaction_version(bootstrap, 2)
    check.look(time.monotonic())
    assert not check.reasons, "asked again immediately"
    check.look(time.monotonic() + CHECK_SECONDS + 1)
    assert f"{FEATURE} is 2, so Connect may stop for ever" in " ".join(check.reasons)
    set_transaction_version(bootstrap, 1)
    check.look(time.monotonic() + CHECK_SECONDS + 2)
    assert not check.reasons, "a problem is looked at again at once"
    kafka.stop(KAFKA)
    check.look(time.monotonic() + 3 * CHECK_SECONDS)
    assert f"Kafka at {bootstrap} does not tell its {FEATURE}" in " ".join(check.reasons)
