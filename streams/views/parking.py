"""Dead letters: records that cannot be folded go whole to a topic, unless there are too many.

The row in table `dead_letters` is the sink's; here is the record in topic `purser.dead_letters`,
where an operator can redrive it from. It must be there before the batch it came in is acknowledged.
A message's key is the record's position, so that one parked twice is seen to be the same.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.errors import PurserError, ServiceUnavailable, WriteRefused
from schemas.views import DeadLetterRow

MESSAGE_BYTES_MAX = 32 * 1024 * 1024
"""More than any broker lets into the source topic by default, headers included."""
REQUEST_SECONDS = 30.0
FLOOD_WINDOW_RECORDS = 1_000


class DeadLetterFlood(PurserError):  # noqa: N818 - named for what it is
    """So many records cannot be folded that it is this code, or the source, that is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodLimits:
    """More than `share_max` of the last records, and at least `records_min` of them."""

    share_max: float
    records_min: int


class FloodDetector:
    """Tells a poisoned record, which is parked, from a poisoned stream, which stops the worker."""

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._window: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0

    def check(self, records: int, dead: int, example: str) -> None:
        """Count a flush; raises DeadLetterFlood, with `example`, when the last ones are too bad."""
        self._window.append((records, dead))
        self._records += records
        self._dead += dead
        while self._records - self._window[0][0] >= FLOOD_WINDOW_RECORDS:
            oldest_records, oldest_dead = self._window.popleft()
            self._records -= oldest_records
            self._dead -= oldest_dead
        many = self._dead >= self._limits.records_min
        if many and self._dead > self._limits.share_max * self._records:
            raise DeadLetterFlood(
                f"{self._dead} of the last {self._records} records cannot be folded, so they are "
                f"not parked; look at what changed in the source or in this code ({example})"
            )


def dead_letter_key(row: DeadLetterRow) -> bytes:
    """The message key of a parked record: its position, the same however often it is parked."""
    return f"{row.topic}/{row.partition}/{row.kafka_offset}".encode()


def dead_letter_headers(row: DeadLetterRow) -> list[tuple[str, bytes]]:
    """Where a parked record comes from and why it is parked, as text.

    The record's own key is the header `source_key`; it is missing when the record had none.
    """
    texts = {
        "source_topic": row.topic,
        "source_partition": str(row.partition),
        "source_offset": str(row.kafka_offset),
        "source_timestamp": row.recorded_at.isoformat(),
        "reason": row.reason,
        "error": row.error,
        "consumer": row.consumer,
    }
    headers = [(name, text.encode()) for name, text in texts.items()]
    return [*headers, ("source_key", row.raw_key)]


class DeadLetterTopic:
    """The topic's producer; connects when there is something to send, and anew after an error."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def send(self, rows: Sequence[DeadLetterRow]) -> None:
        """Send records and return when all replicas that must have them do.

        Raises:
            ServiceUnavailable: Kafka is away; again may help, and gives the same messages.
            WriteRefused: Kafka will not have it.
        """
        if not rows:
            return
        try:
            producer = await self._connected()
            sent = [
                await producer.send(
                    self._topic,
                    key=dead_letter_key(row),
                    value=None if row.is_null else row.raw_value,
                    headers=dead_letter_headers(row),
                )
                for row in rows
            ]
            await asyncio.gather(*sent)
        except KafkaError as error:
            # An idempotent producer does not survive all of its errors.
            await self.stop()
            raise _translated(self._topic, error) from error

    async def stop(self) -> None:
        """Close the connection, if there is one; what was not confirmed will be sent again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):  # `send` has reported it
                await producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                max_request_size=MESSAGE_BYTES_MAX,
                request_timeout_ms=int(REQUEST_SECONDS * 1000),
                compression_type="lz4",
            )
            try:
                await producer.start()
            except KafkaError:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


def _translated(topic: str, error: KafkaError) -> PurserError:
    text = f"Kafka topic {topic}: {type(error).__name__}: {error}"
    if error.retriable:
        return ServiceUnavailable(f"{text}; is Kafka up?")
    return WriteRefused(f"{text}; look at the broker's log")
