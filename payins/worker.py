"""The worker of payments in: `python -m payins.worker`.

It reads the payments topic and remembers what is pending, asks the processors when it is due,
and acts on the webhooks in the inbox. It takes all settings from the environment (`purser env`
prints them for the local stack). It can be killed at any time: what it knows is in PostgreSQL and
in Kafka, and what it was doing is done again under the same keys.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime
from typing import Any, NoReturn

from connectors.stripe import webhook as stripe_webhook
from connectors.stripe.amounts import STRIPE
from connectors.stripe.processor import StripeProcessor
from connectors.stripe.settings import StripeSettings
from payins.carry_out import CarryOut
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
from schemas.errors import DecodeError, PurserError
from schemas.runtime import entry_point, utc_now
from streams.decode import decode
from streams.source_topic import Brokers, SourceTopic
from streams.worker.process import run_worker
from streams.worker.startup import check_port_free, wait_for
from streams.worker.topic_worker import TopicWorker
from writer.append import open_async_writer
from writer.migrate import check_schema


class PayInsWorker(TopicWorker):
    """The memory and the poller, which the Faust app feeds."""

    def __init__(
        self, settings: PayInsSettings, stripe: StripeSettings, source: SourceTopic
    ) -> None:
        self._metrics = WorkerMetrics()
        super().__init__(settings, self._metrics, source.topic_id)
        self._settings = settings
        self._stripe = stripe
        self._source = source
        self._memory = PendingMemory(settings.pending_max)
        self._opened = AsyncExitStack()
        self._ready = asyncio.Event()
        self._webhooks: Webhooks | None = None
        self._rounds: Rounds | None = None
        for topic, name, read in (
            (settings.payments_topic, "payments", self._read_payments),
            (settings.webhooks_topic, "webhooks", self._read_webhooks),
        ):
            self.app.agent(self.app.topic(topic), name=name, concurrency=1)(read)

    # -- life

    async def on_start(self) -> None:
        """Connect, and start the rounds, the endpoints and the monitor."""
        await self.serve_operators()
        try:
            self._rounds = await self._open()
        except PurserError as error:
            self.fail(error)
            return
        self.watch(self.fail)
        for each in self._rounds.tasks():
            self.add_future(self._guard(each))
        self.health.started()
        self._ready.set()

    async def on_stop(self) -> None:
        """Close all connections."""
        await super().on_stop()
        await self._opened.aclose()

    async def finish_work(self) -> None:
        """End the visits in progress; those that are left are found again."""
        if self._rounds is not None:
            await self._rounds.drain()

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
        resolver = Resolver(carry_out, writer, processors, table.claimed, clock)
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
            owned=lambda: frozenset(self.consumer_state().next_offsets),
            metrics=self._metrics,
            settings=settings,
            clock=clock,
        )

    # -- what is read

    async def _read_payments(self, stream: Any) -> None:
        """Fold records into the memory. It is rebuilt at a start, so they are done at once."""
        await self._read(stream, self._remember)

    async def _read_webhooks(self, stream: Any) -> None:
        """Act on webhooks; they are acknowledged when everything they say is recorded."""
        await self._read(stream, self._act_on)

    async def _read(self, stream: Any, handle: Callable[[Any], Awaitable[None]]) -> None:
        async for event in stream.noack().events():
            try:
                await handle(event.value)
                event.ack()
            except Exception as error:  # noqa: BLE001 - it ends the worker
                self.fail(error)
                await asyncio.Event().wait()

    async def _remember(self, records: Any) -> None:
        results: Counter[str] = Counter()
        for record in records:
            try:
                event = decode(record).event
            except DecodeError:
                results["unreadable"] += 1  # the views worker parks it
                continue
            is_readable = self._memory.apply(event, record.partition)
            results["read" if is_readable else "not_ours"] += 1
        for result, count in results.items():
            self._metrics.records.labels(result=result).inc(count)

    async def _act_on(self, records: Any) -> None:
        await self._ready.wait()
        assert self._webhooks is not None
        await self._webhooks.handle(records)

    async def _guard(self, task: Awaitable[None]) -> None:
        try:
            await task
        except Exception as error:  # noqa: BLE001 - it ends the worker
            self.fail(error)


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
    brokers = Brokers(settings.kafka_bootstrap, settings.payments_topic)
    return wait_for("Kafka", brokers.existing_topic, wait_seconds=wait_seconds)


@entry_point
def main() -> NoReturn:
    """Run until told to stop."""
    settings = PayInsSettings.load()
    stripe = StripeSettings.load()
    run_worker(settings, lambda: PayInsWorker(settings, stripe, prepare(settings)))


if __name__ == "__main__":
    main()
