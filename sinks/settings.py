"""How ClickHouse is reached and how much of it one sink may use."""

from dataclasses import dataclass, field
from typing import Annotated, Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError, refused_setting

DATABASE = "purser"

Seconds = Annotated[int, Field(gt=0, le=3600)]  # the client takes whole ones
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


class ClickHouseSettings(BaseSettings):
    """Settings of everything that talks to ClickHouse.

    Environment: the field's name in capitals behind `PURSER_`, for example PURSER_CLICKHOUSE_URL,
    `http://user:password@host:8123/purser`; the database is `purser` when the URL names none.
    """

    model_config = SettingsConfigDict(
        env_prefix="PURSER_", frozen=True, extra="ignore", hide_input_in_errors=True
    )

    clickhouse_url: SecretStr = Field(min_length=1)
    clickhouse_connect_seconds: Seconds = 5
    clickhouse_request_seconds: Seconds = 120
    clickhouse_inserts_max: Annotated[int, Field(ge=1, le=8)] = 5  # at once; of the pool's 8
    clickhouse_insert_rows_max: Count = 200_000
    clickhouse_revenue_keys_max: Count = 2_000
    # lz4 sends 134 instead of 440 bytes an event for 0.2 µs; zstd 72 for 0.5 µs.
    clickhouse_compression: Literal["none", "lz4", "zstd"] = "lz4"

    @classmethod
    def load(cls, clickhouse_url: str | None = None) -> Self:
        """Read the environment; `clickhouse_url` goes before it.

        Raises:
            ConfigurationError: naming the variable that is missing or wrong.
        """
        given = {} if clickhouse_url is None else {"clickhouse_url": clickhouse_url}
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            raise refused_setting(error) from None
        settings.address()
        return settings

    def address(self) -> Address:
        """The parts of the URL.

        Raises:
            ConfigurationError: not an HTTP URL with a host and a port that exists.
        """
        wrong = ConfigurationError(
            "PURSER_CLICKHOUSE_URL: is not like http://user:password@host:8123/purser; correct it,"
            " `purser env` prints it for the local stack"
        )
        try:
            parts = urlsplit(self.clickhouse_url.get_secret_value())
            port = parts.port
        except ValueError:
            raise wrong from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise wrong
        return Address(
            interface=parts.scheme,
            host=parts.hostname,
            port=port or (8443 if parts.scheme == "https" else 8123),
            username=unquote(parts.username or "default"),
            password=unquote(parts.password or ""),
            database=parts.path.strip("/") or DATABASE,
        )
