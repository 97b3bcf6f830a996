"""Settings of a stream worker: one frozen object per process, from the environment.

Environment: the field's name in capitals behind `PURSER_`, for example PURSER_KAFKA_BOOTSTRAP.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError
from schemas.topics import VIEWS_CONSUMER

if TYPE_CHECKING:
    from streams.transport.limits import TransportLimits

CHECKOUT = Path(__file__).resolve().parent.parent
PORT_MAX = 65_535

Count = Annotated[int, Field(gt=0, le=10_000_000)]
Bytes = Annotated[int, Field(gt=0, le=1024**3)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class StreamSettings(BaseSettings):
    """What a worker needs to know to read payments; workers of a group differ in their instance."""

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True)

    kafka_bootstrap: str = "127.0.0.1:15401"
    """Brokers, `host:port[,host:port …]`."""
    consumer_group: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] = VIEWS_CONSUMER
    worker_instance: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")] | None = None
    """This worker's name in its group, no two alike, the same after a restart: then a worker that
    is back within `session_timeout_seconds` has its partitions again without a rebalance."""
    home: Path = CHECKOUT / ".purser"
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
        for address in value.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or "/" in host or not port.isascii() or not port.isdecimal():
                raise ValueError(f"{address.strip()!r} is not host:port")
            if not 0 < int(port) <= PORT_MAX:
                raise ValueError(f"{address.strip()!r} has no port between 1 and {PORT_MAX}")
        return ",".join(address.strip() for address in value.split(","))

    @field_validator("home")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        """Make a folder absolute, so that it means the same from wherever it is read."""
        return value.expanduser().absolute()

    @model_validator(mode="after")
    def timeouts_fit(self) -> Self:
        """Kafka's own rules between the timeouts, before a broker refuses them less clearly."""
        if self.heartbeat_interval_seconds * 3 > self.session_timeout_seconds:
            raise ValueError(
                "heartbeat_interval_seconds must be at most a third of session_timeout_seconds"
            )
        if self.request_timeout_seconds < self.session_timeout_seconds:
            raise ValueError(
                "request_timeout_seconds must not be shorter than session_timeout_seconds"
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

    @property
    def limits(self) -> "TransportLimits":
        """The limits that the transport is told through the broker's URL."""
        # Here, because it takes half a second to import Faust, and settings are read everywhere.
        from streams.transport.limits import TransportLimits

        return TransportLimits(
            in_flight_batches_max=self.in_flight_batches_max,
            in_flight_bytes_max=self.in_flight_bytes_max,
            fetch_response_bytes_max=self.fetch_response_bytes_max,
        )

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises ConfigurationError naming the variable and what is wrong with it.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            name = "_".join(str(part) for part in first["loc"]).upper()
            what = (
                f"PURSER_{name}: {first['msg']} (got {first['input']!r})" if name else first["msg"]
            )
            raise ConfigurationError(f"{what}; correct it or unset it") from error
