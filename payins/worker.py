"""The worker of payments in: `python -m payins.worker`.

It reads the payments topic and remembers what is pending, asks the processors when it is due,
and acts on the webhooks in the inbox. It takes all settings from the environment (`purser env`
prints them for the local stack). It can be killed at any time: what it knows is in PostgreSQL and
in Kafka, and what it was doing is done again under the same keys.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NoReturn

import faust
import mode

from connectors.stripe import webhook as stripe_webhook
from connectors.stripe.amounts import STRIPE
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from payins.carry_out import CarryOut, utc_now
from payins.catch_up import CatchUp
from payins.checkpoints import Checkpoints
from payins.inbox import PARTITIONS, TOPIC_CONFIG
from payins.journal import COMPACTED, Journal, ensure_topics
from payins.letters import DeadLetter
from payins.metrics import WorkerMetrics
from payins.notices import EventsPoll, Notices
from payins.pending import PendingMemory
from payins.poller import Poller
from payins.processors import Processors
from payins.rebuild import Table
from payins.resolve import Resolver
from payins.retries import Retry
from payins.rounds import Rounds
from payins.settings import PayInsSettings
from payins.webhooks import Webhooks
from schemas.errors import ConfigurationError, DecodeError, PurserError, ServiceUnavailable
from schemas.runtime import COULD_NOT, UNEXPECTED, entry_point, interrupted_status
from streams.app import configure_logging, make_app, run
from streams.decode import decode
from streams.source_topic import Brokers, SourceTopic
from streams.views.health import Health
from streams.views.lag_monitor import (
    PROBE_SECONDS,
    ConsumerState,
    EndOffsets,
    LagMonitor,
    TopicProbe,
)
from streams.views.server import HealthServer
from streams.views.startup import check_port_free, wait_for
from streams.watchdog import LoopWatchdog
from writer.append import open_async_writer
from writer.migrate import check_schema

STOPPED = 1
"""Exit status of a worker that has stopped so that it is started again."""

_log = logging.getLogger("purser.payins")


class PayInsWorker(mode.Service):
    """The memory, the poller and the endpoints, beside the Faust app that feeds them."""

    mundane_level = "debug"

    def __init__(
        self,
        app: faust.App,
        settings: PayInsSettings,
        stripe: StripeSettings,
        source: SourceTopic,
        watchdog: LoopWatchdog,
    ) -> None:
        super().__init__()
        self._app = app
        self._settings = settings
        self._stripe = stripe
        self._source = source
        self._watchdog = watchdog
        self._metrics = WorkerMetrics()
        self._memory = PendingMemory(settings.pending_max)
        self._health = Health(
            settings.stall_limits, topic=settings.payments_topic, topic_id=source.topic_id
        )
        self._server = HealthServer(settings.worker_metrics_port, self._health, self._metrics)
        self._end_offsets = EndOffsets(settings.kafka_bootstrap, settings.payments_topic)
        self._opened = AsyncExitStack()
        self._ready = asyncio.Event()
        self._webhooks: Webhooks | None = None
        self._rounds: Rounds | None = None
        self.failure: BaseException | None = None
        app.agent(app.topic(settings.payments_topic), name="payments", concurrency=1)(
            self._read_payments
        )
        app.agent(app.topic(settings.webhooks_topic), name="webhooks", concurrency=1)(
            self._read_webhooks
        )
        app.service(self)
        # At that signal the flow is stopped, but the consumer, which commits at its end, is not.
        app.on_before_shutdown.connect(self._drain)

    # -- life

    async def on_start(self) -> None:
        """Connect, and start the rounds, the endpoints and the monitor."""
        await self._server.start()
        try:
            self._rounds = await self._open()
        except PurserError as error:
            self.fail(error)
            return
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
            end=self.fail,
            loop_runs=self._watchdog.loop_runs,
            interval_seconds=self._settings.probe_seconds,
        )
        self.add_future(monitor.run())
        for each in self._rounds.tasks():
            self.add_future(self._guard(each))
        self._health.started()
        self._ready.set()

    async def on_stop(self) -> None:
        """Close all connections."""
        await self._end_offsets.stop()
        await self._server.stop()
        await self._opened.aclose()

    def fail(self, error: BaseException) -> None:
        """End the process; only the first failure counts."""
        if self.failure is not None:
            return
        self.failure = error
        self._health.failed(error)
        if isinstance(error, PurserError):
            _log.critical("exiting: %s", error)
        else:
            _log.critical("exiting", exc_info=error)
        signal.raise_signal(signal.SIGTERM)

    async def _open(self) -> Rounds:
        settings, clock = self._settings, utc_now
        dsn = settings.postgres_dsn.get_secret_value()
        writer = await self._opened.enter_async_context(open_async_writer(dsn))
        processors = Processors(
            [StripeProcessor(self._stripe)], self._metrics, settings.call_limits
        )
        self._opened.push_async_callback(processors.close)
        retries = Journal(settings.kafka_bootstrap, settings.payins_retries_topic, Retry)
        letters = Journal(settings.kafka_bootstrap, settings.payins_dead_letters_topic, DeadLetter)
        cursors = Journal(settings.kafka_bootstrap, settings.payins_cursors_topic, datetime)
        for journal in (retries, letters, cursors):
            await journal.start()
            self._opened.push_async_callback(journal.stop)
        table = Table(dsn, page_rows=settings.page_rows)
        carry_out = CarryOut(writer, processors, self._metrics, clock)
        resolver = Resolver(carry_out, writer, processors, table.paid_elsewhere, clock)
        poller = Poller(self._memory, resolver, retries, letters, self._metrics, clock)
        partitions = len(self._source.partitions)
        catch_up = CatchUp(
            memory=self._memory,
            table=table,
            checkpoints=Checkpoints(dsn, partitions),
            partitions=partitions,
        )
        notices = Notices(writer, processors, resolver, poller, self._metrics)
        self._webhooks = Webhooks(
            notices, poller, {STRIPE: stripe_webhook.read}, at_once=settings.visits_at_once
        )
        return Rounds(
            memory=self._memory,
            poller=poller,
            catch_up=catch_up,
            retries=retries,
            events=EventsPoll(notices, processors, cursors, clock, settings.poll_limits),
            psps=processors.names,
            partitions=partitions,
            owned=lambda: frozenset(self._consumer_state().next_offsets),
            metrics=self._metrics,
            settings=settings,
            clock=clock,
        )

    # -- what is read

    async def _read_payments(self, stream: Any) -> None:
        """Fold records into the memory. It is rebuilt at a start, so they are done at once."""
        async for event in stream.noack().events():
            try:
                for record in event.value:
                    self._remember(record)
                event.ack()
            except Exception as error:  # noqa: BLE001 - it ends the worker
                self.fail(error)
                await asyncio.Event().wait()

    def _remember(self, record: Any) -> None:
        try:
            event = decode(record).event
        except DecodeError:
            self._metrics.records.labels(result="unreadable").inc()  # the views worker parks it
            return
        is_readable = self._memory.apply(event, record.partition)
        self._metrics.records.labels(result="read" if is_readable else "not_ours").inc()

    async def _read_webhooks(self, stream: Any) -> None:
        """Act on webhooks; they are acknowledged when everything they say is recorded."""
        async for event in stream.noack().events():
            try:
                await self._ready.wait()
                assert self._webhooks is not None
                await self._webhooks.handle(event.value)
                event.ack()
            except Exception as error:  # noqa: BLE001 - it ends the worker
                self.fail(error)
                await asyncio.Event().wait()

    # -- what else

    async def _guard(self, task: Any) -> None:
        try:
            await task
        except Exception as error:  # noqa: BLE001 - it ends the worker
            self.fail(error)

    async def _drain(self, _sender: Any, **_kwargs: Any) -> None:
        """Finish the visits in progress within `drain_seconds`; the rest is found again."""
        if self._rounds is None:
            return
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                await self._rounds.drain()
        except TimeoutError:
            _log.warning("stopping before every visit has ended")

    def _consumer_state(self) -> ConsumerState:
        consumer: Any = self._app.consumer
        state = consumer.health()
        return ConsumerState(
            next_offsets={
                tp.partition: each
                for tp, each in consumer.next_offsets().items()
                if tp.topic == self._settings.payments_topic
            },
            records_in_flight=state.records_in_flight,
            seconds_since_commit=state.seconds_since_commit,
            member_id=consumer.member_id(),
        )


def prepare(settings: PayInsSettings) -> SourceTopic:
    """Wait for the servers, check them, and make the topics that are ours.

    Raises:
        ServiceUnavailable: a server was not available in time.
        ConfigurationError: a port, a password or a schema is wrong.
    """
    wait_seconds = settings.startup_wait_seconds
    dsn = settings.postgres_dsn.get_secret_value()
    check_port_free(settings.worker_metrics_port)
    wait_for("PostgreSQL", lambda: check_schema(dsn), wait_seconds=wait_seconds)
    ours = {
        settings.webhooks_topic: (PARTITIONS, TOPIC_CONFIG),
        settings.payins_retries_topic: (1, COMPACTED),
        settings.payins_dead_letters_topic: (1, COMPACTED),
        settings.payins_cursors_topic: (1, COMPACTED),
    }
    wait_for(
        "Kafka",
        lambda: ensure_topics(settings.kafka_bootstrap, ours),
        wait_seconds=wait_seconds,
    )
    return wait_for("Kafka", lambda: _source_topic(settings), wait_seconds=wait_seconds)


def _source_topic(settings: PayInsSettings) -> SourceTopic:
    found = Brokers(settings.kafka_bootstrap, settings.payments_topic).topic()
    if found is None:
        raise ServiceUnavailable(
            f"topic {settings.payments_topic} does not exist at {settings.kafka_bootstrap}; is the"
            " connector registered?"
        )
    return found


@entry_point
def main() -> NoReturn:
    """Run until told to stop."""
    status = 0
    worker = None
    try:
        settings = PayInsSettings.load()
        stripe = StripeSettings.load()
        configure_logging(settings.log_level)
        source = prepare(settings)
        app = make_app(settings, topic_ids={settings.payments_topic: source.topic_id})
        watchdog = LoopWatchdog(settings.stall_exit_seconds + PROBE_SECONDS)
        worker = PayInsWorker(app, settings, stripe, source, watchdog)
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
