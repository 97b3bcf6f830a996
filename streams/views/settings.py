"""Settings of the views worker, in addition to those of every worker of the topic."""

from pydantic import field_validator

from schemas.settings import Count, PortNumber, Seconds, Secret, Share, TopicName
from schemas.topics import DEAD_LETTERS_TOPIC
from schemas.views import TABLES, Table
from streams.fold import FOLDED_TABLES
from streams.views.coalescer import CoalescerLimits
from streams.views.parking import FloodLimits
from streams.views.pipeline import PipelineLimits
from streams.worker.settings import TopicWorkerSettings


class ViewsSettings(TopicWorkerSettings):
    """Settings of the views worker."""

    clickhouse_url: Secret
    """`http://user:password@host:port/database`."""
    dead_letters_topic: TopicName = DEAD_LETTERS_TOPIC
    """Topic for records that cannot be folded; created if it does not exist."""
    views: str = ",".join(table.name for table in FOLDED_TABLES)
    """Tables that this worker maintains, comma separated; seller_revenue goes with ledger_entries.

    Workers of another group must maintain the tables left out, because offsets belong to a group.
    """
    worker_metrics_port: PortNumber = 15_410

    rows_max: Count = 20_000
    """Most records written to the views in one insert."""
    linger_seconds: Seconds = 1.0
    """How long records wait for more records under load; it shrinks with the load, down to 0."""
    busy_records_per_second: Count = 10_000
    """At this load and above, the linger has its full length."""
    settle_seconds: Seconds = 0.5
    """Least time between two records of the progress, and of what late entries do to totals."""
    roll_up_seconds: Seconds = 5.0
    """How often the worker looks for totals to roll up."""

    give_up_seconds: Seconds = 300.0
    """How long a write is retried before the worker exits without acknowledging it."""

    flood_share_max: Share = 0.5
    """Stop instead of parking when more than this share of recent records cannot be folded."""
    flood_records_min: Count = 100
    """Never stop for fewer dead letters than this number."""

    @field_validator("views")
    @classmethod
    def known_views(cls, value: str) -> str:
        """Accept only names of tables that events are folded into; drop repeated names."""
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
        """How large flushes become, and when they are due."""
        return CoalescerLimits(
            rows_max=self.rows_max,
            linger_seconds=self.linger_seconds,
            busy_records_per_second=self.busy_records_per_second,
        )

    @property
    def pipeline_limits(self) -> PipelineLimits:
        """Limits of the pipeline."""
        return PipelineLimits(
            settle_seconds=self.settle_seconds, give_up_seconds=self.give_up_seconds
        )

    @property
    def flood_limits(self) -> FloodLimits:
        """When dead letters become a flood."""
        return FloodLimits(share_max=self.flood_share_max, records_min=self.flood_records_min)
