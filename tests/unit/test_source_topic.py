"""Questions to Kafka's brokers: a client that had no answer is not asked again."""

from concurrent.futures import Future
from typing import Any
from unittest.mock import MagicMock

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.errors import ServiceUnavailable
from streams import source_topic
from streams.source_topic import Brokers

TIMED_OUT = KafkaException(KafkaError(KafkaError._TIMED_OUT))


def client(method: str, answer: BaseException) -> MagicMock:
    """An admin client whose method fails."""
    future: Future[Any] = Future()
    future.set_exception(answer)
    made = MagicMock()
    getattr(made, method).return_value = {"asked": future}
    return made


@pytest.mark.parametrize("method", ["describe_topics", "describe_consumer_groups"])
def test_a_client_without_an_answer_is_replaced(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    made = [client(method, TIMED_OUT) for _ in range(3)]
    monkeypatch.setattr(source_topic, "AdminClient", MagicMock(side_effect=made))
    brokers = Brokers("127.0.0.1:1", "payments")
    for expected in made[:2]:
        assert brokers.admin is expected
        with pytest.raises(ServiceUnavailable, match="does not describe topic payments"):
            brokers.topic() if method == "describe_topics" else brokers.group("views")
    assert brokers.admin is made[2]


def test_a_client_that_answers_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
    only = client("describe_topics", missing)
    monkeypatch.setattr(source_topic, "AdminClient", MagicMock(side_effect=[only]))
    brokers = Brokers("127.0.0.1:1", "payments")
    assert brokers.topic() is None
    assert brokers.admin is only
