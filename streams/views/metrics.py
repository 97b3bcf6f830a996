"""Prometheus metrics of the views worker, with every name and unit.

The metrics use a separate registry, so that tests can run several workers in one process.
"""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

ROWS_BUCKETS = (1, 10, 30, 100, 300, 1_000, 3_000, 10_000, 20_000, 100_000)
SECONDS_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
FRESHNESS_BUCKETS = (0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.35, 0.5, 1, 2.5, 5, 15, 60, 300)


class ViewsMetrics:
    """The worker's counters and measurements; `/metrics` serves `registry`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
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
            "Duration of each fold, write and refresh in seconds.",
            ["step"],
            buckets=SECONDS_BUCKETS,
            registry=self.registry,
        )
        self.refreshed_keys = Counter(
            "purser_views_refreshed_keys",
            "Keys of seller_revenue recomputed.",
            registry=self.registry,
        )
        self.freshness = Histogram(
            "purser_views_freshness_seconds",
            "Time from a flush's newest PostgreSQL commit until its rows are visible.",
            buckets=FRESHNESS_BUCKETS,
            registry=self.registry,
        )
        self.lag = Gauge(
            "purser_views_lag_records",
            "End of the partition minus the lowest offset not done.",
            ["partition"],
            registry=self.registry,
        )
        self.commit_age = Gauge(
            "purser_views_commit_age_seconds",
            "Time since this process last committed; 0 before its first commit.",
            registry=self.registry,
        )
        self.records_in_flight = Gauge(
            "purser_views_records_in_flight",
            "Records read and not yet acknowledged.",
            registry=self.registry,
        )
        self.healthy = Gauge("purser_views_healthy", "1 if healthy else 0.", registry=self.registry)

    def wrote(self, *, records: int, events: int, newest: datetime | None, now: datetime) -> None:
        """Count a flush whose rows are written; `newest` is the latest commit time among them."""
        self.records.inc(records)
        self.events.inc(events)
        self.flush_rows.observe(records)
        if newest is not None:
            self.freshness.observe(max(0.0, (now - newest).total_seconds()))

    def show_lag(self, lag: Mapping[int, int]) -> None:
        """Show the lag of the assigned partitions, and of no others."""
        self.lag.clear()
        for partition, records in lag.items():
            self.lag.labels(partition=str(partition)).set(records)
