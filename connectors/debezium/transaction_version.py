"""Keeps Kafka's transactions at version 1: with version 2, Connect's producer can stop for ever.

A producer's network thread asks first whether any record is unsent, and then takes the request that
ends the transaction. When a thread appends records and commits in between, the transaction ends
without them. In version 2 the client then never sends them and spins, and Connect waits for them
(decision 0040). In version 1 it first registers each new partition, and that request goes before
the end. Connect appends its offset last, alone in its partition, so this protects all records.
"""

from contextlib import closing

from confluent_kafka import KafkaException
from kafka.admin import UpdateFeatureType
from kafka.errors import KafkaError

from connectors.debezium.kafka_admin import AdminClient
from schemas.errors import ConfigurationError, PurserError, ServiceUnavailable

ANSWER_SECONDS = 10.0
FEATURE = "transaction.version"
SAFE_VERSION = 1
CHECK_SECONDS = 60.0
"""An upgrade of Kafka may raise the version again."""

# kafka-python raises RuntimeError when no broker says which is the controller.
_ERRORS = (KafkaError, KafkaException, OSError, RuntimeError)


def lower_transaction_version(kafka_bootstrap: str) -> bool:
    """Set the cluster's `transaction.version` to 1 if it is higher; return whether it was.

    A producer learns the version when it connects to a broker, so one that is connected keeps the
    old one. Kafka before 4.0 knows no higher version.

    Raises:
        ServiceUnavailable: Kafka does not answer.
        ConfigurationError: Kafka refuses; says what an administrator must run.
    """
    try:
        with closing(AdminClient(kafka_bootstrap, ANSWER_SECONDS)) as admin:
            version = _version(admin)
            if version <= SAFE_VERSION:
                return False
            update = {FEATURE: (UpdateFeatureType.SAFE_DOWNGRADE, SAFE_VERSION)}
            answer = admin.update_features(update, timeout_ms=round(1000 * ANSWER_SECONDS))
            if answer != {FEATURE: "OK"}:  # brokers that answer for each feature
                raise _refused(kafka_bootstrap, answer)
    except _ERRORS as error:
        if isinstance(error, KafkaError) and not error.retriable:
            raise _refused(kafka_bootstrap, error) from error
        raise _unavailable(kafka_bootstrap, error) from error
    return True


def check_transaction_version(kafka_bootstrap: str) -> None:
    """Raise ConfigurationError if the version is too high, ServiceUnavailable without an answer."""
    try:
        with closing(AdminClient(kafka_bootstrap, ANSWER_SECONDS)) as admin:
            version = _version(admin)
    except _ERRORS as error:
        raise _unavailable(kafka_bootstrap, error) from error
    if version > SAFE_VERSION:
        raise ConfigurationError(
            f"Kafka at {kafka_bootstrap}: {FEATURE} is {version}, so Connect may stop for ever; run"
            " `purser migrate`, then restart Kafka Connect"
        )


class TransactionVersionCheck:
    """Checks the version once a minute, for the connector supervisor; repairs nothing.

    The feature is one of the whole cluster, and Connect must be restarted after it was lowered.
    """

    def __init__(self, kafka_bootstrap: str) -> None:
        self.reasons: tuple[str, ...] = (f"has not checked Kafka's {FEATURE} yet",)
        self._bootstrap = kafka_bootstrap
        self._next_at = float("-inf")

    def look(self, now: float) -> None:
        """Check if it is time; never raises a server's errors. `now` is monotonic seconds."""
        if now < self._next_at:
            return
        try:
            check_transaction_version(self._bootstrap)
        except PurserError as error:
            self.reasons = (str(error),)
        else:
            self.reasons = ()
            self._next_at = now + CHECK_SECONDS

    def report(self) -> dict[str, object]:
        """Nothing besides the reasons."""
        return {}


def _version(admin: AdminClient) -> int:
    _lowest, version = admin.describe_features().get(FEATURE, {}).get("finalized", (0, 0))
    return int(version)


def _unavailable(kafka_bootstrap: str, error: Exception) -> ServiceUnavailable:
    return ServiceUnavailable(f"Kafka at {kafka_bootstrap} does not tell its {FEATURE}: {error}")


def _refused(kafka_bootstrap: str, reason: object) -> ConfigurationError:
    return ConfigurationError(
        f"Kafka at {kafka_bootstrap}: {FEATURE} must be {SAFE_VERSION}, or Connect may stop for"
        f" ever, and Kafka refuses to lower it ({reason}); let an administrator run"
        f" `kafka-features.sh --bootstrap-server … downgrade --feature {FEATURE}={SAFE_VERSION}`"
    )
