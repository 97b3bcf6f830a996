"""The API refuses to start with a wrong setting, and says which."""

from pathlib import Path
from typing import Any

import pytest

from schemas.errors import ConfigurationError
from service.keys import check_keys_file
from service.settings import ServiceSettings

GOOD: dict[str, Any] = {
    "postgres_dsn": "postgresql://purser_writer:x@127.0.0.1:5432/purser",
    "kafka_bootstrap": "127.0.0.1:9092",
    "clickhouse_reader_url": "http://reader:x@127.0.0.1:8123/purser",
    "jwt_issuer": "https://issuer.example",
    "jwks_url": "https://issuer.example/jwks.json",
}


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in os.environ:
        if name.startswith("PURSER_"):
            monkeypatch.delenv(name)


def test_defaults_are_enough() -> None:
    settings = ServiceSettings.load(**GOOD)
    assert (settings.jwt_audience, settings.redis_url) == ("purser", None)


def test_an_empty_address_of_redis_means_none() -> None:
    assert ServiceSettings.load(**GOOD, redis_url="").redis_url is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        *(({name: None}, f"PURSER_{name.upper()}") for name in GOOD),
        ({"postgres_dsn": "nonsense"}, "PURSER_POSTGRES_DSN"),
        ({"jwks_url": "ftp://x/y"}, "PURSER_JWKS_URL"),
        ({"jwks_url": "/etc/passwd"}, "PURSER_JWKS_URL"),
        ({"api_port": 0}, "PURSER_API_PORT"),
        ({"api_host": "localhost"}, "PURSER_API_HOST"),
        ({"redis_url": "http://x"}, "PURSER_REDIS_URL"),
        ({"redis_url": "redis://:hunter2@127.0.0.1/0"}, "PURSER_ANSWERS_SECRET"),
        ({"api_tls_key_file": "/key.pem"}, "PURSER_API_TLS_CERTIFICATE_FILE"),
        ({"rate_requests": 0}, "PURSER_RATE_REQUESTS"),
        ({"jwt_leeway_seconds": -1}, "PURSER_JWT_LEEWAY_SECONDS"),
        ({"log_level": "LOUD"}, "PURSER_LOG_LEVEL"),
    ],
)
def test_a_wrong_setting_is_named_and_never_shown(change: dict[str, Any], says: str) -> None:
    given = {name: value for name, value in (GOOD | change).items() if value is not None}
    with pytest.raises(ConfigurationError, match=says) as refused:
        ServiceSettings.load(**given)
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("content", ["", "{}", '{"keys": []}', '{"keys": [{"kty": "oct"}]}'])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="PURSER_JWKS_FILE"):
        check_keys_file(file)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="PURSER_JWKS_FILE"):
        check_keys_file(tmp_path / "nothing")
