"""Prometheus metrics of the views worker, with every name and unit."""

from datetime import datetime

from prometheus_client import Counter, Histogram

from sinks.roll_up import Rolled
from streams.worker.metrics import TopicWorkerMetrics

ROWS_BUCKETS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 20_000, 100_000)
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FRESHNESS_BUCKETS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1, 2.5, 5, 15, 60, 300)


class ViewsMetrics(TopicWorkerMetrics):
    """The worker's counters and measurements."""

    def __init__(self) -> None:
        super().__init__("views")
        self.records = Counter(
            "purser_views_records", "Records written or parked.", registry=self.registry
        )
        self.events = Counter(
            "purser_views_events", "Events whose rows were written.", registry=self.registry
        )
        self.dead_letters = Counter(
            "purser_views_dead_letters",
            "Records that could not be folded, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.retries = Counter(
            "purser_views_retries", "Failed attempts of a step.", ["step"], registry=self.registry
        )
        self.flush_rows = Histogram(
            "purser_views_flush_rows",
            "Records written together.",
            buckets=ROWS_BUCKETS,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "purser_views_step_seconds",
            "Duration of each fold, write and settle in seconds.",
            ["step"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.rolled_up = Counter(
            "purser_views_rolled_up_buckets",
            "Buckets of the totals that were rolled up, by level.",
            ["level"],
            registry=self.registry,
        )
        self.freshness = Histogram(
            "purser_views_freshness_seconds",
            "Time from a flush's newest PostgreSQL commit until its rows are visible.",
            buckets=FRESHNESS_BUCKETS,
            registry=self.registry,
        )

    def wrote(self, *, records: int, events: int, newest: datetime | None, now: datetime) -> None:
        """Count a flush whose rows are written; `newest` is the latest commit time among them."""
        self.records.inc(records)
        self.events.inc(events)
        self.flush_rows.observe(records)
        if newest is not None:
            self.freshness.observe(max(0.0, (now - newest).total_seconds()))

    def rolled(self, rolled: Rolled) -> None:
        """Count the buckets that were rolled up."""
        self.rolled_up.labels(level="minute").inc(rolled.minutes)
        self.rolled_up.labels(level="ten_minutes").inc(rolled.ten_minutes)
        self.rolled_up.labels(level="hour").inc(rolled.hours)
        self.rolled_up.labels(level="six_hours").inc(rolled.six_hours)
        self.rolled_up.labels(level="day").inc(rolled.days)
        self.rolled_up.labels(level="month").inc(rolled.months)
