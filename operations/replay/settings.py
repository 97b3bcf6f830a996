"""Settings of a replay: what it reads, where it builds, and how much of the machine it may take."""

from typing import Annotated

from pydantic import Field

from schemas.settings import Bytes, Count, Seconds, Secret, Settings, Text, TopicName
from schemas.topics import PAYMENTS_TOPIC


class ReplaySettings(Settings):
    """What a replay needs to know; it reads PostgreSQL and Kafka and writes only ClickHouse."""

    postgres_reader_dsn: Secret
    clickhouse_url: Secret
    """Of the live views; what is rebuilt grows in a database beside theirs, on the same server."""
    kafka_bootstrap: Text
    payments_topic: TopicName = PAYMENTS_TOPIC

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
