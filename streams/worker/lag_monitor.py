"""Measure the lag every few seconds, and end a worker that is alive but makes no progress.

Each measurement also signals the watchdog that the event loop runs. If the loop is blocked, the
watchdog ends the process.

The partitions' ends come over a separate connection: a consumer that no longer fetches does not
know how far behind it is. Nor does a consumer without partitions know whether others read them.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import PurserError, ServiceUnavailable
from streams.source_topic import Brokers, SourceTopic
from streams.worker.health import Health
from streams.worker.metrics import TopicWorkerMetrics

PROBE_SECONDS = 5.0
"""Time limit of one question to Kafka; if it takes longer, Kafka counts as unreachable."""


class WorkerStalled(PurserError):  # noqa: N818 - named for what happened
    """Records wait and none was finished for too long; a restart may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """The consumer's own state: offsets of its partitions, and the age of its last commit.

    A partition whose position is not known yet is not among the offsets.
    """

    next_offsets: Mapping[int, int]
    records_in_flight: int
    seconds_since_commit: float | None
    member_id: str
    """This worker in its group."""


class EndOffsets:
    """Fetches the ends of a topic's partitions from the brokers over a separate connection."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None

    async def __call__(self, partitions: list[int]) -> dict[int, int]:
        """Return the ends (exclusive); raises ServiceUnavailable if Kafka does not answer."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                consumer = await self._connected()
                ends = await consumer.end_offsets(
                    [TopicPartition(self._topic, partition) for partition in partitions]
                )
        except (KafkaError, TimeoutError) as error:
            await self.stop()
            raise ServiceUnavailable(
                f"Kafka at {self._bootstrap} did not return its partitions' ends: {error!r}"
            ) from error
        return {place.partition: offset for place, offset in ends.items()}

    async def stop(self) -> None:
        """Close the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()

    async def _connected(self) -> AIOKafkaConsumer:
        if self._consumer is None:
            consumer = AIOKafkaConsumer(
                bootstrap_servers=self._bootstrap,
                enable_auto_commit=False,
                isolation_level="read_committed",
            )
            try:
                await consumer.start()
            except BaseException:
                await consumer.stop()
                raise
            self._consumer = consumer
        return self._consumer


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicLook:
    """The topic, or None if there is none, and its partitions that other workers have."""

    topic: SourceTopic | None
    elsewhere: frozenset[int] = frozenset()


class TopicProbe:
    """Asks the brokers for the topic and, if this worker has not all of it, for the group."""

    def __init__(self, bootstrap: str, topic: str, group: str) -> None:
        self._brokers = Brokers(bootstrap, topic)
        self._group = group

    async def __call__(self, state: ConsumerState) -> TopicLook:
        """Look once; raises ServiceUnavailable if Kafka does not answer in time."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return await asyncio.to_thread(self._look, state)
        except TimeoutError as error:
            raise ServiceUnavailable(
                f"Kafka did not describe its topic and group {self._group} in {PROBE_SECONDS:g} s"
            ) from error

    def _look(self, state: ConsumerState) -> TopicLook:
        topic = self._brokers.topic()
        if topic is None or topic.partitions <= state.next_offsets.keys():
            return TopicLook(topic=topic)
        owners = self._brokers.group(self._group).owners
        # What the group gave to this worker, and it does not read, counts as read by nobody.
        others = frozenset(each for each, owner in owners.items() if owner != state.member_id)
        return TopicLook(topic=topic, elsewhere=others)


@dataclass(frozen=True, slots=True, kw_only=True)
class LagMonitor:
    """Keeps the health and the metrics up to date.

    `end` is called once, for a stalled worker; `loop_runs` is called at every measurement.
    """

    health: Health
    metrics: TopicWorkerMetrics
    end_offsets: Callable[[list[int]], Awaitable[Mapping[int, int]]]
    topic_look: Callable[[ConsumerState], Awaitable[TopicLook]]
    consumer_state: Callable[[], ConsumerState]
    end: Callable[[PurserError], None]
    loop_runs: Callable[[], None]
    interval_seconds: float

    async def run(self) -> None:
        """Measure repeatedly; returns when the worker is to exit."""
        while True:
            self.loop_runs()
            await self.look()
            judgement = self.health.judge(monotonic())
            if judgement.stalled is not None:
                self.end(WorkerStalled(f"{judgement.stalled}; exiting to be restarted"))
                return
            await asyncio.sleep(self.interval_seconds)

    async def look(self) -> None:
        """Measure once."""
        # Read our own offsets first, so that work done meanwhile does not look like lag.
        state = self.consumer_state()
        mine = frozenset(state.next_offsets)
        try:
            look = await self.topic_look(state)
            self.loop_runs()
            self.health.topic_looked(look.topic, mine | look.elsewhere, monotonic())
            # A partition of a topic that was deleted has no end.
            kept = mine & look.topic.partitions if look.topic is not None else frozenset()
            ends = await self.end_offsets(sorted(kept)) if kept else {}
        except ServiceUnavailable as error:
            self.health.probe_failed(error)
            return
        self.health.looked(ends, state.next_offsets, monotonic())
        self.metrics.show_lag({number: each.lag for number, each in self.health.partitions.items()})
        self.metrics.records_in_flight.set(state.records_in_flight)
        self.metrics.commit_age.set(state.seconds_since_commit or 0.0)
