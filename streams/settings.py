"""Settings of a stream worker."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from schemas.settings import (
    CHECKOUT,
    PORT_HIGHEST,
    Bytes,
    Count,
    Folder,
    GroupName,
    Seconds,
    Settings,
)
from schemas.topics import VIEWS_CONSUMER


class StreamSettings(Settings):
    """What a worker needs to know to read payments; workers of a group differ in their instance."""

    kafka_bootstrap: str = "127.0.0.1:15401"
    """Brokers, `host:port[,host:port …]`."""
    consumer_group: GroupName = VIEWS_CONSUMER
    worker_instance: GroupName | None = None
    """This worker's name in its group, no two alike, the same after a restart: then a worker that
    is back within `session_timeout_seconds` has its partitions again without a rebalance."""
    home: Folder = CHECKOUT / ".purser"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    rows_max: Count = 20_000
    """Records that are written to the views in one insert, at most."""
    linger_seconds: Seconds = 0.1
    """How long records wait for more before they are written."""

    batch_records_max: Count = 10_000
    """Records of one fetch."""
    fetch_partition_bytes_max: Bytes = 4 * 1024**2
    """Bytes of one partition in one fetch; one larger record still comes through."""
    fetch_response_bytes_max: Bytes = 16 * 1024**2
    in_flight_batches_max: Count = 256
    """Unacknowledged batches per partition; beyond it the partition is not read."""
    in_flight_bytes_max: Bytes = 192 * 1024**2
    """Memory of unacknowledged records of all partitions; beyond it nothing is read."""

    commit_interval_seconds: Seconds = 1.0
    session_timeout_seconds: Annotated[float, Field(ge=6, le=300)] = 10.0
    """After it the partitions of a worker that died, or hangs, go to another."""
    heartbeat_interval_seconds: Seconds = 1.0
    """Also how fast a worker notices that another one joined."""
    rebalance_timeout_seconds: Seconds = 30.0
    request_timeout_seconds: Seconds = 30.0
    stop_timeout_seconds: Annotated[float, Field(ge=1, le=60)] = 9.0
    """After it a worker that was told to stop is ended hard; what it did not commit comes again."""

    @field_validator("kafka_bootstrap")
    @classmethod
    def addresses(cls, value: str) -> str:
        """Accept only `host:port` pairs, comma separated."""
        for number, address in enumerate(value.split(","), start=1):
            host, _, port = address.strip().rpartition(":")
            if not host or "/" in host or not port.isascii() or not port.isdecimal():
                raise ValueError(f"address number {number} is not host:port")
            if not 0 < int(port) <= PORT_HIGHEST:
                raise ValueError(
                    f"address number {number} has no port between 1 and {PORT_HIGHEST}"
                )
        return ",".join(address.strip() for address in value.split(","))

    @model_validator(mode="after")
    def timeouts_fit(self) -> Self:
        """Kafka's own rules between the timeouts, before a broker refuses them less clearly."""
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
