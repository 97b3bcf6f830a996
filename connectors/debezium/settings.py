"""Settings of the Debezium connector: the values that differ between installations."""

from typing import Annotated, Self

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError
from schemas.topics import CONNECTOR, PUBLICATION, REPLICATION_SLOT

# PostgreSQL allows only lower-case letters, digits and underscores in a slot's name.
SlotName = Annotated[str, Field(pattern="^[a-z0-9_]{1,63}$")]
Seconds = Annotated[float, Field(gt=0, le=3600)]


class DebeziumSettings(BaseSettings):
    """How Connect reaches the database, and how the topic is created.

    Environment variables are `PURSER_DEBEZIUM_` plus the field's name in capitals, for example
    PURSER_DEBEZIUM_DATABASE_HOST.
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_DEBEZIUM_", frozen=True)

    connector: str = Field(default=CONNECTOR, pattern="^[A-Za-z0-9_-]{1,100}$")
    database_host: str = Field(default="127.0.0.1", min_length=1)
    database_port: int = Field(default=5432, gt=0, le=65_535)
    database_name: str = Field(default="purser", min_length=1)
    database_user: str = Field(default="purser_cdc", min_length=1)
    # Connect looks up the password itself, so it appears in no topic and in no API response.
    database_password: str = Field(default="${env:PURSER_CDC_PASSWORD}", min_length=1, repr=False)
    slot: SlotName = REPLICATION_SLOT
    publication: SlotName = PUBLICATION
    topic_partitions: int = Field(default=4, gt=0, le=1000)
    topic_replication_factor: int = Field(default=1, gt=0, le=9)
    heartbeat_seconds: Seconds = 5.0
    poll_seconds: Seconds = 0.05
    batch_records_most: int = Field(default=4096, gt=0, le=1_000_000)
    queue_records_most: int = Field(default=16_384, gt=0, le=10_000_000)
    record_bytes_most: int = Field(default=16 * 1024 * 1024, gt=0, le=1024**3)

    @classmethod
    def load(cls, **given: object) -> Self:
        """Read the environment; `given` wins over it.

        Raises ConfigurationError naming the variable and what is wrong with it.
        """
        try:
            return cls(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            variable = "PURSER_DEBEZIUM_" + "_".join(map(str, first["loc"])).upper()
            raise ConfigurationError(
                f"{variable}: {first['msg']} (got {first['input']!r}); correct it or unset it"
            ) from error
