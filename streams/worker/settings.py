"""Settings that every worker of the payments topic has, in addition to those for reading it."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from schemas.settings import PortNumber, Seconds, TopicName
from schemas.topics import PAYMENTS_TOPIC
from streams.settings import StreamSettings
from streams.worker.health import StallLimits


class TopicWorkerSettings(StreamSettings):
    """Where the worker reads and reports, and when it ends itself."""

    payments_topic: TopicName = PAYMENTS_TOPIC
    """The topic to read: Debezium's topic of the table `payments`."""
    worker_metrics_port: PortNumber
    """Port of `/metrics` and `/health`, on 127.0.0.1 only."""

    startup_wait_seconds: Seconds = 120.0
    """How long the worker waits at its start for servers that are down."""
    drain_seconds: Annotated[float, Field(ge=0.5, le=30)] = 6.0
    """How long a stop waits for work in progress; less than stop_timeout_seconds."""

    stall_unhealthy_seconds: Seconds = 15.0
    """After this time with waiting records and no progress, the worker is unhealthy."""
    stall_exit_seconds: Seconds = 45.0
    """After this time with waiting records and no progress, the worker exits so that the supervisor
    restarts it. A worker whose event loop is blocked for about as long exits, too.
    """
    probe_seconds: Seconds = 2.0
    """How often the lag is measured."""

    @model_validator(mode="after")
    def limits_fit(self) -> Self:
        """Check limits that depend on each other: a worker that is well must never end itself."""
        if self.drain_seconds >= self.stop_timeout_seconds:
            raise ValueError("PURSER_DRAIN_SECONDS must be less than PURSER_STOP_TIMEOUT_SECONDS")
        if self.probe_seconds * 2 > self.stall_exit_seconds:
            raise ValueError(
                "PURSER_PROBE_SECONDS must be at most half of PURSER_STALL_EXIT_SECONDS"
            )
        return self

    @property
    def stall_limits(self) -> StallLimits:
        """When a worker without progress is unhealthy, and when it exits."""
        # A dead worker keeps its partitions for a session, then nobody has any for a rebalance.
        until_given_out = self.session_timeout_seconds + self.rebalance_timeout_seconds
        return StallLimits(
            unhealthy_seconds=self.stall_unhealthy_seconds,
            exit_seconds=self.stall_exit_seconds,
            unread_exit_seconds=max(self.stall_exit_seconds, until_given_out),
        )
