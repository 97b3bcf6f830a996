"""Settings of the streams: what is refused, and with which words."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from schemas.errors import ConfigurationError
from streams.settings import StreamSettings


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
        *(("GATHER_MILLISECONDS", value) for value in ("4", "401", "2.5", "")),
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
        (
            "HEARTBEAT_INTERVAL_SECONDS",
            "5",
            "at most a third of PURSER_SESSION_TIMEOUT_SECONDS",
        ),
        (
            "REQUEST_TIMEOUT_SECONDS",
            "9",
            "must not be shorter than PURSER_SESSION",
        ),
    ],
)
def test_timeouts_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(f"PURSER_{name}", value)
    with pytest.raises(ConfigurationError, match=f"^PURSER_{name} .*{message}"):
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
    assert settings.in_flight_batches_max == 9
    with pytest.raises(ValidationError, match="frozen"):
        settings.in_flight_batches_max = 1  # type: ignore[misc]
