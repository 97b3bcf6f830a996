"""Settings of a verification: two servers to read, nothing to write."""

from typing import Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import refused_setting


class VerifySettings(BaseSettings):
    """Where the source and the views are.

    Environment: the field's name in capitals behind `PURSER_`: PURSER_POSTGRES_READER_DSN (the
    reader role is enough) and PURSER_CLICKHOUSE_URL (`http://user:password@host:port/database`).
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True, extra="ignore")

    postgres_reader_dsn: SecretStr = Field(min_length=1)
    clickhouse_url: SecretStr = Field(min_length=1)

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises:
            ConfigurationError: naming the variable that is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            raise refused_setting(error) from None
