"""Limits and settings of the streams: what is refused, and how it is said."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from yarl import URL

from schemas.errors import ConfigurationError
from streams.settings import StreamSettings
from streams.transport import TransportLimits


def test_limits_travel_in_the_broker_url() -> None:
    limits = TransportLimits(in_flight_batches_max=7, in_flight_bytes_max=8)
    url = URL(limits.broker_url("127.0.0.1:9092"))
    assert (url.scheme, url.host, url.port) == ("batch+kafka", "127.0.0.1", 9092)
    assert TransportLimits.from_query(url.query) == limits


def test_url_without_a_query_means_the_defaults() -> None:
    assert TransportLimits.from_query(URL("batch+kafka://h:1").query) == TransportLimits()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"in_flight_batches": "4"}, "no limit is called in_flight_batches; use .*batches_max"),
        ({"in_flight_batches_max": "four"}, "in_flight_batches_max='four' is not a whole number"),
        ({"in_flight_batches_max": "0"}, "in_flight_batches_max: 0 is not .* above zero"),
        ({"fetch_wait_milliseconds": "-1"}, "fetch_wait_milliseconds: -1 is not"),
        ({"fetch_wait_milliseconds": ""}, "fetch_wait_milliseconds='' is not"),
    ],
)
def test_bad_limit_is_refused_by_name(query: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        TransportLimits.from_query(query)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_BOOTSTRAP", "localhost"),
        ("KAFKA_BOOTSTRAP", "kafka://localhost:9092"),
        ("KAFKA_BOOTSTRAP", "localhost:0"),
        ("KAFKA_BOOTSTRAP", "localhost:99999"),
        ("KAFKA_BOOTSTRAP", "localhost:9092,"),
        ("KAFKA_BOOTSTRAP", "localhost:９０９２"),
        ("CONSUMER_GROUP", ""),
        ("CONSUMER_GROUP", "a b"),
        ("LOG_LEVEL", "loud"),
        *(
            (name, value)
            for name in (
                "ROWS_MAX",
                "LINGER_SECONDS",
                "BATCH_RECORDS_MAX",
                "FETCH_PARTITION_BYTES_MAX",
                "FETCH_RESPONSE_BYTES_MAX",
                "IN_FLIGHT_BATCHES_MAX",
                "IN_FLIGHT_BYTES_MAX",
                "COMMIT_INTERVAL_SECONDS",
                "SESSION_TIMEOUT_SECONDS",
                "HEARTBEAT_INTERVAL_SECONDS",
                "REBALANCE_TIMEOUT_SECONDS",
                "REQUEST_TIMEOUT_SECONDS",
                "STOP_TIMEOUT_SECONDS",
            )
            for value in ("0", "-1", "nan", "inf", "")
        ),
    ],
)
def test_bad_setting_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PURSER_{name}", value)
    with pytest.raises(ConfigurationError, match=f"^PURSER_{name}: .*; correct it or unset it$"):
        StreamSettings.load()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("HEARTBEAT_INTERVAL_SECONDS", "5", "at most a third of session_timeout_seconds"),
        ("REQUEST_TIMEOUT_SECONDS", "9", "must not be shorter than session_timeout_seconds"),
    ],
)
def test_timeouts_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"PURSER_{name}", value)
    with pytest.raises(ConfigurationError, match=message):
        StreamSettings.load()


def test_settings_come_from_the_environment_and_stay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PURSER_KAFKA_BOOTSTRAP", "a:1, b:2")
    monkeypatch.setenv("PURSER_HOME", str(tmp_path))
    monkeypatch.setenv("PURSER_CONSUMER_GROUP", "group-1")
    monkeypatch.setenv("PURSER_IN_FLIGHT_BATCHES_MAX", "9")
    settings = StreamSettings.load()
    assert settings.brokers == ["a:1", "b:2"]
    assert settings.data_dir == tmp_path / "streams" / "group-1" / "worker"
    assert settings.limits.in_flight_batches_max == 9
    with pytest.raises(ValidationError, match="frozen"):
        settings.rows_max = 1  # type: ignore[misc]
