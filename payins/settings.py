"""Settings of the worker of payments in, in addition to those of every stream worker."""

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from payins.notices import PollLimits
from payins.processors import CallLimits
from schemas.dsn import Dsn
from schemas.settings import Count, GroupName, PortNumber, Seconds, TopicName
from schemas.topics import (
    PAYINS_CONSUMER,
    PAYINS_CURSORS_TOPIC,
    PAYINS_DEAD_LETTERS_TOPIC,
    PAYINS_RETRIES_TOPIC,
    PAYMENTS_TOPIC,
    WEBHOOKS_TOPIC,
)
from streams.settings import StreamSettings
from streams.views.health import StallLimits


class PayInsSettings(StreamSettings):
    """Settings of the worker; workers of one group share the payments."""

    postgres_dsn: Dsn
    consumer_group: GroupName = PAYINS_CONSUMER
    payments_topic: TopicName = PAYMENTS_TOPIC
    webhooks_topic: TopicName = WEBHOOKS_TOPIC
    payins_retries_topic: TopicName = PAYINS_RETRIES_TOPIC
    payins_dead_letters_topic: TopicName = PAYINS_DEAD_LETTERS_TOPIC
    payins_cursors_topic: TopicName = PAYINS_CURSORS_TOPIC
    worker_metrics_port: PortNumber = 15_411
    """Port of `/metrics` and `/health`, on 127.0.0.1 only."""

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

    startup_wait_seconds: Seconds = 120.0
    drain_seconds: Annotated[float, Field(ge=0.5, le=30)] = 6.0
    stall_unhealthy_seconds: Seconds = 15.0
    stall_exit_seconds: Seconds = 60.0
    probe_seconds: Seconds = 2.0

    @model_validator(mode="after")
    def limits_fit(self) -> Self:
        """Check limits that depend on each other."""
        if self.drain_seconds >= self.stop_timeout_seconds:
            raise ValueError("PURSER_DRAIN_SECONDS must be less than PURSER_STOP_TIMEOUT_SECONDS")
        return self

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
        )

    @property
    def stall_limits(self) -> StallLimits:
        """When a worker without progress is unhealthy, and when it exits."""
        until_given_out = self.session_timeout_seconds + self.rebalance_timeout_seconds
        return StallLimits(
            unhealthy_seconds=self.stall_unhealthy_seconds,
            exit_seconds=self.stall_exit_seconds,
            unread_exit_seconds=max(self.stall_exit_seconds, until_given_out),
        )
