"""The batch consumer on a simulated broker: whatever interleaves, nothing is lost or stuck."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faust
import pytest
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    IllegalGenerationError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import OffsetAndMetadata
from faust.types import TP
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from streams.app import make_app
from streams.settings import StreamSettings
from streams.transport import BatchConsumer, BatchMessage, BatchTransport
from streams.transport import consumer as consumer_module
from streams.transport.consumer import RECORD_OVERHEAD_BYTES
from streams.transport.thread import BatchConsumerThread

PARTITIONS = (TP("t", 0), TP("t", 1))
END = 120


@dataclass
class Broker:
    """Two partitions of records with gaps (of each ten offsets the last is a marker), one group."""

    committed: dict[TP, int] = field(default_factory=dict)
    metadata: dict[TP, str] = field(default_factory=dict)
    generation: int = 1
    failure: Exception | None = None  # of the next request

    def raise_failure(self) -> None:
        failure, self.failure = self.failure, None
        if failure is not None:
            raise failure

    @staticmethod
    def records(tp: TP, position: int, count: int) -> list[Any]:
        offsets = [each for each in range(position, END) if each % 10 != 9][:count]
        return [
            SimpleNamespace(
                topic=tp.topic,
                partition=tp.partition,
                offset=each,
                timestamp=1_700_000_000_000 + each,
                timestamp_type=0,
                key=b"k",
                value=b"v" * each,
                serialized_key_size=1,
                serialized_value_size=each,
            )
            for each in offsets
        ]


class Assignment:
    """aiokafka's assignment: a new one for every rebalance, with positions that start anew."""

    def __init__(self, broker: Broker) -> None:
        self.tps = set(PARTITIONS)
        self.states = {
            tp: SimpleNamespace(
                highwater=END, _position=broker.committed.get(tp, 0), timestamp=None
            )
            for tp in PARTITIONS
        }

    def state_value(self, tp: TP) -> Any:
        return self.states[tp]


class Client:
    """The part of AIOKafkaConsumer, its fetcher and its coordinator that the transport uses."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._closed = False
        self._max_poll_records = 12
        self._fetch_min_bytes, self._fetch_max_wait_ms = 1, 100
        self._max_partition_fetch_bytes = 4 * 1024**2
        self.timeouts: list[float] = []
        self.asked_next = (0, 0)
        self._fetcher = self._coordinator = self
        self._subscription = self._subscriptions = SimpleNamespace(
            subscription=SimpleNamespace(assignment=Assignment(broker)),
            fetch_context=contextlib.nullcontext,
        )
        self._commit_lock = asyncio.Lock()
        self.after_fetch: Any = None
        self.fetch_steps = 1

    @property
    def assigned(self) -> Assignment:
        assignment: Assignment = self._subscription.subscription.assignment
        return assignment

    @property
    def generation(self) -> int:
        return self.broker.generation

    def assignment(self) -> set[TP]:
        return set(PARTITIONS)

    def highwater(self, tp: TP) -> int:
        return END

    async def fetched_records(
        self,
        partitions: set[TP],
        timeout: float,  # noqa: ASYNC109 - the client's signature
        max_records: int,
    ) -> dict[TP, list[Any]]:
        for _ in range(self.fetch_steps):
            await asyncio.sleep(0)
        found = {}
        for tp in sorted(partitions):
            state = self.assigned.states[tp]
            records = self.broker.records(tp, state._position, max_records)
            if records:
                state._position = records[-1].offset + 1
                found[tp] = records
        if self.after_fetch is not None:
            self.after_fetch()
        self.timeouts.append(timeout)
        # The real one asks the broker for more as soon as its loop runs again.
        asyncio.get_running_loop().call_soon(self.ask_for_more)
        return found

    def ask_for_more(self) -> None:
        self.asked_next = (self._fetch_min_bytes, self._fetch_max_wait_ms)

    async def fetch_committed_offsets(self, partitions: list[TP]) -> dict[TP, OffsetAndMetadata]:
        await asyncio.sleep(0)
        self.broker.raise_failure()
        return {
            tp: OffsetAndMetadata(self.broker.committed[tp], self.broker.metadata.get(tp, ""))
            for tp in partitions
            if tp in self.broker.committed
        }

    def seek(self, tp: TP, offset: int) -> None:
        self.assigned.states[tp]._position = offset

    async def seek_to_beginning(self, tp: TP) -> None:
        self.assigned.states[tp]._position = 0
        await asyncio.sleep(0)

    async def ensure_coordinator_known(self) -> None:
        await asyncio.sleep(0)

    async def _do_commit_offsets(self, assignment: Any, offsets: dict[TP, Any]) -> None:
        generation = self.generation
        await asyncio.sleep(0)
        self.broker.raise_failure()
        if generation != self.generation:
            raise IllegalGenerationError
        for tp, each in offsets.items():
            assert each.offset > self.broker.committed.get(tp, -1), "the offset goes back"
            self.broker.committed[tp] = each.offset
            self.broker.metadata[tp] = each.metadata


class Thread(BatchConsumerThread):
    """The consumer's thread, in the same thread."""

    client: Client
    return_steps = 0

    def _ensure_consumer(self) -> Any:
        return self.client

    async def call_thread(self, fun: Any, *args: Any, **kwargs: Any) -> Any:
        # As with the real one: the call goes on when its caller is cancelled, and a while passes
        # before its result is seen.
        result = await asyncio.shield(asyncio.ensure_future(fun(*args, **kwargs)))
        for _ in range(self.return_steps):
            await asyncio.sleep(0)
        return result


class Consumer(BatchConsumer):
    _thread: Thread

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, thread_loop=self.loop, loop=self.loop, beacon=self.beacon)


async def nothing(*_: Any) -> None:
    """A callback that has nothing to do."""


def new_app(folder: Path, **changes: Any) -> faust.App:
    settings = StreamSettings(home=folder, kafka_bootstrap="127.0.0.1:1", **changes)
    return make_app(settings, topic_ids={"t": "new"})


async def new_consumer(app: faust.App, broker: Broker) -> Consumer:
    transport = BatchTransport(
        app.conf.broker,
        app,
        loop=asyncio.get_running_loop(),
        limits=app.transport.limits,
        topic_ids=app.transport.topic_ids,
    )
    # The producer is never reached: it only has nothing to flush.
    app._producer = SimpleNamespace(flush=nothing, buffer=None)
    consumer = Consumer(
        transport,
        callback=nothing,
        on_partitions_revoked=nothing,
        on_partitions_assigned=nothing,
        loop=asyncio.get_running_loop(),
    )
    consumer._thread.client = Client(broker)
    app._consumer = consumer
    app.consumer_generation_id = broker.generation
    app.flow_control.resume()
    consumer._set_active_tps(set(PARTITIONS))
    await consumer.perform_seek()
    consumer.resume_flow()
    return consumer


async def take(consumer: Consumer) -> list[BatchMessage]:
    """Fetch once and hand the batches to a stream."""
    messages = []
    async for _, message in consumer.getmany(timeout=0.01):
        message.tracked = True  # as a stream does with what it hands out
        message.incref()
        messages.append(message)
    return messages


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as running:
        yield running


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def consumer(runner: asyncio.Runner, broker: Broker, tmp_path: Path) -> Consumer:
    return runner.run(new_consumer(new_app(tmp_path), broker))


def test_message_is_a_whole_partition_batch(runner: asyncio.Runner, consumer: Consumer) -> None:
    first, second = runner.run(take(consumer))
    assert [first.tp, second.tp] == list(PARTITIONS)
    offsets = [record.offset for record in first.value]
    assert offsets == [0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12]
    assert first.offset == 12
    assert first.timestamp == 1_700_000_000.012


def test_commit_is_the_end_of_the_acknowledged_run(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    first, _ = runner.run(take(consumer))
    second, _ = runner.run(take(consumer))
    second.ack(consumer)
    assert not runner.run(consumer.commit())
    first.ack(consumer)
    assert runner.run(consumer.commit())
    assert broker.committed == {PARTITIONS[0]: second.offset + 1}
    assert consumer.health().commits_total == 1


def test_skipped_message_is_not_acknowledged(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    """During a rebalance Faust's streams acknowledge what they do not hand out."""
    message = runner.run(take(consumer))[0]
    message.tracked = False
    assert not message.ack(consumer)
    assert not runner.run(consumer.commit())
    assert broker.committed == {}


def test_partition_with_too_many_batches_in_flight_is_not_read(
    runner: asyncio.Runner, broker: Broker, tmp_path: Path
) -> None:
    app = new_app(tmp_path, in_flight_batches_max=2)
    consumer = runner.run(new_consumer(app, broker))
    held = [runner.run(take(consumer)) for _ in range(3)]
    assert [len(each) for each in held] == [2, 2, 0]
    held[0][1].ack(consumer)  # of the second partition
    assert [message.tp for message in runner.run(take(consumer))] == [PARTITIONS[1]]


def test_nothing_is_read_beyond_the_memory_limit(
    runner: asyncio.Runner, broker: Broker, tmp_path: Path
) -> None:
    app = new_app(tmp_path, in_flight_bytes_max=30 * RECORD_OVERHEAD_BYTES)
    consumer = runner.run(new_consumer(app, broker))
    held = runner.run(take(consumer)) + runner.run(take(consumer))
    assert len(held) == 4
    assert runner.run(take(consumer)) == []
    payload = sum(record.offset + 1 for message in held for record in message.value)
    assert consumer.health().bytes_in_flight == payload + 48 * RECORD_OVERHEAD_BYTES
    for message in held:
        message.ack(consumer)
    assert len(runner.run(take(consumer))) == 2


def test_brokers_gather_records_that_come_closely_and_answer_the_first_one_at_once(
    runner: asyncio.Runner, broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("streams.transport.thread.monotonic", lambda: clock[0])
    app = new_app(tmp_path, gather_milliseconds=40, fetch_partition_bytes_max=5_000)
    consumer = runner.run(new_consumer(app, broker))
    client = consumer._thread.client
    client._max_partition_fetch_bytes = 5_000
    gathering, at_once = (5_000, 40), (1, consumer.limits.idle_wait_milliseconds)

    def asked_after(seconds: float, patience: float = 1.0) -> tuple[int, int]:
        clock[0] += seconds

        async def look() -> None:
            async for _ in consumer.getmany(timeout=patience):
                pass

        runner.run(look())
        return client.asked_next

    assert asked_after(0.0) == at_once, "the first records of all"
    assert asked_after(0.059) == gathering
    assert asked_after(0.041) == gathering, "it gathered, and the next one shall, too"
    assert asked_after(0.061) == at_once
    assert asked_after(0.01) == gathering
    assert client.timeouts == [1.0, 1.0, 0.08, 0.08, 1.0], "longer than one request that gathers"
    for partition in PARTITIONS:
        client.assigned.states[partition]._position = END  # nothing comes any more
    assert asked_after(0.02, patience=0.02) == gathering, "so short a look says nothing"
    assert asked_after(0.08) == at_once


def test_acknowledgement_wakes_a_consumer_that_waits_for_room(
    runner: asyncio.Runner, broker: Broker, tmp_path: Path
) -> None:
    app = new_app(tmp_path, in_flight_batches_max=1)
    consumer = runner.run(new_consumer(app, broker))

    async def scenario() -> float:
        held = await take(consumer)
        waiting = asyncio.ensure_future(consumer._wait_for_room(30))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        held[0].ack(consumer)
        loop = asyncio.get_running_loop()
        started = loop.time()
        await waiting
        return loop.time() - started

    assert runner.run(scenario()) < 5


def test_commit_that_may_succeed_later_is_tried_again(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    message = runner.run(take(consumer))[0]
    message.ack(consumer)
    broker.failure = GroupCoordinatorNotAvailableError()
    assert not runner.run(consumer.commit())
    assert consumer.health().commit_failures_total == 1
    assert runner.run(consumer.commit())
    assert broker.committed == {PARTITIONS[0]: 13}


def test_commit_that_cannot_succeed_is_raised(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    runner.run(take(consumer))[0].ack(consumer)
    broker.failure = TopicAuthorizationFailedError()
    with pytest.raises(TopicAuthorizationFailedError):
        runner.run(consumer.commit())


def test_nothing_is_committed_after_the_group_moved_on(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    runner.run(take(consumer))[0].ack(consumer)
    broker.generation += 1  # and we have not been told yet
    assert not runner.run(consumer.commit())
    assert broker.committed == {}


def test_seek_makes_batches_in_flight_void(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    before = runner.run(take(consumer))[0]
    runner.run(consumer.seek(PARTITIONS[0], 5))
    assert not before.ack(consumer)
    again = next(each for each in runner.run(take(consumer)) if each.tp == PARTITIONS[0])
    assert again.value[0].offset == 5
    again.ack(consumer)
    assert runner.run(consumer.commit())
    assert broker.committed == {PARTITIONS[0]: again.offset + 1}


def test_an_offset_of_an_earlier_topic_of_that_name_is_none(
    runner: asyncio.Runner, broker: Broker, tmp_path: Path
) -> None:
    """The new topic has grown past it: what is before it would be skipped for ever."""
    broker.committed = dict.fromkeys(PARTITIONS, 40)
    broker.metadata = {PARTITIONS[0]: "old", PARTITIONS[1]: "new"}
    consumer = runner.run(new_consumer(new_app(tmp_path), broker))
    firsts = {each.tp: each.value[0].offset for each in runner.run(take(consumer))}
    assert firsts == {PARTITIONS[0]: 0, PARTITIONS[1]: 40}


def test_a_committed_offset_says_in_which_topic_it_is(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    runner.run(take(consumer))[0].ack(consumer)
    assert runner.run(consumer.commit())
    assert broker.metadata == {PARTITIONS[0]: "new"}


def test_revoked_partitions_are_committed_and_forgotten(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker
) -> None:
    first, second = runner.run(take(consumer))
    first.ack(consumer)
    runner.run(consumer.on_partitions_revoked(set(PARTITIONS)))
    assert broker.committed == {PARTITIONS[0]: 13}
    assert not second.ack(consumer)
    health = consumer.health()
    assert (health.records_in_flight, dict(health.batches_in_flight)) == (0, {})


def test_fetch_whose_result_is_dropped_is_read_again(
    runner: asyncio.Runner, consumer: Consumer
) -> None:
    """The thread goes on with a fetch that was cancelled; the next fetch comes behind it."""

    async def scenario() -> list[BatchMessage]:
        consumer._thread.client.fetch_steps = 3
        fetching = asyncio.ensure_future(take(consumer))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fetching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await fetching
        assert await take(consumer) == []  # it came before its turn
        return await take(consumer)

    messages = runner.run(scenario())
    assert [message.value[0].offset for message in messages] == [0, 0]
    assert consumer.health().rewinds_total == 1


def test_fetch_from_before_a_seek_is_not_handed_out(
    runner: asyncio.Runner, consumer: Consumer
) -> None:
    async def scenario() -> list[BatchMessage]:
        consumer._thread.return_steps = 30
        fetching = asyncio.ensure_future(take(consumer))
        for _ in range(10):
            await asyncio.sleep(0)
        consumer._thread.return_steps = 0
        await consumer.perform_seek()
        assert not fetching.done()
        return await fetching

    assert runner.run(scenario()) == []
    assert [message.value[0].offset for message in runner.run(take(consumer))] == [0, 0]


def test_lag_is_what_is_not_done(runner: asyncio.Runner, consumer: Consumer) -> None:
    assert consumer.lag() == {PARTITIONS[0]: 120, PARTITIONS[1]: 120}
    first, second = runner.run(take(consumer))
    assert consumer.lag() == {PARTITIONS[0]: 120, PARTITIONS[1]: 120}
    first.ack(consumer)
    assert consumer.lag() == {PARTITIONS[0]: 107, PARTITIONS[1]: 120}
    assert consumer.health().seconds_unacknowledged > 0
    second.ack(consumer)
    assert consumer.health().seconds_unacknowledged == 0


def test_broker_that_is_down_when_streams_resume_is_asked_again(
    runner: asyncio.Runner, consumer: Consumer, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer_module, "RETRY_WAIT_SECONDS", 0.0)
    broker.failure = GroupCoordinatorNotAvailableError()
    runner.run(consumer.perform_seek())
    broker.failure = GroupCoordinatorNotAvailableError()
    assert runner.run(take(consumer)) == []
    assert len(runner.run(take(consumer))) == 2


class ConsumerMachine(RuleBasedStateMachine):
    """Fetches that are dropped or cancelled, acknowledgements, failures, rebalances at random."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.broker = Broker()
        self.app = new_app(Path("unused"), in_flight_batches_max=6)
        self.consumer = self.runner.run(new_consumer(self.app, self.broker))
        self.client = self.consumer._thread.client
        self.held: list[BatchMessage] = []
        self.done: dict[TP, set[int]] = {tp: set() for tp in PARTITIONS}
        self.committed: dict[TP, int] = {}

    @rule()
    def fetch(self) -> None:
        self.held += self.runner.run(take(self.consumer))

    @rule()
    def fetch_comes_back_while_the_flow_is_stopped(self) -> None:
        self.client.after_fetch = self.consumer.stop_flow
        self.held += self.runner.run(take(self.consumer))
        self.client.after_fetch = None
        self.consumer.resume_flow()

    @rule(fetch_steps=st.integers(0, 4), return_steps=st.integers(0, 20))
    def threads_take_their_time(self, fetch_steps: int, return_steps: int) -> None:
        self.client.fetch_steps = fetch_steps
        self.consumer._thread.return_steps = return_steps

    @rule(steps=st.integers(0, 6), fetch_again=st.booleans())
    def fetch_is_cancelled(self, steps: int, fetch_again: bool) -> None:
        async def scenario() -> None:
            fetching = asyncio.ensure_future(take(self.consumer))
            for _ in range(steps):
                await asyncio.sleep(0)
            fetching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.held += await fetching  # it was done before
            if fetch_again:  # while the thread is still at the first
                self.held += await take(self.consumer)
            for _ in range(5):
                await asyncio.sleep(0)

        self.runner.run(scenario())

    @rule(steps=st.integers(0, 20))
    def seek_while_fetching(self, steps: int) -> None:
        async def scenario() -> None:
            fetching = asyncio.ensure_future(take(self.consumer))
            for _ in range(steps):
                await asyncio.sleep(0)
            self.consumer._thread.return_steps = 0  # faster than the fetch
            await self.consumer.perform_seek()
            self.held += await fetching

        self.runner.run(scenario())

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        message = data.draw(st.sampled_from(self.held), label="message")
        self.held.remove(message)
        self.done[message.tp].update(record.offset for record in message.value)
        message.ack(self.consumer)

    @rule(failure=st.sampled_from([None, GroupCoordinatorNotAvailableError]))
    def commit(self, failure: type[Exception] | None) -> None:
        self.broker.failure = failure() if failure else None
        self.runner.run(self.consumer.commit())
        self.broker.failure = None

    @rule(
        others=st.integers(0, 20),
        seek_failure=st.sampled_from([None, GroupCoordinatorNotAvailableError]),
        commit_first=st.booleans(),
    )
    def rebalance(
        self, others: int, seek_failure: type[Exception] | None, commit_first: bool
    ) -> None:
        """Both partitions are lost, another worker does some of the second, and both come back."""
        self.runner.run(self._rebalance(others, seek_failure, commit_first))

    async def _rebalance(
        self, others: int, seek_failure: type[Exception] | None, commit_first: bool
    ) -> None:
        consumer, broker = self.consumer, self.broker
        committing = asyncio.ensure_future(consumer.commit()) if commit_first else None
        await consumer.on_partitions_revoked(set(PARTITIONS))
        broker.generation += 1
        lost = PARTITIONS[1]
        theirs = broker.records(lost, broker.committed.get(lost, 0), others)
        if theirs:
            self.done[lost].update(record.offset for record in theirs)
            broker.committed[lost] = theirs[-1].offset + 1
        if committing is not None:
            await committing
        self.client._subscription.subscription.assignment = Assignment(broker)
        self.app.consumer_generation_id = broker.generation
        consumer._set_active_tps(set(PARTITIONS))
        broker.failure = seek_failure() if seek_failure else None
        await consumer.perform_seek()
        broker.failure = None
        consumer.resume_flow()

    @invariant()
    def nothing_below_the_committed_offset_is_undone(self) -> None:
        for tp, offset in self.broker.committed.items():
            records = {record.offset for record in Broker.records(tp, 0, END)}
            assert {each for each in records if each < offset} <= self.done[tp]

    @invariant()
    def nothing_is_in_flight_twice(self) -> None:
        for tp, state in self.consumer._tracker._partitions.items():
            ends = [
                each
                for batch in state.in_flight
                for each in (batch.offset_first, batch.offset_last)
            ]
            assert ends == sorted(ends), tp
            assert all(late > early for early, late in zip(ends[1::2], ends[2::2], strict=False))

    @invariant()
    def committed_offset_never_goes_back(self) -> None:
        for tp, offset in self.committed.items():
            assert self.broker.committed[tp] >= offset
        self.committed = dict(self.broker.committed)

    def teardown(self) -> None:
        """Then everything is read to the end: no partition is stuck, no record left out."""
        try:
            for _ in range(200):
                self.held += self.runner.run(take(self.consumer))
                for message in self.held:
                    self.done[message.tp].update(record.offset for record in message.value)
                    message.ack(self.consumer)
                self.held = []
                self.runner.run(self.consumer.commit())
                if all(self.broker.committed.get(tp) == END - 1 for tp in PARTITIONS):
                    break
            assert self.broker.committed == dict.fromkeys(PARTITIONS, END - 1)
            self.nothing_below_the_committed_offset_is_undone()
        finally:
            self.runner.close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer_module, "RETRY_WAIT_SECONDS", 0.0)


TestConsumerMachine = ConsumerMachine.TestCase
TestConsumerMachine.settings = hypothesis_settings(
    max_examples=50, stateful_step_count=40, deadline=None
)
