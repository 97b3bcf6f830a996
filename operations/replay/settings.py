"""Settings of a replay: what it reads, where it builds, and how much of the machine it may take.

Environment: the field's name in capitals behind `PURSER_`, for example PURSER_KAFKA_BOOTSTRAP.
"""

from typing import Annotated, Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import refused_setting
from schemas.topics import PAYMENTS_TOPIC

Count = Annotated[int, Field(gt=0, le=10_000_000)]
Bytes = Annotated[int, Field(gt=0, le=1024**3)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]


class ReplaySettings(BaseSettings):
    """What a replay needs to know; it reads PostgreSQL and Kafka and writes ClickHouse only."""

    model_config = SettingsConfigDict(
        env_prefix="PURSER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    postgres_reader_dsn: SecretStr = Field(min_length=1)
    clickhouse_url: SecretStr = Field(min_length=1)
    """Of the live views; what is rebuilt grows in a database beside theirs, on the same server."""
    kafka_bootstrap: str = Field(min_length=1)
    payments_topic: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")] = PAYMENTS_TOPIC

    replay_rows_max: Count = 50_000
    """Records that are folded and written in one go."""
    replay_fetch_bytes_max: Bytes = 4 * 1024**2
    """Bytes of one partition in one fetch: 1 MiB, the client's default, halves the rate."""
    replay_tail_records_max: Count = 20_000
    """How far behind the topic's end the bulk path may stop and leave the rest to one reader."""
    replay_give_up_seconds: Seconds = 120.0
    """How long a server that is away is waited for; what was done until then is kept."""
    replay_reader_restarts_max: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a reader process that died is started anew."""

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: naming the variable that is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise refused_setting(error) from None
