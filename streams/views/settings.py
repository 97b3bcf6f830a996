"""Settings of the views worker: those of every stream worker, and what the views need besides."""

from typing import Annotated

from pydantic import Field, field_validator

from schemas.settings import Count, PortNumber, Seconds, Secret, Share, TopicName
from schemas.topics import DEAD_LETTERS_TOPIC, PAYMENTS_TOPIC
from schemas.views import TABLES, Table
from streams.fold import FOLDED_TABLES
from streams.settings import StreamSettings
from streams.views.coalescer import CoalescerLimits
from streams.views.health import StallLimits
from streams.views.parking import FloodLimits
from streams.views.pipeline import PipelineLimits


class ViewsSettings(StreamSettings):
    """What the views worker needs to know."""

    clickhouse_url: Secret
    """`http://user:password@host:port/database`."""
    payments_topic: TopicName = PAYMENTS_TOPIC
    """What is read; Debezium's topic of the table `payments`."""
    dead_letters_topic: TopicName = DEAD_LETTERS_TOPIC
    """Where records go that cannot be folded; made when it is not there."""
    views: str = ",".join(table.name for table in FOLDED_TABLES)
    """Tables that this worker keeps, comma separated; seller_revenue follows ledger_entries.

    Whatever it leaves out must be kept by workers of another group: offsets are the group's.
    """
    worker_metrics_port: PortNumber = 15_410
    """Where `/metrics` and `/health` answer, on 127.0.0.1 only."""

    linger_seconds: Seconds = 1.0
    """How long records wait for more, under load; it shrinks with the load, to nothing."""
    busy_records_per_second: Count = 10_000
    """The load from which the linger is as long as it gets."""
    refresh_seconds: Seconds = 0.5
    """Between two refreshes of the totals, at least."""

    give_up_seconds: Seconds = 300.0
    """How long a write is tried again before the worker ends without acknowledging it."""
    startup_wait_seconds: Seconds = 120.0
    """How long to wait for servers that are down before the worker starts."""
    drain_seconds: Annotated[float, Field(ge=0.5, le=30)] = 6.0
    """How long a stop waits for what is under way; less than stop_timeout_seconds."""

    stall_unhealthy_seconds: Seconds = 15.0
    """Records wait and none was done for so long: unhealthy."""
    stall_exit_seconds: Seconds = 45.0
    """Records wait and none was done for so long: end, and let the supervisor start anew. So does a
    worker whose event loop does not run for about as long."""
    probe_seconds: Seconds = 2.0
    """How often the lag is looked at."""

    flood_share_max: Share = 0.5
    """Stop rather than park when more than this share of recent records cannot be folded."""
    flood_records_min: Count = 100
    """Never stop for fewer dead letters than this."""

    @field_validator("views")
    @classmethod
    def known_views(cls, value: str) -> str:
        """Accept only names of tables that events are folded into, each at most once."""
        known = [table.name for table in FOLDED_TABLES]
        names = [name.strip() for name in value.split(",")]
        if not set(names) <= set(known):
            raise ValueError(f"must name only views among {', '.join(known)}")
        return ",".join(dict.fromkeys(names))

    @property
    def tables(self) -> frozenset[Table]:
        """The tables of `views`."""
        return frozenset(TABLES[name] for name in self.views.split(","))

    @property
    def coalescer_limits(self) -> CoalescerLimits:
        """How much goes into a flush, and when."""
        return CoalescerLimits(
            rows_max=self.rows_max,
            linger_seconds=self.linger_seconds,
            busy_records_per_second=self.busy_records_per_second,
        )

    @property
    def pipeline_limits(self) -> PipelineLimits:
        """How flushes are carried."""
        return PipelineLimits(
            refresh_seconds=self.refresh_seconds, give_up_seconds=self.give_up_seconds
        )

    @property
    def stall_limits(self) -> StallLimits:
        """When a worker that does nothing is unhealthy, and when it ends."""
        return StallLimits(
            unhealthy_seconds=self.stall_unhealthy_seconds, exit_seconds=self.stall_exit_seconds
        )

    @property
    def flood_limits(self) -> FloodLimits:
        """When dead letters become a flood."""
        return FloodLimits(share_max=self.flood_share_max, records_min=self.flood_records_min)
