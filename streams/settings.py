"""Settings of a stream worker."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from schemas.settings import (
    CHECKOUT,
    Bootstrap,
    Bytes,
    Count,
    Folder,
    GroupName,
    Seconds,
    Settings,
)
from schemas.topics import VIEWS_CONSUMER


class StreamSettings(Settings):
    """Settings for reading payments; workers of one group differ only in `worker_instance`."""

    kafka_bootstrap: Bootstrap = "127.0.0.1:15401"
    consumer_group: GroupName = VIEWS_CONSUMER
    worker_instance: GroupName | None = None
    """This worker's name, unique in its group and the same after a restart. A worker that returns
    within `session_timeout_seconds` then gets its partitions back without a rebalance.
    """
    home: Folder = CHECKOUT / ".purser"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    batch_records_max: Count = 10_000
    """Most records of one fetch."""
    fetch_partition_bytes_max: Bytes = 4 * 1024**2
    """Most bytes of one partition in one fetch; a single larger record is still delivered."""
    fetch_response_bytes_max: Bytes = 16 * 1024**2
    gather_milliseconds: Annotated[int, Field(ge=5, le=400)] = 30
    """How long the broker gathers while fetches come closely. Longer costs less CPU."""
    in_flight_batches_max: Count = 256
    """Most unacknowledged batches per partition; at this limit the partition is not read."""
    in_flight_bytes_max: Bytes = 192 * 1024**2
    """Most memory of unacknowledged records, over all partitions; at this limit nothing is read."""

    commit_interval_seconds: Seconds = 1.0
    session_timeout_seconds: Annotated[float, Field(ge=6, le=300)] = 10.0
    """After this time the partitions of a dead or hanging worker go to another worker."""
    heartbeat_interval_seconds: Seconds = 1.0
    """Also how quickly a worker notices that another one joined."""
    rebalance_timeout_seconds: Seconds = 30.0
    request_timeout_seconds: Seconds = 30.0
    stop_timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 9.0
    """A worker that takes longer to stop is killed; what it did not commit is read again."""

    @model_validator(mode="after")
    def timeouts_fit(self) -> Self:
        """Check Kafka's own rules for the timeouts, because a broker's error is less clear."""
        if self.heartbeat_interval_seconds * 3 > self.session_timeout_seconds:
            raise ValueError(
                "PURSER_HEARTBEAT_INTERVAL_SECONDS must be at most a third of"
                " PURSER_SESSION_TIMEOUT_SECONDS"
            )
        if self.request_timeout_seconds < self.session_timeout_seconds:
            raise ValueError(
                "PURSER_REQUEST_TIMEOUT_SECONDS must not be shorter than"
                " PURSER_SESSION_TIMEOUT_SECONDS"
            )
        return self

    @property
    def data_dir(self) -> Path:
        """Faust's folder."""
        return self.home / "streams" / self.consumer_group / (self.worker_instance or "worker")

    @property
    def brokers(self) -> list[str]:
        """The bootstrap addresses, one by one."""
        return self.kafka_bootstrap.split(",")
