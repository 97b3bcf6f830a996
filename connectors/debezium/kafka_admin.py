"""kafka-python's admin client, for requests that confluent-kafka does not implement."""

from typing import Any

import confluent_kafka.admin
from kafka.admin import KafkaAdminClient

CLIENT = "purser-repair"


class AdminClient(KafkaAdminClient):  # type: ignore[misc]
    """The library's client, but one that cannot connect leaves no thread and no socket open."""

    def __init__(self, kafka_bootstrap: str, answer_seconds: float) -> None:
        """Connect; raises the errors of both libraries."""
        # Fails first if no broker answers; kafka-python would then leave sockets open.
        confluent_kafka.admin.AdminClient(
            {"bootstrap.servers": kafka_bootstrap, "client.id": CLIENT, "log_level": 0}
        ).list_topics(timeout=answer_seconds)
        milliseconds = round(1000 * answer_seconds)
        configs: dict[str, Any] = {
            "bootstrap_servers": kafka_bootstrap,
            "client_id": CLIENT,
            "bootstrap_timeout_ms": milliseconds,
            "request_timeout_ms": milliseconds,
        }
        try:
            super().__init__(**configs)
        except BaseException:
            # The thread and sockets exist before it contacts the broker, and would leak.
            if hasattr(self, "_client"):
                self._client.close()
            raise
