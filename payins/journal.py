"""Small maps that outlive a process, in compacted Kafka topics: retries, dead letters, cursors.

Every worker reads a topic from its beginning and goes on reading, so that whoever takes over a
payment knows what its last worker knew. The last record of a key counts. A change is confirmed by
all in-sync replicas before it counts here.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

import msgspec
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaError as AdminError
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.errors import ConfigurationError, ServiceUnavailable

Item = TypeVar("Item")

ANSWER_SECONDS = 5.0
READ_SECONDS = 60.0
REQUEST_SECONDS = 10.0

_log = logging.getLogger("purser.payins")


class Store(Protocol[Item]):
    """A map that outlives the process."""

    @property
    def items(self) -> Mapping[str, Item]:
        """What it holds."""

    async def put(self, key: str, item: Item) -> None:
        """Set a key; raises ServiceUnavailable."""

    async def remove(self, key: str) -> None:
        """Remove a key, if it is there; raises ServiceUnavailable."""


class MemoryMap(Generic[Item]):
    """A map without a server, for tests."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    async def put(self, key: str, item: Item) -> None:
        self.items[key] = item

    async def remove(self, key: str) -> None:
        self.items.pop(key, None)


class Journal(Generic[Item]):
    """A map in a compacted topic; `start` it before use, and `stop` it."""

    def __init__(self, bootstrap: str, topic: str, item_type: type[Item]) -> None:
        self.items: dict[str, Item] = {}
        self._bootstrap = bootstrap
        self._topic = topic
        self._decode = msgspec.json.Decoder(item_type).decode
        self._encode = msgspec.json.Encoder().encode
        self._producer: AIOKafkaProducer | None = None
        self._consumer: AIOKafkaConsumer | None = None
        self._tail: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Read the topic to its end; raises ServiceUnavailable if Kafka does not answer."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                self._consumer = AIOKafkaConsumer(
                    bootstrap_servers=self._bootstrap,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                )
                await self._consumer.start()
                place = TopicPartition(self._topic, 0)
                self._consumer.assign([place])
                await self._consumer.seek_to_beginning(place)
                end = (await self._consumer.end_offsets([place]))[place]
                while await self._consumer.position(place) < end:
                    await self._read(0.5)
                self._producer = AIOKafkaProducer(
                    bootstrap_servers=self._bootstrap,
                    acks="all",
                    enable_idempotence=True,
                    request_timeout_ms=int(REQUEST_SECONDS * 1000),
                )
                await self._producer.start()
        except (KafkaError, TimeoutError) as error:
            await self.stop()
            raise ServiceUnavailable(f"Kafka topic {self._topic}: {error!r}") from error
        self._tail = asyncio.create_task(self._follow(), name=f"follow {self._topic}")

    async def put(self, key: str, item: Item) -> None:
        await self._send(key, self._encode(item))
        self.items[key] = item

    async def remove(self, key: str) -> None:
        if key in self.items:
            await self._send(key, None)
            self.items.pop(key, None)

    async def stop(self) -> None:
        """Close all connections."""
        if self._tail is not None:
            self._tail.cancel()
            with suppress(asyncio.CancelledError):
                await self._tail
        for client in (self._consumer, self._producer):
            if client is not None:
                with suppress(KafkaError):
                    await client.stop()

    async def _send(self, key: str, value: bytes | None) -> None:
        assert self._producer is not None, "start it first"
        try:
            await self._producer.send_and_wait(self._topic, key=key.encode(), value=value)
        except KafkaError as error:
            raise ServiceUnavailable(f"Kafka topic {self._topic}: {error!r}") from error

    async def _follow(self) -> None:
        """Take in what other workers write."""
        while True:
            try:
                await self._read(1.0)
            except KafkaError as error:
                _log.warning("reading %s: %r", self._topic, error)
                await asyncio.sleep(1.0)

    async def _read(self, seconds: float) -> None:
        assert self._consumer is not None
        batches = await self._consumer.getmany(timeout_ms=int(seconds * 1000))
        for records in batches.values():
            for record in records:
                self._take(record.key.decode(), record.value)

    def _take(self, key: str, value: bytes | None) -> None:
        if value is None:
            self.items.pop(key, None)
            return
        try:
            self.items[key] = self._decode(value)
        except msgspec.MsgspecError as error:
            _log.error("a record of %s with key %s cannot be read: %s", self._topic, key, error)


def ensure_topics(bootstrap: str, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> None:
    """Create topics that do not exist: name -> partitions, configuration. Blocks.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        ConfigurationError: it refuses.
    """
    admin = AdminClient(
        {"bootstrap.servers": bootstrap, "log_level": 0}, logger=logging.getLogger("purser.kafka")
    )
    try:
        existing = admin.list_topics(timeout=ANSWER_SECONDS).topics
    except KafkaException as error:
        raise ServiceUnavailable(
            f"Kafka at {bootstrap} does not answer: {error.args[0].str()}"
        ) from error
    new = [
        NewTopic(name, num_partitions=partitions, config=dict(config))
        for name, (partitions, config) in topics.items()
        if name not in existing
    ]
    if not new:
        return
    for name, future in admin.create_topics(new, operation_timeout=ANSWER_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            reason = error.args[0]
            if reason.code() == AdminError.TOPIC_ALREADY_EXISTS:
                continue
            if reason.retriable():
                raise ServiceUnavailable(f"topic {name}: {reason.str()}") from error
            raise ConfigurationError(
                f"topic {name} cannot be created: {reason.str()}; create it by hand"
            ) from error


COMPACTED: Mapping[str, str] = {"cleanup.policy": "compact", "min.cleanable.dirty.ratio": "0.1"}
"""Of a journal's topic, which has one partition: the last record of each key is kept."""
