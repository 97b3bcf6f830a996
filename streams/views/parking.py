"""Parking: sends records that cannot be folded, unchanged, to the dead letters' topic.

The sink writes the row in the table `dead_letters`, from which an operator redrives it. This module
sends a copy of the record to the topic `purser.dead_letters`, for other tools. The copy must be
there before the record's batch is acknowledged. The message key is the record's position, so that a
record parked twice can be recognized. If too many records cannot be folded, the worker stops
instead.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.errors import PurserError, ServiceUnavailable, WriteRefused
from schemas.record_size import DEAD_LETTER_BYTES_MOST
from schemas.views import DeadLetterRow

REQUEST_SECONDS = 30.0
FLOOD_WINDOW_RECORDS = 1_000


class DeadLetterFlood(PurserError):  # noqa: N818 - named for what happened
    """So many records cannot be folded that this code or the source must be wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FloodLimits:
    """A flood is more than `share_max` of the last records, and at least `records_min` of them."""

    share_max: float
    records_min: int


class FloodDetector:
    """Distinguishes a bad record, which is parked, from a bad stream, which stops the worker."""

    def __init__(self, limits: FloodLimits) -> None:
        self._limits = limits
        self._window: deque[tuple[int, int]] = deque()
        self._records = 0
        self._dead = 0

    def check(self, records: int, dead: int, example: str) -> None:
        """Count a flush; raises DeadLetterFlood, with `example`, after too many dead records."""
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
    """Return the message key of a parked record: its position, however often it is parked."""
    return f"{row.topic}/{row.partition}/{row.kafka_offset}".encode()


def dead_letter_headers(row: DeadLetterRow) -> list[tuple[str, bytes]]:
    """Return a parked record's origin and the reason, as text.

    The header `source_key` is the record's own key, or empty if the record had none.
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
    """The topic's producer; connects when it first sends, and reconnects after an error."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._producer: AIOKafkaProducer | None = None

    async def send(self, rows: Sequence[DeadLetterRow]) -> None:
        """Send records and return when all in-sync replicas have them.

        Raises:
            ServiceUnavailable: Kafka is unavailable; a retry may help and sends the same messages.
            WriteRefused: Kafka rejects the messages.
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
        """Close the connection, if there is one; unconfirmed messages will be sent again."""
        producer, self._producer = self._producer, None
        if producer is not None:
            with suppress(KafkaError):  # `send` has already reported it
                await producer.stop()

    async def _connected(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._bootstrap,
                acks="all",
                enable_idempotence=True,
                max_request_size=DEAD_LETTER_BYTES_MOST,
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
