"""The service's metrics for Prometheus; routes are labelled by their operation, never by a path."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.facts import NO_ROUTE

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class ApiMetrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "purser_api_requests",
            "Requests answered, by operation and status",
            ("route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "purser_api_request_seconds",
            "Time from the headers to the end of the answer",
            ("route",),
            buckets=SECONDS,
            registry=self.registry,
        )
        # Kept, because looking a child up costs more than counting.
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self.in_flight = Gauge(
            "purser_api_requests_in_flight", "Requests being worked on", registry=self.registry
        )
        self.replays = Counter(
            "purser_api_replays",
            "Repeated requests that got the first answer, by who knew it",
            ("source",),
            registry=self.registry,
        )
        self.cache_failures = Counter(
            "purser_api_answer_cache_failures",
            "Times that Redis did not answer, or not with what was stored",
            ("kind",),
            registry=self.registry,
        )
        self.limited = Counter(
            "purser_api_rate_limited", "Requests refused with 429", registry=self.registry
        )

    def finished(self, route: str, status: int, seconds: float) -> None:
        """Count one request; without a status its client left before the answer began."""
        found = self._children.get((route, status))
        if found is None:
            labels = route, str(status) if status else "left"
            found = self._requests.labels(*labels), self._seconds.labels(route)
            self._children[route, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def refused(self, status: int) -> None:
        """Count an answer to what was no request."""
        self._requests.labels(NO_ROUTE, str(status)).inc()
