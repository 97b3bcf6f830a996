"""Settings of a repair: the servers that it looks at and changes; `purser env` prints them all."""

from typing import Annotated

from pydantic import Field

from schemas.dsn import Dsn
from schemas.settings import Bootstrap, Secret, Settings, TopicName
from schemas.topics import DEAD_LETTERS_TOPIC, PAYMENTS_TOPIC


class RepairSettings(Settings):
    """Addresses of the servers; DebeziumSettings name the connector, the slot and the rest."""

    postgres_admin_dsn: Dsn
    """The owner. It drops the slot as Debezium's role, of which it must be a member."""
    postgres_reader_dsn: Dsn
    clickhouse_url: Secret
    kafka_bootstrap: Bootstrap
    connect_url: Annotated[str, Field(pattern=r"^https?://")]
    payments_topic: TopicName = PAYMENTS_TOPIC
    dead_letters_topic: TopicName = DEAD_LETTERS_TOPIC
