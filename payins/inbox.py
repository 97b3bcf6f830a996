"""The inbox of webhooks: a Kafka topic that has each one, as it came, before it is acknowledged.

The service verifies a webhook's signature, puts it here, and answers 2xx; the worker takes it out
and acts. So a processor waits for a write and not for work, nothing that was acknowledged is lost,
and the raw payload is kept as long as the topic keeps it. Records are keyed by what they are about,
so that the webhooks of one charge stay in order; order and doubles do not matter, because evidence
is monotone.
"""

import asyncio
from collections.abc import Mapping

from confluent_kafka import KafkaError, KafkaException, Producer

from connectors.charges import ProcessorEvent
from schemas.errors import ServiceUnavailable
from schemas.topics import WEBHOOKS_TOPIC

PSP_HEADER = "psp"
EVENT_HEADER = "event_id"
REQUEST_SECONDS = 5.0
LINGER_MILLISECONDS = 10
POLL_SECONDS = 0.005
"""Webhooks of the first time go in one request, and deliveries are looked at this often. A
processor waits for its answer for seconds."""
PARTITIONS = 6
RETENTION_DAYS = 30

TOPIC_CONFIG: Mapping[str, str] = {
    "cleanup.policy": "delete",
    "retention.ms": str(RETENTION_DAYS * 86_400_000),
}


class Inbox:
    """Puts webhooks into the topic; connects when it first does. For one event loop."""

    def __init__(self, bootstrap: str, topic: str = WEBHOOKS_TOPIC) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: Producer | None = None
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    async def put(self, event: ProcessorEvent, body: bytes) -> None:
        """Return when all in-sync replicas have the webhook: only then acknowledge it.

        Raises ServiceUnavailable: answer 503, and the processor sends it again.
        """
        delivered = asyncio.get_running_loop().create_future()

        def report(error: KafkaError | None, _message: object) -> None:
            if not delivered.done():  # else its request was cut off
                delivered.set_result(error)

        key = event.reference or event.object_id or event.event_id
        headers = [(PSP_HEADER, event.psp.encode()), (EVENT_HEADER, event.event_id.encode())]
        if self._producer is None:
            self._producer = self._connected()
        try:
            self._producer.produce(
                self._topic, key=key.encode(), value=body, headers=headers, on_delivery=report
            )
        except (KafkaException, BufferError) as error:
            raise self._failed(error) from error
        self._waiting += 1
        self._poll_later()
        try:
            refused: KafkaError | None = await delivered
        finally:
            self._waiting -= 1
        if refused is not None:
            raise self._failed(KafkaException(refused))

    async def stop(self) -> None:
        """Close the connection, if there is one; what is waiting is given up."""
        self._producer = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _poll_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(POLL_SECONDS, self._poll)

    def _poll(self) -> None:
        """Let the client report what was delivered, on this thread: it never blocks."""
        self._timer = None
        if self._producer is not None:
            self._producer.poll(0)
            if self._waiting:
                self._poll_later()

    def _failed(self, error: Exception) -> ServiceUnavailable:
        reason = error.args[0] if error.args else None
        if isinstance(reason, KafkaError) and reason.fatal():
            self._producer = None  # the next webhook gets a new one
        return ServiceUnavailable(f"Kafka topic {self._topic}: {error}; is Kafka up?")

    def _connected(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "acks": "all",
                "enable.idempotence": True,
                "message.timeout.ms": int(REQUEST_SECONDS * 1000),
                "linger.ms": LINGER_MILLISECONDS,
                "compression.type": "lz4",
                "partitioner": "murmur2_random",  # that of Kafka's own clients
                "log_level": 0,
            }
        )
