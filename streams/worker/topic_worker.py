"""The worker of the payments topic that each worker of ours derives from: its life and its end.

It stands beside the Faust app that feeds it. Whatever it does with the events, it measures its lag,
serves its health, finishes its work in progress when it is told to stop, and ends its process on
the first failure.
"""

import asyncio
import logging
import signal
from abc import abstractmethod
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, ClassVar

import mode

from schemas.errors import PurserError
from streams.app import make_app
from streams.watchdog import LoopWatchdog
from streams.worker.health import Health
from streams.worker.lag_monitor import (
    PROBE_SECONDS,
    ConsumerState,
    EndOffsets,
    LagMonitor,
    TopicProbe,
)
from streams.worker.metrics import TopicWorkerMetrics
from streams.worker.operators import OperatorsPort
from streams.worker.settings import TopicWorkerSettings

_log = logging.getLogger("purser.worker")


class TopicWorker(mode.Service):
    """Health, endpoints and a monitor, next to the Faust app that feeds what derives from it."""

    mundane_level = "debug"
    exits: ClassVar[str] = "exiting"
    """The beginning of the line that says why the worker ends itself."""

    def __init__(
        self, settings: TopicWorkerSettings, metrics: TopicWorkerMetrics, topic_id: str
    ) -> None:
        super().__init__()
        topic = settings.payments_topic
        self.app = make_app(settings, topic_ids={topic: topic_id})
        self.watchdog = LoopWatchdog(settings.stall_exit_seconds + PROBE_SECONDS)
        self.failure: BaseException | None = None
        self.health = Health(settings.stall_limits, topic=topic, topic_id=topic_id)
        self._limits = settings
        self._lag_metrics = metrics
        metrics.healthy.set_function(lambda: self.health.judge(monotonic()).healthy)
        self._operators = OperatorsPort(
            settings.worker_metrics_port, metrics.registry, self._report
        )
        self._end_offsets = EndOffsets(settings.kafka_bootstrap, topic)
        self.app.service(self)
        # At that signal the flow is stopped, but the consumer, which commits at its end, is not.
        self.app.on_before_shutdown.connect(self._drain)

    @abstractmethod
    async def finish_work(self) -> None:
        """Finish the work in progress; what is not finished in time will be read again."""

    async def serve_operators(self) -> None:
        """Listen on the operators' port; raises ConfigurationError if it cannot be used."""
        await self._operators.start()

    def watch(self, end: Callable[[PurserError], None]) -> None:
        """Start the monitor; `end` is called for a worker that has stalled."""
        settings = self._limits
        monitor = LagMonitor(
            health=self.health,
            metrics=self._lag_metrics,
            end_offsets=self._end_offsets,
            topic_look=TopicProbe(
                settings.kafka_bootstrap, settings.payments_topic, settings.consumer_group
            ),
            consumer_state=self.consumer_state,
            end=end,
            loop_runs=self.watchdog.loop_runs,
            interval_seconds=settings.probe_seconds,
        )
        self.add_future(monitor.run())

    async def on_stop(self) -> None:
        """Close the connections of the monitor and the operators' port."""
        await self._end_offsets.stop()
        await self._operators.stop()

    def fail(self, error: BaseException) -> None:
        """End the process; only the first failure counts."""
        if self.failure is not None:
            return
        self.failure = error
        self.health.failed(error)
        if isinstance(error, PurserError):
            _log.critical("%s: %s", self.exits, error)
        else:
            _log.critical("%s", self.exits, exc_info=error)
        signal.raise_signal(signal.SIGTERM)

    def consumer_state(self) -> ConsumerState:
        """The consumer's state, of the payments topic's partitions only."""
        consumer: Any = self.app.consumer
        state = consumer.health()
        return ConsumerState(
            next_offsets={
                place.partition: offset
                for place, offset in consumer.next_offsets().items()
                if place.topic == self._limits.payments_topic
            },
            records_in_flight=state.records_in_flight,
            seconds_since_commit=state.seconds_since_commit,
            member_id=consumer.member_id(),
        )

    async def _report(self) -> Mapping[str, object]:
        return self.health.report(monotonic())

    async def _drain(self, _sender: Any, **_kwargs: Any) -> None:
        seconds = self._limits.drain_seconds
        try:
            async with asyncio.timeout(seconds):
                await self.finish_work()
        except TimeoutError:
            _log.warning(
                "stopping before the work in progress is finished: it took more than %g s", seconds
            )
