"""The views worker's process: `python -m streams.views.worker`.

It reads the payments topic and maintains the views in ClickHouse. It takes all settings from the
environment (`purser env` prints them for the local stack). It exits with status 0 only after a
clean stop. Any other reason is logged in one line, and the affected work is not acknowledged.
"""

import logging
from dataclasses import dataclass
from time import monotonic
from typing import ClassVar, NoReturn

from schemas.gc_tuning import tune_gc
from schemas.runtime import entry_point
from schemas.views import LEDGER_ENTRIES
from sinks.clickhouse import ClickHouseSink
from sinks.migrate import check_schema
from sinks.settings import ClickHouseSettings
from sinks.source_topics import remember_topic
from streams.fold import FoldedBatch
from streams.views.agent import add_views_agent
from streams.views.coalescer import Coalescer
from streams.views.metrics import ViewsMetrics
from streams.views.parking import DeadLetterTopic, FloodDetector
from streams.views.pipeline import Pipeline
from streams.views.rolling import Rolling
from streams.views.settings import ViewsSettings
from streams.views.startup import check_topics
from streams.views.steps import Receipt, ViewSteps
from streams.worker.process import run_worker
from streams.worker.startup import check_port_free, wait_for
from streams.worker.topic_worker import TopicWorker

_log = logging.getLogger("purser.views")

FIRST_PARTITION = 0

# These log unreachable servers, which our own errors report as well.
TALKATIVE_LOGGERS = ("urllib3", "clickhouse_connect")


class ViewsWorker(TopicWorker):
    """The pipeline, which the Faust app feeds."""

    exits: ClassVar[str] = "exiting, nothing was acknowledged"

    def __init__(self, settings: ViewsSettings, prepared: "Prepared") -> None:
        self._metrics = ViewsMetrics()
        super().__init__(settings, self._metrics, prepared.topic_id)
        self._dead_letters = DeadLetterTopic(settings.kafka_bootstrap, settings.dead_letters_topic)
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
        add_views_agent(self.app, settings.payments_topic, self._pipeline)
        self._rolling = Rolling(
            ClickHouseSettings.load(settings.clickhouse_url.get_secret_value()),
            settings.roll_up_seconds,
            is_mine=self._reads_first_partition,
            on_rolled=self._metrics.rolled,
        )
        self._rolls_up = LEDGER_ENTRIES in settings.tables

    # -- what the pipeline tells

    def retrying(self, step: str, error: BaseException, attempt: int) -> None:
        """A step failed and will be retried."""
        self._metrics.retries.labels(step=step).inc()
        self.health.retrying(step, error, monotonic())
        _log.warning("%s failed, attempt %d: %s", step, attempt, error)

    def recovered(self, step: str) -> None:
        """A step that was retried has succeeded."""
        self.health.recovered(step, monotonic())
        _log.info("%s succeeded after retries", step)

    # -- life

    async def on_start(self) -> None:
        """Start the pipeline, the endpoints and the monitor."""
        self._pipeline.start()
        await self.serve_operators()
        self.watch(self._pipeline.fail)
        self.add_future(self._end_on_failure())
        if self._rolls_up:
            self.add_future(self._rolling.run())
        self.health.started()

    async def on_stop(self) -> None:
        """Stop the pipeline and close all connections."""
        await self._pipeline.close()
        await self._dead_letters.stop()
        await super().on_stop()

    async def finish_work(self) -> None:
        """Write and acknowledge what was read."""
        await self._pipeline.drain()

    def _reads_first_partition(self) -> bool:
        """Whether this worker rolls the totals up: of several, one does."""
        return FIRST_PARTITION in self.consumer_state().next_offsets

    async def _end_on_failure(self) -> None:
        """End the process when the pipeline fails; nothing more is acknowledged."""
        self.fail(await self._pipeline.failed())


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


def open_worker(settings: ViewsSettings) -> ViewsWorker:
    """A worker whose servers answer; raises what `prepare` does."""
    for name in TALKATIVE_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    worker = ViewsWorker(settings, prepare(settings))
    tune_gc()
    return worker


@entry_point
def main() -> NoReturn:
    """Run until told to stop, or until continuing would lose something."""
    settings = ViewsSettings.load()
    run_worker(settings, lambda: open_worker(settings))


if __name__ == "__main__":
    main()
