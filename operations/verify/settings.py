"""Settings of a verification: two servers to compare, and the way between them; it only reads."""

from pydantic import Field

from schemas.dsn import Dsn
from schemas.settings import Bootstrap, Secret, Settings, TopicName
from schemas.topics import PAYMENTS_TOPIC, REPLICATION_SLOT


class VerifySettings(Settings):
    """Addresses of the source and the views; PostgreSQL's reader role is sufficient.

    Without Kafka's address, an event that is in neither the views nor the topic may be reported as
    late although it is lost.
    """

    postgres_reader_dsn: Dsn
    clickhouse_url: Secret
    """`http://user:password@host:port/database`."""
    kafka_bootstrap: Bootstrap | None = None
    payments_topic: TopicName = PAYMENTS_TOPIC
    debezium_slot: str = Field(default=REPLICATION_SLOT, pattern="^[a-z0-9_]{1,63}$")
