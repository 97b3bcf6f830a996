"""Settings of the worker of payments in, in addition to those of every worker of the topic."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from payins.notices import PollLimits
from payins.processors import CallLimits
from schemas.dsn import Dsn
from schemas.settings import Count, GroupName, PortNumber, Seconds, TopicName
from schemas.topics import (
    PAYINS_CONSUMER,
    PAYINS_CURSORS_TOPIC,
    PAYINS_DEAD_LETTERS_TOPIC,
    PAYINS_RETRIES_TOPIC,
    WEBHOOKS_TOPIC,
)
from streams.worker.settings import TopicWorkerSettings


class PayInsSettings(TopicWorkerSettings):
    """Settings of the worker; workers of one group share the payments."""

    postgres_dsn: Dsn
    consumer_group: GroupName = PAYINS_CONSUMER
    webhooks_topic: TopicName = WEBHOOKS_TOPIC
    payins_retries_topic: TopicName = PAYINS_RETRIES_TOPIC
    payins_dead_letters_topic: TopicName = PAYINS_DEAD_LETTERS_TOPIC
    payins_cursors_topic: TopicName = PAYINS_CURSORS_TOPIC
    worker_metrics_port: PortNumber = 15_411
    stall_exit_seconds: Seconds = 60.0
    gather_milliseconds: Annotated[int, Field(ge=5, le=400)] = 100
    """Nobody waits for the worker, so it takes what comes within a tenth of a second together."""

    pending_max: Count = 500_000
    """Most pending payments in memory; more are read from the table when there is room."""
    visits_at_once: Annotated[int, Field(gt=0, le=200)] = 16
    """Most pending payments that are asked about at the same time."""
    payins_call_seconds: Seconds = 30.0
    """The most that one call of a processor takes; nobody waits for the worker's."""
    breaker_failures: Annotated[int, Field(gt=0, le=1000)] = 5
    breaker_seconds: Seconds = 10.0
    events_poll_seconds: Seconds = 30.0
    """How often the processors' lists of events are read."""
    events_overlap_seconds: Seconds = 600.0
    """How far before the last reading an event may still appear in the list."""
    events_lookback_days: Annotated[int, Field(gt=0, le=30)] = 7
    """How far back the list is read for the first time; processors keep it 30 days."""
    page_rows: Count = 5_000
    """Rows of a page when all payments are read from PostgreSQL."""
    checkpoint_seconds: Seconds = 120.0
    """How often new rows are read from PostgreSQL, and a checkpoint is written there."""

    @property
    def call_limits(self) -> CallLimits:
        """Limits of a call of a processor."""
        return CallLimits(
            call_seconds=self.payins_call_seconds,
            breaker_failures=self.breaker_failures,
            breaker_seconds=self.breaker_seconds,
        )

    @property
    def poll_limits(self) -> PollLimits:
        """How far back the lists of events are read."""
        return PollLimits(
            overlap=timedelta(seconds=self.events_overlap_seconds),
            lookback=timedelta(days=self.events_lookback_days),
            at_once=self.visits_at_once,
        )
