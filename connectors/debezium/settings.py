"""Settings of the Debezium connector: the values that differ between installations."""

from typing import Annotated

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from schemas.record_size import LARGEST_RECORD_BYTES, MESSAGE_BYTES_MOST
from schemas.settings import PortNumber, Seconds, Settings, Text
from schemas.topics import CONNECTOR, PUBLICATION, REPLICATION_SLOT

# PostgreSQL allows only lower-case letters, digits and underscores in a slot's name.
SlotName = Annotated[str, Field(pattern="^[a-z0-9_]{1,63}$")]


class DebeziumSettings(Settings):
    """How Connect reaches the database, and how the topic is created."""

    model_config = SettingsConfigDict(env_prefix="PURSER_DEBEZIUM_")

    connector: str = Field(default=CONNECTOR, pattern="^[A-Za-z0-9_-]{1,100}$")
    database_host: Text = "127.0.0.1"
    database_port: PortNumber = 5432
    database_name: Text = "purser"
    database_user: Text = "purser_cdc"
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
    queue_bytes_most: int = Field(default=64 * 1024**2, ge=MESSAGE_BYTES_MOST, le=1024**3)
    """Most memory of waiting rows; Debezium then reads no further. Large rows reach it before
    `queue_records_most`, and would otherwise be more than Java's heap.
    """
    record_bytes_most: int = Field(
        default=MESSAGE_BYTES_MOST, ge=LARGEST_RECORD_BYTES, le=MESSAGE_BYTES_MOST
    )
    """Limit of the producer and of the topic. A row above it would stop the connector for good."""
