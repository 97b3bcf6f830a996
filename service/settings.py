"""Settings of the HTTP service: where it listens, whom it trusts, and every limit."""

from ipaddress import ip_address
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, model_validator

from schemas.dsn import Dsn
from schemas.settings import Bootstrap, Count, Folder, PortNumber, Seconds, Secret, Settings, Text


def _host(value: str) -> str:
    """Accept only an address of this machine, not a name: a name may mean several."""
    ip_address(value)
    return value


def _keys_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme == "file" and parts.path:
        return value
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http, https or file URL")
    return value


def _unless_empty(value: object) -> object:
    return None if value == "" else value


def _redis_url(value: SecretStr) -> SecretStr:
    parts = urlsplit(value.get_secret_value())
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ValueError("is not like redis://:password@host:6379/0")
    return value


class ServiceSettings(Settings):
    """Settings of one process of the API; processes side by side have the same but the ports."""

    postgres_dsn: Dsn
    """The writer's login: it may only append events and read."""
    kafka_bootstrap: Bootstrap
    """Where webhooks are kept until they are worked off."""
    clickhouse_reader_url: Secret
    """The analysts' login: it reads the views and nothing else."""

    api_host: Annotated[str, AfterValidator(_host)] = "127.0.0.1"
    api_port: PortNumber = 15_410
    worker_metrics_port: PortNumber = 15_411
    """Port of `/metrics` and `/health`, on 127.0.0.1 only."""
    api_tls_certificate_file: Folder | None = None
    api_tls_key_file: Folder | None = None

    jwt_issuer: Text
    """The `iss` of the tokens that are accepted."""
    jwt_audience: Text = "purser"
    """One of the `aud` of the tokens that are accepted."""
    jwks_url: Annotated[str, AfterValidator(_keys_url)]
    """Where the issuer publishes its keys."""
    jwks_file: Folder | None = None
    """A file with the issuer's keys, published as `/.well-known/jwks.json`; the local stack's."""
    jwks_refresh_seconds: Seconds = 300.0
    """How long the issuer's keys are used before they are read again."""
    jwks_pause_seconds: Seconds = 10.0
    """Least time between two readings, however many tokens name an unknown key."""
    jwt_leeway_seconds: Annotated[float, Field(ge=0, le=300)] = 10.0
    """By how much clocks may differ."""
    tokens_remembered: Count = 10_000

    redis_url: Annotated[
        Annotated[Secret, AfterValidator(_redis_url)] | None, BeforeValidator(_unless_empty)
    ] = None
    """Answers repeated requests before they reach PostgreSQL; nothing depends on it."""
    answers_secret: Secret | None = None
    """Signs what is kept in Redis; the same for all processes."""
    redis_answer_seconds: Annotated[float, Field(gt=0, le=5)] = 0.1
    """Longest wait for Redis; after a failure it is left alone for `redis_pause_seconds`."""
    redis_pause_seconds: Seconds = 1.0
    answers_kept_seconds: Annotated[int, Field(gt=0, le=86_400)] = 300

    rate_requests: Annotated[int, Field(gt=0, le=100_000_000)] = 120_000
    """Requests that a caller has in each window."""
    rate_window_seconds: Annotated[int, Field(gt=0, le=86_400)] = 60
    rate_requests_unknown: Annotated[int, Field(gt=0, le=100_000_000)] = 6_000
    """The same for an address that gives no valid token."""

    body_bytes_most: Annotated[int, Field(gt=0, le=16 * 1024**2)] = 256 * 1024
    headers_seconds: Seconds = 10.0
    body_seconds: Seconds = 20.0
    """How long a client may take to send the headers, and then the body."""
    keep_alive_seconds: Annotated[int, Field(gt=0, le=3600)] = 65
    """Longer than a load balancer's 60, so that it closes idle connections and not we."""
    requests_most: Count = 2_000
    """Requests being worked on at once; more are answered with 503 at once."""
    stop_seconds: Annotated[int, Field(gt=0, le=300)] = 20
    """How long a stop waits for the requests in flight."""
    startup_wait_seconds: Seconds = 60.0

    view_threads: Annotated[int, Field(gt=0, le=64)] = 4
    """Queries to ClickHouse at once."""
    view_waiting_most: Count = 64
    """Queries that wait for one of them; more are answered with 503."""
    view_seconds: Annotated[int, Field(gt=0, le=300)] = 10
    """How long a query may take."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @model_validator(mode="after")
    def fits_together(self) -> Self:
        """Refuse half a pair."""
        if (self.api_tls_certificate_file is None) != (self.api_tls_key_file is None):
            raise ValueError(
                "PURSER_API_TLS_CERTIFICATE_FILE and PURSER_API_TLS_KEY_FILE belong together"
            )
        if self.redis_url is not None and self.answers_secret is None:
            raise ValueError(
                "PURSER_REDIS_URL needs PURSER_ANSWERS_SECRET, which signs what it keeps"
            )
        return self
