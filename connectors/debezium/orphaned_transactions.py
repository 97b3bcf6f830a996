"""Ends the transaction that a killed Connect left open, instead of waiting for its time-out.

Connect's successor first reads its own committed offsets to the end. It waits at the open
transaction until Kafka ends it, 10 to 15 s later. A producer that initialises with the same
transactional id ends the transaction immediately. The successor does so too, but only after it has
read its offsets.

This is safe at any time. If Connect is alive and only fails to answer, its task loses this
transaction, fails, is restarted, and sends the same events again.
"""

import logging
import socket
from urllib.parse import urlsplit

from confluent_kafka import KafkaException, Producer

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0

_log = logging.getLogger("purser.connector-supervisor")


class OrphanedTransactionRepair:
    """Ends Connect's open transaction once, each time that nothing listens at its address.

    It does so again only after Connect has listened in between. In a group of several workers
    another worker may have taken over the task, and must not be disturbed repeatedly.
    """

    def __init__(self, connect_url: str, kafka_bootstrap: str, transactional_id: str) -> None:
        self.reasons: tuple[str, ...] = ()
        self.ended = 0
        address = urlsplit(connect_url)
        default = 443 if address.scheme == "https" else 80
        self._connect = (address.hostname or "", address.port or default)
        self._bootstrap = kafka_bootstrap
        self._transactional_id = transactional_id
        self._done = False

    def look(self, _now: float) -> None:
        """Check once and end an open transaction; never raises a server's errors."""
        if self._listens():
            self.reasons = ()  # its task ends the transaction itself
            self._done = False
            return
        if self._done:
            return
        try:
            self._fence()
        except KafkaException as error:
            self.reasons = (
                f"Connect is down, and its transaction {self._transactional_id} could not be ended"
                f" at {self._bootstrap} ({error.args[0]}); is Kafka up?",
            )
            return
        self.reasons = ()
        self._done = True
        self.ended += 1
        _log.warning(
            "Connect is down: ended the open transaction of %s, if any", self._transactional_id
        )

    def report(self) -> dict[str, object]:
        """How often Connect was found down."""
        return {"connect_gone": self.ended}

    def _listens(self) -> bool:
        try:
            with socket.create_connection(self._connect, CONNECT_SECONDS):
                return True
        except TimeoutError:
            return True  # something is listening, but is busy
        except OSError:
            return False

    def _fence(self) -> None:
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "client.id": "purser-repair",
                "transactional.id": self._transactional_id,
                "log_level": 0,
            }
        )
        producer.init_transactions(ANSWER_SECONDS)
