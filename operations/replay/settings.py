"""Settings of a replay: what it reads, where it builds, and how many resources it uses."""

from typing import Annotated

from pydantic import Field

from schemas.dsn import Dsn
from schemas.settings import Bootstrap, Bytes, Count, Seconds, Secret, Settings, TopicName
from schemas.topics import PAYMENTS_TOPIC


class ReplaySettings(Settings):
    """Settings of a replay; it reads PostgreSQL and Kafka and writes only to ClickHouse."""

    postgres_reader_dsn: Dsn
    clickhouse_url: Secret
    """URL of the live views; the rebuilt ones grow in a second database on the same server."""
    kafka_bootstrap: Bootstrap
    payments_topic: TopicName = PAYMENTS_TOPIC

    replay_rows_max: Count = 50_000
    """Most records that are folded and written at once."""
    replay_fetch_bytes_max: Bytes = 4 * 1024**2
    """Most bytes of one partition in one fetch; 1 MiB, the client's default, halves the rate."""
    replay_tail_records_max: Count = 20_000
    """How close to the topic's end the bulk path stops and leaves the rest to one reader."""
    replay_give_up_seconds: Seconds = 120.0
    """How long to wait for a server that is down; the work done so far is kept."""
    replay_reader_restarts_max: Annotated[int, Field(ge=0, le=100)] = 3
    """How often a dead reader process is restarted."""
