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
"""Webhooks of this time go in one request; a processor waits for its answer for seconds."""
POLL_SECONDS = 0.005
"""How often it is asked what was delivered, while a webhook waits for that."""
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
        self._waiting: set[asyncio.Future[Exception | None]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def put(self, event: ProcessorEvent, body: bytes) -> None:
        """Return when all in-sync replicas have the webhook: only then acknowledge it.

        Raises ServiceUnavailable: answer 503, and the processor sends it again.
        """
        delivered: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

        def report(error: KafkaError | None, _message: object) -> None:
            _tell(delivered, None if error is None else KafkaException(error))

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
        self._waiting.add(delivered)
        self._poll_later()
        try:
            refused = await delivered
        finally:
            self._waiting.discard(delivered)
        if refused is not None:
            raise self._failed(refused)

    async def stop(self) -> None:
        """Close the connection, if there is one; what is waiting is given up."""
        self._give_up(ServiceUnavailable("stopped"))
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
        if self._producer is None:
            return
        try:
            self._producer.poll(0)
        except KafkaException as error:  # only if it is fatal
            self._give_up(error)
        if self._waiting:
            self._poll_later()

    def _failed(self, error: Exception) -> ServiceUnavailable:
        if _is_fatal(error):
            self._give_up(error)
        return ServiceUnavailable(f"Kafka topic {self._topic}: {error}; is Kafka up?")

    def _give_up(self, error: Exception) -> None:
        """Drop the producer, which reports nothing any more; the next webhook gets a new one."""
        self._producer = None
        for delivered in self._waiting:
            _tell(delivered, error)

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


def _tell(delivered: asyncio.Future[Exception | None], error: Exception | None) -> None:
    if not delivered.done():  # else its request was cut off
        delivered.set_result(error)


def _is_fatal(error: Exception) -> bool:
    """Whether an idempotent producer is of no more use."""
    reason = error.args[0] if isinstance(error, KafkaException) else None
    return isinstance(reason, KafkaError) and (reason.fatal() or reason.code() == KafkaError._FATAL)
