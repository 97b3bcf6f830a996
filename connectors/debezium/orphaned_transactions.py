"""Ends the transaction that a killed Connect has left open, instead of waiting for its time-out.

Connect's successor reads its own offsets first, read-committed and to their end: it stands still at
that transaction until Kafka ends it, 10 to 15 s later. Whoever begins anew with the transactional
id ends it at once, which is what a successor does itself, only too late for that.

Safe at any time: should Connect be alive and merely not answer, its task loses this transaction,
fails and is restarted, and sends the same events again.
"""

import logging
import socket
from urllib.parse import urlsplit

from confluent_kafka import KafkaException, Producer

CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 5.0

_log = logging.getLogger("purser.connector-supervisor")


class OrphanedTransactionRepair:
    """Ends what Connect left open, once each time that nothing listens at its address any more.

    Not again before it listens: in a group of several workers another one may have the task by
    then, which must not be disturbed for ever.
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
        """One look, and an end to what is open; never raises what a server does."""
        if self._listens():
            self._done = False
            return
        if self._done:
            return
        try:
            self._fence()
        except KafkaException as error:
            self.reasons = (
                f"the transaction {self._transactional_id} of a Connect that is gone could not be"
                f" ended at {self._bootstrap} ({error.args[0]}); is Kafka up?",
            )
            return
        self.reasons = ()
        self._done = True
        self.ended += 1
        _log.warning(
            "Connect is gone: ended what it had open as %s, if anything", self._transactional_id
        )

    def report(self) -> dict[str, object]:
        """How often Connect was found gone."""
        return {"connect_gone": self.ended}

    def _listens(self) -> bool:
        try:
            with socket.create_connection(self._connect, CONNECT_SECONDS):
                return True
        except TimeoutError:
            return True  # somebody is there, and busy
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
