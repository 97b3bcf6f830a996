"""`purser migrate`: the schemas of both databases and the connector, wherever they run."""

from typing import Annotated

import typer
from pydantic import Field, HttpUrl, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from connectors.debezium.settings import DebeziumSettings
from operations.bring_up import migrate_all, register_connector
from operations.console import say
from schemas.errors import ConfigurationError
from sinks.reader import ensure_reader


class MigrateSettings(BaseSettings):
    """Where what is migrated runs; DebeziumSettings say how Connect reaches the database."""

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True, extra="ignore")

    postgres_admin_dsn: SecretStr = Field(min_length=1)
    clickhouse_url: SecretStr = Field(min_length=1)
    clickhouse_reader_url: SecretStr | None = Field(default=None, min_length=1)
    kafka_bootstrap: str = Field(min_length=1)
    connect_url: HttpUrl


def migrate(
    connector: Annotated[
        bool, typer.Option(help="Register the Debezium connector as well, and wait for it.")
    ] = True,
) -> None:
    """Bring PostgreSQL and ClickHouse to the schema that this code knows; repeatable.

    Reads PURSER_POSTGRES_ADMIN_DSN, PURSER_CLICKHOUSE_URL, PURSER_KAFKA_BOOTSTRAP,
    PURSER_CONNECT_URL and, for the address under which Connect finds the database,
    PURSER_DEBEZIUM_DATABASE_HOST and _PORT. With PURSER_CLICKHOUSE_READER_URL it also makes the
    analysts' user in ClickHouse, who may read the views and nothing else.
    `purser up` does the same for the local stack.

    Example: PURSER_DEBEZIUM_DATABASE_HOST=postgres purser migrate
    """
    try:
        settings = MigrateSettings()
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        variable = "PURSER_" + "_".join(str(part) for part in first["loc"]).upper()
        raise ConfigurationError(f"{variable}: {first['msg']}; set it") from None
    migrate_all(
        settings.postgres_admin_dsn.get_secret_value(),
        settings.clickhouse_url.get_secret_value(),
        say,
    )
    if settings.clickhouse_reader_url is not None:
        ensure_reader(
            settings.clickhouse_url.get_secret_value(),
            settings.clickhouse_reader_url.get_secret_value(),
        )
        say("ClickHouse's reader may read the views")
    if connector:
        connect_url = str(settings.connect_url).rstrip("/")
        register_connector(settings.kafka_bootstrap, connect_url, DebeziumSettings.load(), say)
