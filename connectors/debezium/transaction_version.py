"""Keeps version 1 of Kafka's transactions: with version 2, Connect's producer can stop for ever.

A producer's network thread asks first whether any record is unsent, and then takes the request that
ends the transaction. When a thread appends records and commits in between, the transaction ends
without them. In version 2 the client then never sends them: it is busy for ever, and so is Connect,
which waits for them (decision 0040). In version 1 it registers each partition first, and that
request goes before the end.
"""

import logging
from contextlib import closing

import confluent_kafka
import confluent_kafka.admin
from kafka.admin import KafkaAdminClient, UpdateFeatureType
from kafka.errors import KafkaError

from schemas.errors import ConfigurationError, PurserError, ServiceUnavailable

ANSWER_SECONDS = 10.0
FEATURE = "transaction.version"
SAFE_VERSION = 1
LOOK_SECONDS = 60.0
"""An upgrade of Kafka may raise the version again."""

_log = logging.getLogger("purser.connector-supervisor")


def lower_transaction_version(kafka_bootstrap: str) -> bool:
    """Set the cluster's `transaction.version` to 1 if it is higher; return whether it was.

    Takes effect with each producer's next transaction. Kafka before 4.0 knows no higher version.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        ConfigurationError: Kafka refuses; says what an administrator must run.
    """
    milliseconds = round(1000 * ANSWER_SECONDS)
    try:
        # Fails first if no broker answers; kafka-python would then leave sockets open.
        confluent_kafka.admin.AdminClient(
            {"bootstrap.servers": kafka_bootstrap, "log_level": 0}
        ).list_topics(timeout=ANSWER_SECONDS)
        admin = KafkaAdminClient(
            bootstrap_servers=kafka_bootstrap,
            bootstrap_timeout_ms=milliseconds,
            request_timeout_ms=milliseconds,
        )
        with closing(admin):
            _lowest, version = admin.describe_features().get(FEATURE, {}).get("finalized", (0, 0))
            if version <= SAFE_VERSION:
                return False
            update = {FEATURE: (UpdateFeatureType.SAFE_DOWNGRADE, SAFE_VERSION)}
            answer = admin.update_features(update)[FEATURE]
    except (KafkaError, confluent_kafka.KafkaException, OSError) as error:
        raise ServiceUnavailable(
            f"Kafka at {kafka_bootstrap} cannot be asked for its {FEATURE}: {error}"
        ) from error
    if answer != "OK":
        raise ConfigurationError(
            f"Kafka at {kafka_bootstrap}: {FEATURE} is {version} and must be {SAFE_VERSION}, or"
            f" Connect may stop for ever ({answer}); let an administrator run `kafka-features.sh"
            f" --bootstrap-server … downgrade --feature {FEATURE}={SAFE_VERSION}`"
        )
    return True


class TransactionVersionRepair:
    """Lowers the version once a minute if need be, and reports that it may not."""

    def __init__(self, kafka_bootstrap: str) -> None:
        self.reasons: tuple[str, ...] = ("has not checked Kafka's transaction.version yet",)
        self._bootstrap = kafka_bootstrap
        self._look_at = float("-inf")

    def look(self, now: float) -> None:
        """Check if it is time; never raises a server's errors. `now` is monotonic seconds."""
        if now < self._look_at:
            return
        try:
            if lower_transaction_version(self._bootstrap):
                _log.warning("Kafka's %s was higher and is %s now", FEATURE, SAFE_VERSION)
            self.reasons = ()
            self._look_at = now + LOOK_SECONDS
        except PurserError as error:
            self.reasons = (str(error),)

    def report(self) -> dict[str, object]:
        """Nothing beside the reasons."""
        return {}
