"""What the transport relies on in Faust and aiokafka: an upgrade that changes it is noticed here.

The transport overrides and calls things that those two libraries do not promise. When one of these
tests fails after an upgrade: read what changed there, make the transport fit, and only then put
the new fingerprint here.
"""

import hashlib
import inspect
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiokafka
import faust
import pytest
from aiokafka.consumer import fetcher, group_coordinator, subscription_state
from faust.app import base as faust_app
from faust.tables import recovery
from faust.transport import conductor
from faust.transport import consumer as stock_consumer
from faust.transport.drivers import aiokafka as driver
from faust.types import tuples
from mode import threads

from schemas.errors import ConfigurationError
from streams.app import make_app
from streams.settings import StreamSettings
from streams.transport import BatchConsumer, BatchTransport, TransportLimits
from streams.transport.thread import BatchConsumerThread, refuse_unfit_app

OVERRIDDEN = [
    (stock_consumer.Consumer, BatchConsumer, "_drain_messages"),
    (stock_consumer.Consumer, BatchConsumer, "getmany"),
    (stock_consumer.Consumer, BatchConsumer, "ack"),
    (stock_consumer.Consumer, BatchConsumer, "_filter_tps_with_pending_acks"),
    (stock_consumer.Consumer, BatchConsumer, "_new_offset"),
    (stock_consumer.Consumer, BatchConsumer, "_should_commit"),
    (stock_consumer.Consumer, BatchConsumer, "_commit_offsets"),
    (stock_consumer.Consumer, BatchConsumer, "perform_seek"),
    (stock_consumer.Consumer, BatchConsumer, "seek"),
    (stock_consumer.Consumer, BatchConsumer, "on_stop"),
    (stock_consumer.Consumer, BatchConsumer, "on_partitions_revoked"),
    (stock_consumer.Consumer, BatchConsumer, "on_partitions_assigned"),
    (driver.Consumer, BatchConsumer, "_new_consumer_thread"),
    (driver.Consumer, BatchConsumer, "verify_event_path"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "__post_init__"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "_create_worker_consumer"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "on_thread_stop"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "_fetch_records"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "seek_to_committed"),
    (driver.AIOKafkaConsumerThread, BatchConsumerThread, "seek"),
    (driver.Transport, BatchTransport, "__init__"),
]

# Code whose behaviour, not only whose name, the transport's correctness rests on.
RELIED_UPON: dict[str, Any] = {
    "Consumer.commit": stock_consumer.Consumer.commit,
    "Consumer.maybe_wait_for_commit": stock_consumer.Consumer.maybe_wait_for_commit_to_finish,
    "Consumer.force_commit": stock_consumer.Consumer.force_commit,
    "Consumer._commit_tps": stock_consumer.Consumer._commit_tps,
    "Consumer._drain_messages": stock_consumer.Consumer._drain_messages,
    "Consumer.getmany": stock_consumer.Consumer.getmany,
    "Consumer.ack": stock_consumer.Consumer.ack,
    "Consumer.on_stop": stock_consumer.Consumer.on_stop,
    "Consumer.on_partitions_revoked": stock_consumer.Consumer.on_partitions_revoked,
    "Consumer.on_partitions_assigned": stock_consumer.Consumer.on_partitions_assigned,
    "Message.ack": tuples.Message.ack,
    "ConsumerMessage.on_final_ack": tuples.ConsumerMessage.on_final_ack,
    "Conductor._compile_message_handler": conductor.Conductor._compile_message_handler,
    "Stream._py_aiter": faust.Stream._py_aiter,
    "Stream._c_aiter": faust.Stream._c_aiter,
    "App._on_partitions_revoked": faust_app.App._on_partitions_revoked,
    "App._on_partitions_assigned": faust_app.App._on_partitions_assigned,
    "App._stop_consumer": faust_app.App._stop_consumer,
    "Recovery._resume_streams": recovery.Recovery._resume_streams,
    "ThreadDelegateConsumer.on_assigned": (
        stock_consumer.ThreadDelegateConsumer.threadsafe_partitions_assigned
    ),
    "AIOKafkaConsumerThread._create": driver.AIOKafkaConsumerThread._create_worker_consumer,
    "AIOKafkaConsumerThread.getmany": driver.AIOKafkaConsumerThread.getmany,
    "AIOKafkaConsumerThread.on_thread_stop": driver.AIOKafkaConsumerThread.on_thread_stop,
    "AIOKafkaConsumerThread._fetch_records": driver.AIOKafkaConsumerThread._fetch_records,
    "RebalanceListener": driver.ConsumerRebalanceListener,
    "MethodQueue": threads.MethodQueue,
    "Fetcher.fetched_records": fetcher.Fetcher.fetched_records,
    "Fetcher._fetch_requests_routine": fetcher.Fetcher._fetch_requests_routine,
    "Fetcher._get_actions_per_node": fetcher.Fetcher._get_actions_per_node,
    "Fetcher.seek_to": fetcher.Fetcher.seek_to,
    "Fetcher.request_offset_reset": fetcher.Fetcher.request_offset_reset,
    "FetchResult": fetcher.FetchResult,
    "PartitionRecords": fetcher.PartitionRecords,
    "AIOKafkaConsumer.seek_to_beginning": aiokafka.AIOKafkaConsumer.seek_to_beginning,
    "GroupCoordinator.fetch_committed_offsets": (
        group_coordinator.GroupCoordinator.fetch_committed_offsets
    ),
    "GroupCoordinator._do_commit_offsets": group_coordinator.GroupCoordinator._do_commit_offsets,
    "GroupCoordinator._maybe_leave_group": group_coordinator.GroupCoordinator._maybe_leave_group,
    "GroupCoordinator.close": group_coordinator.GroupCoordinator.close,
    "GroupCoordinator.commit_offsets": group_coordinator.GroupCoordinator.commit_offsets,
    "GroupCoordinator._on_join_complete": group_coordinator.GroupCoordinator._on_join_complete,
    "SubscriptionState.fetch_context": subscription_state.SubscriptionState.fetch_context,
    "TopicPartitionState": subscription_state.TopicPartitionState,
}

FINGERPRINTS: dict[str, str] = {
    "AIOKafkaConsumerThread.on_thread_stop": "8dfc004e258b",
    "GroupCoordinator._maybe_leave_group": "016cd88a16e6",
    "GroupCoordinator.close": "f30d83108945",
    "Consumer.commit": "a354437baaa0",
    "Consumer.maybe_wait_for_commit": "d687f63a0b5e",
    "Consumer.force_commit": "cc094614d22c",
    "Consumer._commit_tps": "a20e230b05ae",
    "Consumer._drain_messages": "44a2500309e8",
    "Consumer.getmany": "4b168d84882a",
    "Consumer.ack": "5fcf41cf4515",
    "Consumer.on_stop": "45b1d2210ce2",
    "Consumer.on_partitions_revoked": "d04b7ae72c6f",
    "Consumer.on_partitions_assigned": "29ce96596f05",
    "Message.ack": "4751b72c4ed8",
    "ConsumerMessage.on_final_ack": "45d670b6a8ac",
    "Conductor._compile_message_handler": "9fbc0538097a",
    "Stream._py_aiter": "3a48ee257a65",
    "Stream._c_aiter": "fa44582a5882",
    "App._on_partitions_revoked": "d5c895bbe57d",
    "App._on_partitions_assigned": "de932b7927db",
    "App._stop_consumer": "55854a5de12c",
    "Recovery._resume_streams": "d986a6710c1a",
    "ThreadDelegateConsumer.on_assigned": "50fac26841ad",
    "AIOKafkaConsumerThread._create": "c2701bfc3e6f",
    "AIOKafkaConsumerThread.getmany": "26fc5fc9f3b6",
    "AIOKafkaConsumerThread._fetch_records": "39a2c6c79fc1",
    "RebalanceListener": "f3d04f29dfb3",
    "MethodQueue": "d21c54e20ac6",
    "Fetcher.fetched_records": "be4348896b9b",
    "Fetcher._fetch_requests_routine": "2a8ec5932644",
    "Fetcher._get_actions_per_node": "1dab2cf937d1",
    "Fetcher.seek_to": "f0ba6aba6c22",
    "Fetcher.request_offset_reset": "e5bd8ba88386",
    "FetchResult": "d7db13f06de8",
    "PartitionRecords": "94aa0da0dbec",
    "AIOKafkaConsumer.seek_to_beginning": "231229deedd7",
    "GroupCoordinator.fetch_committed_offsets": "6c049c737916",
    "GroupCoordinator._do_commit_offsets": "c3a3ea5613f3",
    "GroupCoordinator.commit_offsets": "5cbe31af28d6",
    "GroupCoordinator._on_join_complete": "0b0b3d204b40",
    "SubscriptionState.fetch_context": "ff2a654dca23",
    "TopicPartitionState": "2b83334afadf",
}


def fingerprint(code: Any) -> str:
    return hashlib.sha256(inspect.getsource(inspect.unwrap(code)).encode()).hexdigest()[:12]


def test_versions_are_those_the_transport_was_written_for() -> None:
    assert version("faust-streaming") == "0.15.3"
    assert version("aiokafka") == "0.14.0"


@pytest.mark.parametrize("name", sorted(RELIED_UPON))
def test_code_that_the_transport_relies_on_is_unchanged(name: str) -> None:
    assert fingerprint(RELIED_UPON[name]) == FINGERPRINTS[name], f"{name} changed: read it again"


@pytest.mark.parametrize(("stock", "ours", "name"), OVERRIDDEN, ids=str)
def test_overridden_method_exists_and_takes_the_same(stock: Any, ours: Any, name: str) -> None:
    expected = inspect.signature(inspect.unwrap(vars(stock)[name])).parameters
    got = inspect.signature(inspect.unwrap(vars(ours)[name])).parameters
    if name not in ("__init__", "on_stop"):
        assert list(got) == list(expected)
    assert inspect.iscoroutinefunction(vars(stock)[name]) == inspect.iscoroutinefunction(
        vars(ours)[name]
    )


def test_every_override_of_a_stock_method_is_listed() -> None:
    """A method of ours that hides one of theirs by accident would be found here."""
    listed = {(ours, name) for _, ours, name in OVERRIDDEN}
    for ours, stock in (
        (BatchConsumer, driver.Consumer),
        (BatchConsumerThread, driver.AIOKafkaConsumerThread),
        (BatchTransport, driver.Transport),
    ):
        hidden = {
            name
            for name, value in vars(ours).items()
            if callable(value) and hasattr(stock, name) and inspect.isfunction(value)
        }
        assert {(ours, name) for name in hidden - {"__init__"}} <= listed


def test_app_reads_through_the_batch_transport_with_the_limits_of_its_settings(
    tmp_path: Path,
) -> None:
    settings = StreamSettings(
        home=tmp_path,
        kafka_bootstrap="a:1,b:2",
        in_flight_batches_max=7,
        in_flight_bytes_max=8,
        fetch_response_bytes_max=9,
        gather_milliseconds=5,
    )
    app = make_app(settings)
    assert isinstance(app.transport, BatchTransport)
    assert app.transport.limits == TransportLimits(
        in_flight_batches_max=7,
        in_flight_bytes_max=8,
        fetch_response_bytes_max=9,
        gather_milliseconds=5,
    )
    assert driver.server_list(app.transport.url, 9092) == ["a:1", "b:2"]


def test_client_differs_from_the_stock_one_only_where_it_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(aiokafka, "AIOKafkaConsumer", lambda **kwargs: asked.append(kwargs))
    app = make_app(StreamSettings(home=tmp_path))
    thread: Any = SimpleNamespace(
        app=app, consumer=SimpleNamespace(in_transaction=False), limits=TransportLimits()
    )
    driver.AIOKafkaConsumerThread._create_worker_consumer(thread, app.transport)
    BatchConsumerThread._create_worker_consumer(thread, app.transport)
    stock, ours = asked
    assert {name for name in stock.keys() | ours.keys() if stock.get(name) != ours.get(name)} == {
        "isolation_level",
        "fetch_max_wait_ms",
        "fetch_min_bytes",
        "fetch_max_bytes",
    }
    assert ours["fetch_min_bytes"] == 1
    assert ours["isolation_level"] == "read_committed"
    assert ours["check_crcs"] is True
    assert ours["session_timeout_ms"] == 10_000


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"stream_wait_empty": True}, "stream_wait_empty"),
        ({"consumer_auto_offset_reset": "latest"}, "consumer_auto_offset_reset"),
        ({"processing_guarantee": "exactly_once"}, "exactly_once"),
    ],
)
def test_app_that_would_lose_records_is_refused(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    fit = {"stream_wait_empty": False, "consumer_auto_offset_reset": "earliest"}
    refuse_unfit_app(faust.App("fit", datadir=tmp_path, **fit))
    app = faust.App("unfit", datadir=tmp_path, **{**fit, **changes})
    with pytest.raises(ConfigurationError, match=named):
        refuse_unfit_app(app)


def test_app_with_a_table_is_refused(tmp_path: Path) -> None:
    app = make_app(StreamSettings(home=tmp_path))
    app.Table("counts", default=int)
    with pytest.raises(ConfigurationError, match="tables"):
        refuse_unfit_app(app)
