"""Lists the retry queue and the dead letters of payments in, for operators. Blocks.

It reads the topics beside the workers and changes nothing.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from payins.journal import ANSWER_SECONDS, Journal
from payins.letters import DeadLetter
from payins.retries import Retry
from schemas.errors import ServiceUnavailable
from schemas.topics import PAYINS_DEAD_LETTERS_TOPIC, PAYINS_RETRIES_TOPIC

Item = TypeVar("Item")


def retries(bootstrap: str) -> list[Retry]:
    """Return the queue, what is tried next first; raises ServiceUnavailable."""
    found = _read(bootstrap, PAYINS_RETRIES_TOPIC, Retry)
    return sorted(found.values(), key=lambda retry: retry.not_before)


def dead_letters(bootstrap: str) -> list[DeadLetter]:
    """Return the dead letters, the newest first; raises ServiceUnavailable."""
    found = _read(bootstrap, PAYINS_DEAD_LETTERS_TOPIC, DeadLetter)
    return sorted(found.values(), key=lambda letter: letter.at, reverse=True)


def _read(bootstrap: str, topic: str, item_type: type[Item]) -> Mapping[str, Item]:
    admin = AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0}, logger=logging.getLogger("purser.kafka")
    )
    try:
        topics = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise ServiceUnavailable(
            f"Kafka at {bootstrap} does not answer: {error.args[0].str()}; check that it runs"
        ) from error
    if topic not in topics:
        raise ServiceUnavailable(
            f"topic {topic} does not exist at {bootstrap}; the payins worker makes it at its start"
        )
    return asyncio.run(_read_once(Journal(bootstrap, topic, item_type)))


async def _read_once(journal: Journal[Item]) -> Mapping[str, Item]:
    await journal.start()
    try:
        return dict(journal.items)
    finally:
        await journal.stop()
