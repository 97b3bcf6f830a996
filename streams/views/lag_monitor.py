"""Look at the lag every few seconds; end a worker that is alive and does nothing.

Each look also tells the watchdog that the event loop runs: one that does not ends the process, too.

The partitions' ends come from a connection of its own: a consumer that no longer fetches does not
know how far behind it is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import monotonic

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import PurserError, ServiceUnavailable
from streams.views.health import Health
from streams.views.metrics import ViewsMetrics

PROBE_SECONDS = 5.0
"""How long a look may take; longer is a Kafka that does not answer."""


class WorkerStalled(PurserError):  # noqa: N818 - named for what the worker did
    """Records wait and none was done for too long; starting anew may help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """What the consumer says of itself: offsets of our partitions, and its last commit's age."""

    next_offsets: Mapping[int, int]
    records_in_flight: int
    seconds_since_commit: float | None


class EndOffsets:
    """The ends of a topic's partitions, asked of the brokers over a connection of its own."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._consumer: AIOKafkaConsumer | None = None

    async def __call__(self, partitions: list[int]) -> dict[int, int]:
        """Ask for the ends (exclusive); raises ServiceUnavailable when Kafka does not answer."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                consumer = await self._connected()
                ends = await consumer.end_offsets(
                    [TopicPartition(self._topic, partition) for partition in partitions]
                )
        except (KafkaError, TimeoutError) as error:
            await self.stop()
            raise ServiceUnavailable(
                f"Kafka at {self._bootstrap} does not say where its partitions end: {error!r}"
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
class LagMonitor:
    """Keeps the health and the metrics up to date.

    `end` is called once for a worker at a stand, `loop_runs` at every look.
    """

    health: Health
    metrics: ViewsMetrics
    end_offsets: Callable[[list[int]], Awaitable[Mapping[int, int]]]
    consumer_state: Callable[[], ConsumerState]
    end: Callable[[PurserError], None]
    loop_runs: Callable[[], None]
    interval_seconds: float

    async def run(self) -> None:
        """Look again and again; returns when the worker is to end."""
        while True:
            self.loop_runs()
            await self.look()
            judgement = self.health.judge(monotonic())
            if judgement.stalled is not None:
                self.end(WorkerStalled(f"{judgement.stalled}; ending, to be started anew"))
                return
            await asyncio.sleep(self.interval_seconds)

    async def look(self) -> None:
        """One look."""
        # Ours first: what is done meanwhile must not look like lag.
        state = self.consumer_state()
        try:
            ends = await self.end_offsets(sorted(state.next_offsets)) if state.next_offsets else {}
        except ServiceUnavailable as error:
            self.health.probe_failed(error)
            return
        self.health.looked(ends, state.next_offsets, monotonic())
        self.metrics.show_lag({number: each.lag for number, each in self.health.partitions.items()})
        self.metrics.records_in_flight.set(state.records_in_flight)
        self.metrics.commit_age.set(state.seconds_since_commit or 0.0)
