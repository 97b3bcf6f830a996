"""The batch consumer's state, for metrics, the health endpoint and log messages."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from faust.types import TP


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHealth:
    """State of the consumer for operators and metrics; times in seconds."""

    lag: Mapping[TP, int]
    """Records (and transaction markers) not yet done, per assigned partition."""
    batches_in_flight: Mapping[TP, int]
    records_in_flight: int
    bytes_in_flight: int
    seconds_unacknowledged: float
    """Age of the oldest batch that the stream has not acknowledged."""
    seconds_since_commit: float | None
    """None before the first commit of this process."""
    seconds_since_answer: float | None
    """Time since a broker last answered a fetch, with or without records. Brokers answer
    constantly. None while no partition is assigned or none has been answered for.
    """
    records_total: int
    batches_total: int
    commits_total: int
    commit_failures_total: int
    rewinds_total: int


def describe(partitions: Iterable[TP]) -> str:
    """Format partitions for a message, as `topic[0 1 2] other[4]`."""
    by_topic: dict[str, list[int]] = {}
    for tp in sorted(partitions):
        by_topic.setdefault(tp.topic, []).append(tp.partition)
    return (
        " ".join(f"{topic}[{' '.join(map(str, numbers))}]" for topic, numbers in by_topic.items())
        or "nothing"
    )
