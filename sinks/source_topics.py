"""Remembers which topics the views were made from, by the ids that Kafka gave them.

A topic that was deleted and made anew has the same name. Its readers go on as if nothing had
happened, but what the views had not read of the old one is gone. Only this memory tells.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from sinks.client import connect, translated
from sinks.settings import ClickHouseSettings


@dataclass(frozen=True, slots=True)
class ReadTopic:
    """A topic that was read, and since when."""

    topic_id: str
    first_read_at: datetime


def remember_topic(clickhouse_url: str, topic: str, topic_id: str) -> None:
    """Note that this topic is read; repeatable. Raises as `sinks.client.connect` does."""
    if any(each.topic_id == topic_id for each in topics_read(clickhouse_url, topic)):
        return
    _command(
        clickhouse_url,
        "INSERT INTO source_topics (topic, topic_id) VALUES ({topic:String}, {topic_id:String})",
        topic,
        topic_id,
    )


def forget_other_topics(clickhouse_url: str, topic: str, topic_id: str) -> None:
    """Forget the topics that this one replaces, after it was filled again with every event.

    Raises as `sinks.client.connect` does.
    """
    remember_topic(clickhouse_url, topic, topic_id)
    _command(
        clickhouse_url,
        "ALTER TABLE source_topics DELETE"
        " WHERE topic = {topic:String} AND topic_id != {topic_id:String}"
        " SETTINGS mutations_sync = 1",
        topic,
        topic_id,
    )


def topics_read(clickhouse_url: str, topic: str) -> list[ReadTopic]:
    """The topics of this name that were read, the oldest first.

    Raises as `sinks.client.connect` does.
    """
    settings = ClickHouseSettings.load(clickhouse_url)
    with translated(settings.address()), connect(settings) as client:
        rows = client.query(
            "SELECT topic_id, min(first_read_at) AS since FROM source_topics"
            " WHERE topic = {topic:String} GROUP BY topic_id ORDER BY since, topic_id",
            parameters={"topic": topic},
        ).result_rows
    return [ReadTopic(topic_id, since.replace(tzinfo=UTC)) for topic_id, since in rows]


def _command(clickhouse_url: str, statement: str, topic: str, topic_id: str) -> None:
    settings = ClickHouseSettings.load(clickhouse_url)
    with translated(settings.address()), connect(settings) as client:
        client.command(statement, parameters={"topic": topic, "topic_id": topic_id})
