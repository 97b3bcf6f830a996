"""The inbox of webhooks: a Kafka topic that has each one, as it came, before it is acknowledged.

The service verifies a webhook's signature, puts it here, and answers 2xx; the worker takes it out
and acts. So a processor waits for a write and not for work, nothing that was acknowledged is lost,
and the raw payload is kept as long as the topic keeps it. Records are keyed by what they are about,
so that the webhooks of one charge stay in order; order and doubles do not matter, because evidence
is monotone.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from connectors.charges import ProcessorEvent
from schemas.errors import ServiceUnavailable
from schemas.topics import WEBHOOKS_TOPIC

PSP_HEADER = "psp"
EVENT_HEADER = "event_id"
REQUEST_SECONDS = 5.0
PARTITIONS = 6
RETENTION_DAYS = 30

TOPIC_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": str(RETENTION_DAYS * 86_400_000),
}


class Inbox:
    """Puts webhooks into the topic; connects when it first does, and again after an error."""

    def __init__(self, bootstrap: str, topic: str = WEBHOOKS_TOPIC) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None
        self._connecting = asyncio.Lock()

    async def put(self, event: ProcessorEvent, body: bytes) -> None:
        """Return when all in-sync replicas have the webhook: only then acknowledge it.

        Raises ServiceUnavailable: answer 503, and the processor sends it again.
        """
        key = event.reference or event.object_id or event.event_id
        headers = [(PSP_HEADER, event.psp.encode()), (EVENT_HEADER, event.event_id.encode())]
        try:
            producer = await self._connected()
            await producer.send_and_wait(self._topic, key=key.encode(), value=body, headers=headers)
        except KafkaError as error:
            await self.stop()  # an idempotent producer does not survive all of its errors
            raise ServiceUnavailable(
                f"Kafka topic {self._topic}: {error!r}; is Kafka up?"
            ) from error

    async def stop(self) -> None:
        """Close the connection, if there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):
                await producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        async with self._connecting:
            if self._producer is None:
                self._producer = await self._connect()
            return self._producer

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bootstrap,
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            compression_type="lz4",
        )
        try:
            await producer.start()
        except KafkaError:
            await producer.stop()
            raise
        return producer
