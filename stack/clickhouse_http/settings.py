"""Settings of the server: where the data are, where to listen, and the users."""

from pathlib import Path
from typing import Final

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError

MIB: Final = 1 << 20


class ServerSettings(BaseSettings):
    """Settings from the command line and from `PURSER_CLICKHOUSE_*` in the environment.

    Sizes are bytes, times are seconds. Every queue and every buffer has a limit here.
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_CLICKHOUSE_", frozen=True)

    path: Path
    host: str = "127.0.0.1"
    port: int = Field(default=8123, ge=1, le=65535)
    user: str = Field(min_length=1)
    password: SecretStr
    reader_user: str = "purser_reader"
    reader_password: SecretStr | None = None
    database: str = Field(default="purser", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    max_concurrent_queries: int = Field(default=32, ge=1)
    queue_wait_seconds: float = Field(default=30.0, gt=0)
    min_free_disk_bytes: int = Field(default=512 * MIB, ge=64 * MIB)
    max_sessions: int = Field(default=256, ge=1)
    max_server_memory_bytes: int = Field(default=1024 * MIB, ge=256 * MIB)
    background_threads: int = Field(default=2, ge=1)
    insert_memory_bytes: int = Field(default=4 * MIB, gt=0)
    result_memory_bytes: int = Field(default=4 * MIB, gt=0)
    response_buffer_bytes: int = Field(default=256 * 1024, gt=0)
    max_statement_bytes: int = Field(default=1 * MIB, gt=0)
    transfer_seconds: float = Field(default=300.0, gt=0)
    stop_seconds: int = Field(default=10, ge=1)

    @field_validator("password", "reader_password")
    @classmethod
    def _not_empty(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value():
            raise ValueError("must not be empty")
        return value

    @field_validator("path")
    @classmethod
    def _plain_path(cls, value: Path) -> Path:
        # Not resolved: /proc/self/cwd/... can name a folder with such a character.
        absolute = value.expanduser().absolute()
        if set("?&#%") & set(str(absolute)):
            raise ValueError("must hold none of the characters ? & # %: chDB reads them as options")
        return absolute


def load_settings(path: Path, host: str, port: int) -> ServerSettings:
    """Load the settings from the arguments and the environment.

    Raises `ConfigurationError` that names the invalid environment variable.
    """
    try:
        return ServerSettings(path=path, host=host, port=port)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = str(first["loc"][0]) if first["loc"] else "settings"
        name = f"--{field}" if field in ("path", "host", "port") else f"PURSER_CLICKHOUSE_{field}"
        raise ConfigurationError(
            f"{name.upper() if '--' not in name else name}: {first['msg']}"
        ) from None
