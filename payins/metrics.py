"""Prometheus metrics of payments in, with every name and unit.

The service and the worker each have one instance, in a registry of its own or one that they pass.
"""

from collections.abc import Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from payins.pending import PendingCount
from payins.policies import Question
from streams.worker.metrics import TopicWorkerMetrics

CALL_BUCKETS = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 2, 4, 8, 16)

BREAKER_STATES = {"closed": 0, "half-opened": 1, "opened": 2}
"""The library's names -> the value of the gauge."""


class PayInsMetrics:
    """Counters and measurements of what is asked of processors, and of what is pending."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.calls = Counter(
            "purser_payins_calls",
            "Calls of a processor, by what was asked and how it ended.",
            ["psp", "operation", "outcome"],
            registry=self.registry,
        )
        self.call_seconds = Histogram(
            "purser_payins_call_seconds",
            "Duration of a call of a processor.",
            ["psp", "operation"],
            buckets=CALL_BUCKETS,
            registry=self.registry,
        )
        self.breaker = Gauge(
            "purser_payins_breaker_state",
            "Circuit breaker of a processor: 0 closed, 1 half open, 2 open.",
            ["psp"],
            registry=self.registry,
        )
        self.fallbacks = Counter(
            "purser_payins_fallbacks",
            "Payments that went on to another processor, by the evidence for it.",
            ["psp", "evidence"],
            registry=self.registry,
        )
        self.evidence = Counter(
            "purser_payins_evidence_commands",
            "Commands that followed from a processor's books, by event type and result.",
            ["event_type", "result"],
            registry=self.registry,
        )
        self.unrecordable = Counter(
            "purser_payins_unrecordable",
            "Facts in a processor's books that no rule can record; they need a person.",
            ["reason"],
            registry=self.registry,
        )
        self._open_questions()
        self._what_came_of_it()

    def _open_questions(self) -> None:
        self.pending = Gauge(
            "purser_payins_pending",
            "Payments with an open question, by what is open.",
            ["status"],
            registry=self.registry,
        )
        self.pending_age = Gauge(
            "purser_payins_pending_oldest_seconds",
            "Age of the oldest open question.",
            ["status"],
            registry=self.registry,
        )
        self.resolved = Counter(
            "purser_payins_resolved",
            "Steps that the worker took for pending payments, by step and result.",
            ["step", "result"],
            registry=self.registry,
        )
        self.retries = Gauge(
            "purser_payins_retries",
            "Payments in the retry queue.",
            registry=self.registry,
        )

    def _what_came_of_it(self) -> None:
        self.retried = Counter(
            "purser_payins_retried",
            "Attempts that failed and were put off, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.dead_letters = Counter(
            "purser_payins_dead_letters",
            "Dead letters written, by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "purser_payins_webhooks",
            "Webhooks taken from the inbox, by what they led to.",
            ["result"],
            registry=self.registry,
        )
        self.rebuilding = Gauge(
            "purser_payins_rebuilding",
            "1 while the memory of pending payments is read from PostgreSQL, else 0.",
            registry=self.registry,
        )


class WorkerMetrics(TopicWorkerMetrics, PayInsMetrics):
    """What only the worker measures, and what every worker does."""

    def __init__(self) -> None:
        TopicWorkerMetrics.__init__(self, "payins")
        PayInsMetrics.__init__(self, self.registry)
        self.records = Counter(
            "purser_payins_records",
            "Records of the payments topic, by whether they could be read.",
            ["result"],
            registry=self.registry,
        )
        self.checkpoint_age = Gauge(
            "purser_payins_checkpoint_age_seconds",
            "Age of the oldest checkpoint of this worker's partitions; NaN while there is none.",
            registry=self.registry,
        )

    def show_complete_to(self, complete_to: datetime | None, now: datetime) -> None:
        """Show how old the oldest checkpoint is."""
        age = (now - complete_to).total_seconds() if complete_to else float("nan")
        self.checkpoint_age.set(age)

    def show_pending(self, counts: Mapping[Question, PendingCount], now: datetime) -> None:
        """Show what is pending, and how old the oldest is."""
        for question in Question:
            found = counts.get(question)
            age = (now - found.oldest_since).total_seconds() if found else 0.0
            self.pending.labels(status=question.value).set(found.number if found else 0)
            self.pending_age.labels(status=question.value).set(age)
