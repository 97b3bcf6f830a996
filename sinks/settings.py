"""Settings of connections to ClickHouse, and limits of one sink."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, field_validator

from schemas.settings import Secret, Settings

DATABASE = "purser"

WholeSeconds = Annotated[int, Field(gt=0, le=3600)]  # the client accepts only whole seconds
Count = Annotated[int, Field(gt=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The parts of a ClickHouse URL."""

    interface: str
    host: str
    port: int
    username: str
    password: str = field(repr=False)
    database: str


class ClickHouseSettings(Settings):
    """Settings of every ClickHouse client.

    The URL is like `http://user:password@host:8123/purser`. The default database is `purser`.
    """

    clickhouse_url: Secret
    clickhouse_connect_seconds: WholeSeconds = 5
    clickhouse_request_seconds: WholeSeconds = 120
    clickhouse_inserts_max: Annotated[int, Field(ge=1, le=8)] = 5  # in parallel; of the pool's 8
    clickhouse_insert_rows_max: Count = 200_000
    # lz4 sends 134 instead of 440 bytes per event and takes 0.2 µs; zstd sends 72 and takes 0.5 µs.
    # Inserts of few rows are not compressed (`sinks.clickhouse.SMALL_ROWS`).
    clickhouse_compression: Literal["none", "lz4", "zstd"] = "lz4"

    @classmethod
    def load(cls, clickhouse_url: str | None = None, /, **given: object) -> Self:
        """Read the environment; `clickhouse_url` takes precedence.

        Raises:
            ConfigurationError: names the variable that is missing or wrong, never its value.
        """
        if clickhouse_url is not None:
            given["clickhouse_url"] = clickhouse_url
        return super().load(**given)

    @field_validator("clickhouse_url")
    @classmethod
    def is_http_url(cls, value: SecretStr) -> SecretStr:
        """Accept only an HTTP URL with a host and, if given, a valid port."""
        try:
            parts = urlsplit(value.get_secret_value())
            parts.port  # noqa: B018 - raises ValueError for an invalid port
        except ValueError:
            parts = None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("is not like http://user:password@host:8123/purser")
        return value

    def address(self) -> Address:
        """The parts of the URL."""
        parts = urlsplit(self.clickhouse_url.get_secret_value())
        assert parts.hostname is not None, "checked when the settings were made"
        return Address(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/") or DATABASE,
        )
