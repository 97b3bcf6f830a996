"""The version of Kafka's transactions: what the caller learns when Kafka refuses or is away."""

from typing import Any

import pytest
from confluent_kafka import KafkaException
from kafka.errors import ClusterAuthorizationFailedError, KafkaTimeoutError

from connectors.debezium import transaction_version
from connectors.debezium.transaction_version import FEATURE, lower_transaction_version
from schemas.errors import ConfigurationError, ServiceUnavailable


class FakeAdmin:
    """An admin client that finds version 2 and answers, or raises, as it was told."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.is_closed = False

    def describe_features(self) -> dict[str, Any]:
        return {FEATURE: {"supported": (0, 2), "finalized": (2, 2)}}

    def update_features(self, _update: dict[str, Any], timeout_ms: int) -> dict[str, str]:
        assert timeout_ms > 0
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return {FEATURE: self.outcome}

    def close(self) -> None:
        self.is_closed = True


def admin_that(outcome: Any, monkeypatch: pytest.MonkeyPatch) -> FakeAdmin:
    admin = FakeAdmin(outcome)
    monkeypatch.setattr(transaction_version, "AdminClient", lambda *_: admin)
    return admin


@pytest.mark.parametrize("outcome", [ClusterAuthorizationFailedError("no"), "error 95: no"])
def test_a_refusal_names_the_command_for_an_administrator(
    outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = admin_that(outcome, monkeypatch)
    with pytest.raises(ConfigurationError, match=f"downgrade --feature {FEATURE}=1"):
        lower_transaction_version("kafka:9092")
    assert admin.is_closed


@pytest.mark.parametrize(
    "outcome",
    [
        KafkaTimeoutError("late"),
        OSError("gone"),
        RuntimeError("Failed to find active controller id!"),
    ],
)
def test_a_broker_that_does_not_answer_is_unavailable(
    outcome: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = admin_that(outcome, monkeypatch)
    with pytest.raises(ServiceUnavailable, match="Kafka at kafka:9092"):
        lower_transaction_version("kafka:9092")
    assert admin.is_closed


def test_no_broker_at_all_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise KafkaException("no broker")

    monkeypatch.setattr(transaction_version, "AdminClient", fail)
    with pytest.raises(ServiceUnavailable, match="no broker"):
        lower_transaction_version("kafka:9092")
