"""The views worker's process: `python -m streams.views.worker`.

It reads the payments topic and maintains the views in ClickHouse. It takes all settings from the
environment (`purser env` prints them for the local stack). It exits with status 0 only after a
clean stop. Any other reason is logged in one line, and the affected work is not acknowledged.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass
from time import monotonic
from typing import Any, NoReturn

import faust
import mode

from schemas.errors import ConfigurationError, PurserError, ServiceUnavailable
from schemas.gc_tuning import tune_gc
from schemas.runtime import COULD_NOT, UNEXPECTED, entry_point, interrupted_status
from sinks.clickhouse import ClickHouseSink
from sinks.migrate import check_schema
from sinks.settings import ClickHouseSettings
from sinks.source_topics import remember_topic
from streams.app import configure_logging, make_app, run
from streams.fold import FoldedBatch
from streams.views.agent import add_views_agent
from streams.views.coalescer import Coalescer
from streams.views.health import Health
from streams.views.lag_monitor import (
    PROBE_SECONDS,
    ConsumerState,
    EndOffsets,
    LagMonitor,
    TopicProbe,
)
from streams.views.metrics import ViewsMetrics
from streams.views.parking import DeadLetterTopic, FloodDetector
from streams.views.pipeline import Pipeline
from streams.views.server import HealthServer
from streams.views.settings import ViewsSettings
from streams.views.startup import check_port_free, check_topics, wait_for
from streams.views.steps import Receipt, ViewSteps
from streams.watchdog import LoopWatchdog

_log = logging.getLogger("purser.views")

STOPPED = 1
"""Exit status of a worker that has stopped rather than skip or lose a record."""
# These log unreachable servers, which our own errors report as well.
TALKATIVE_LOGGERS = ("urllib3", "clickhouse_connect")


class ViewsWorker(mode.Service):
    """The pipeline, its monitor and its endpoints, next to the Faust app that feeds them."""

    mundane_level = "debug"

    def __init__(
        self,
        app: faust.App,
        settings: ViewsSettings,
        prepared: "Prepared",
        watchdog: LoopWatchdog,
    ) -> None:
        super().__init__()
        self._watchdog = watchdog
        self._app = app
        self._settings = settings
        self._metrics = ViewsMetrics()
        self._health = Health(
            settings.stall_limits, topic=settings.payments_topic, topic_id=prepared.topic_id
        )
        self._server = HealthServer(settings.worker_metrics_port, self._health, self._metrics)
        self._dead_letters = DeadLetterTopic(settings.kafka_bootstrap, settings.dead_letters_topic)
        self._end_offsets = EndOffsets(settings.kafka_bootstrap, settings.payments_topic)
        self.failure: BaseException | None = None
        steps = ViewSteps(
            sink=prepared.sink,
            dead_letters=self._dead_letters,
            guard=FloodDetector(settings.flood_limits),
            metrics=self._metrics,
            consumer=settings.consumer_group,
            tables=settings.tables,
        )
        self._pipeline: Pipeline[FoldedBatch, Receipt] = Pipeline(
            steps, Coalescer(settings.coalescer_limits), settings.pipeline_limits, self
        )
        add_views_agent(app, settings.payments_topic, self._pipeline)
        app.service(self)
        # At that signal the flow is stopped, but the consumer, which commits at its end, is not.
        app.on_before_shutdown.connect(self._drain)

    # -- what the pipeline tells

    def retrying(self, step: str, error: BaseException, attempt: int) -> None:
        """A step failed and will be retried."""
        self._metrics.retries.labels(step=step).inc()
        self._health.retrying(step, error, monotonic())
        _log.warning("%s failed, attempt %d: %s", step, attempt, error)

    def recovered(self, step: str) -> None:
        """A step that was retried has succeeded."""
        self._health.recovered(step, monotonic())
        _log.info("%s succeeded after retries", step)

    # -- life

    async def on_start(self) -> None:
        """Start the pipeline, the endpoints and the monitor."""
        self._pipeline.start()
        await self._server.start()
        monitor = LagMonitor(
            health=self._health,
            metrics=self._metrics,
            end_offsets=self._end_offsets,
            topic_look=TopicProbe(
                self._settings.kafka_bootstrap,
                self._settings.payments_topic,
                self._settings.consumer_group,
            ),
            consumer_state=self._consumer_state,
            end=self._pipeline.fail,
            loop_runs=self._watchdog.loop_runs,
            interval_seconds=self._settings.probe_seconds,
        )
        self.add_future(monitor.run())
        self.add_future(self._end_on_failure())
        self._health.started()

    async def on_stop(self) -> None:
        """Stop the pipeline and close all connections."""
        await self._pipeline.close()
        await self._end_offsets.stop()
        await self._dead_letters.stop()
        await self._server.stop()

    async def _drain(self, _sender: Any, **_kwargs: Any) -> None:
        """Finish the work in progress within `drain_seconds`; the rest will be read again."""
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._pipeline.drain()
        except TimeoutError:
            _log.warning(
                "stopping before the work in progress is finished: it took more than %g s",
                self._settings.drain_seconds,
            )

    async def _end_on_failure(self) -> None:
        """End the process when the pipeline fails; nothing more is acknowledged."""
        self.failure = await self._pipeline.failed()
        self._health.failed(self.failure)
        if isinstance(self.failure, PurserError):
            _log.critical("exiting, nothing was acknowledged: %s", self.failure)
        else:
            _log.critical("exiting, nothing was acknowledged", exc_info=self.failure)
        signal.raise_signal(signal.SIGTERM)

    def _consumer_state(self) -> ConsumerState:
        consumer: Any = self._app.consumer
        state = consumer.health()
        return ConsumerState(
            next_offsets={tp.partition: each for tp, each in consumer.next_offsets().items()},
            records_in_flight=state.records_in_flight,
            seconds_since_commit=state.seconds_since_commit,
            member_id=consumer.member_id(),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """What the checks before the start have found: the sink, and which topic is read."""

    sink: ClickHouseSink
    topic_id: str


def prepare(settings: ViewsSettings) -> Prepared:
    """Wait for the servers, check them and the configuration, and connect.

    Raises:
        ServiceUnavailable: a server was not available in time.
        ConfigurationError: a port, a password or a schema is wrong.
    """
    url = settings.clickhouse_url.get_secret_value()
    wait_seconds = settings.startup_wait_seconds
    check_port_free(settings.worker_metrics_port)
    wait_for("ClickHouse", lambda: check_schema(url), wait_seconds=wait_seconds)
    topic_id = wait_for(
        "Kafka",
        lambda: check_topics(
            settings.kafka_bootstrap, settings.payments_topic, settings.dead_letters_topic
        ),
        wait_seconds=wait_seconds,
    )
    sink = ClickHouseSink(ClickHouseSettings.load(url))
    # Before the worker joins the group: its partitions would wait for it afterwards.
    wait_for("ClickHouse", sink.warm_up, wait_seconds=wait_seconds)
    wait_for(
        "ClickHouse",
        lambda: remember_topic(url, settings.payments_topic, topic_id),
        wait_seconds=wait_seconds,
    )
    return Prepared(sink=sink, topic_id=topic_id)


@entry_point
def main() -> NoReturn:
    """Run until told to stop, or until continuing would lose something."""
    status = 0
    worker = None
    try:
        settings = ViewsSettings.load()
        configure_logging(settings.log_level)
        for name in TALKATIVE_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        prepared = prepare(settings)
        app = make_app(settings, topic_ids={settings.payments_topic: prepared.topic_id})
        watchdog = LoopWatchdog(settings.stall_exit_seconds + PROBE_SECONDS)
        worker = ViewsWorker(app, settings, prepared, watchdog)
        tune_gc()
        run(app, settings, watchdog)
    except PurserError as error:
        sys.stderr.write(f"purser: {error}\n")
        status = error.exit_status
    except KeyboardInterrupt:
        status = interrupted_status()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else COULD_NOT
    if worker is not None and worker.failure is not None:
        status = _status_of(worker.failure)
    _exit(status)


def _status_of(failure: BaseException) -> int:
    if not isinstance(failure, PurserError):
        return UNEXPECTED
    return COULD_NOT if isinstance(failure, ServiceUnavailable | ConfigurationError) else STOPPED


def _exit(status: int) -> NoReturn:
    """Exit immediately: a thread that waits for an unreachable server must not delay it."""
    logging.shutdown()
    sys.stderr.flush()
    if any(thread is not threading.main_thread() for thread in threading.enumerate()):
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
