"""Prometheus metrics that every worker of a topic has, under names of its own.

Each worker has a separate registry, so that tests can run several in one process.
"""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, PlatformCollector, ProcessCollector


class TopicWorkerMetrics:
    """Health, lag and the process itself; `/metrics` serves `registry`.

    `name` is the worker's: the lag of the worker `views` is `purser_views_lag_records`.
    """

    def __init__(self, name: str, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.lag = Gauge(
            f"purser_{name}_lag_records",
            "End of the partition minus the lowest offset not done.",
            ["partition"],
            registry=self.registry,
        )
        self.commit_age = Gauge(
            f"purser_{name}_commit_age_seconds",
            "Time since this process last committed; 0 before its first commit.",
            registry=self.registry,
        )
        self.records_in_flight = Gauge(
            f"purser_{name}_records_in_flight",
            "Records read and not yet acknowledged.",
            registry=self.registry,
        )
        self.healthy = Gauge(
            f"purser_{name}_healthy", "1 if healthy else 0.", registry=self.registry
        )

    def show_lag(self, lag: Mapping[int, int]) -> None:
        """Show the lag of the assigned partitions, and of no others."""
        self.lag.clear()
        for partition, records in lag.items():
            self.lag.labels(partition=str(partition)).set(records)
