"""What the writer is told from outside: one frozen object per process, from the environment."""

from typing import Self

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import refused_setting


class WriterSettings(BaseSettings):
    """Settings of whatever appends to `payments`.

    Environment: the field's name in capitals behind `PURSER_`, for example PURSER_POSTGRES_DSN; a
    DSN may name several hosts (`host=a,b target_session_attrs=read-write`).
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True, extra="ignore")

    postgres_dsn: SecretStr = Field(min_length=1)

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
