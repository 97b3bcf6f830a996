"""Prometheus metrics of the views worker; every name and unit stands here.

The metrics have a registry of their own, so that several workers fit into one process in tests.
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
    """What the worker counts and measures; `registry` is what `/metrics` shows."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.records = Counter(
            "purser_views_records", "Records read and written or parked.", registry=self.registry
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
            "purser_views_retries", "Tries of a step that failed.", ["step"], registry=self.registry
        )
        self.flush_rows = Histogram(
            "purser_views_flush_rows",
            "Records written together.",
            buckets=ROWS_BUCKETS,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "purser_views_step_seconds",
            "Seconds that fold, write and refresh took, each time.",
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
            "From a flush's newest PostgreSQL commit to its rows being visible.",
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
            "Since the last commit of this process; 0 before the first.",
            registry=self.registry,
        )
        self.records_in_flight = Gauge(
            "purser_views_records_in_flight",
            "Records read and not acknowledged.",
            registry=self.registry,
        )
        self.healthy = Gauge("purser_views_healthy", "1 healthy, 0 not.", registry=self.registry)

    def wrote(self, *, records: int, events: int, newest: datetime | None, now: datetime) -> None:
        """Count a flush whose rows are in; `newest` is the latest commit time among them."""
        self.records.inc(records)
        self.events.inc(events)
        self.flush_rows.observe(records)
        if newest is not None:
            self.freshness.observe(max(0.0, (now - newest).total_seconds()))

    def show_lag(self, lag: Mapping[int, int]) -> None:
        """Show the lag of the partitions that are ours, and of no others."""
        self.lag.clear()
        for partition, records in lag.items():
            self.lag.labels(partition=str(partition)).set(records)
