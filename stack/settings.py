"""Settings of the local stack, such as its folder and ports: one frozen object.

Every server module reads these settings; nothing here touches a file, a socket or a process.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError
from stack.topology import PORTS_RESERVED, VIEWS_WORKERS, Port

CHECKOUT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
PORT_LOWEST = 1024
PORT_HIGHEST = 65_535

PositiveMegabytes = Annotated[int, Field(gt=0, le=1_048_576)]


VIEWS_WORKERS_MAX = len(VIEWS_WORKERS)


class StackSettings(BaseSettings):
    """Settings of one local stack; two stacks differ in `home` and `port_base`.

    Environment: the field's name in capitals behind `PURSER_`, for example PURSER_PORT_BASE.
    """

    model_config = SettingsConfigDict(env_prefix="PURSER_", frozen=True)

    home: Path = CHECKOUT / ".purser"
    port_base: int = Field(default=15_400, ge=PORT_LOWEST, le=PORT_HIGHEST - PORTS_RESERVED + 1)
    cache: Path = CHECKOUT / "build" / "stack"
    postgres_os_user: str = Field(default="nobody", min_length=1)
    postgres_root_folder: Path = Path("/var/lib/purser")
    postgres_slot_wal_megabytes: PositiveMegabytes = 4096
    java_heap_megabytes: PositiveMegabytes = 512
    views_workers: int = Field(default=1, ge=1, le=VIEWS_WORKERS_MAX)
    """Number of views workers, which share the topic's partitions."""
    start_timeout_seconds: float = Field(default=120.0, gt=0, le=3600)
    stop_timeout_seconds: float = Field(default=60.0, gt=0, le=3600)

    @field_validator("home", "cache", "postgres_root_folder")
    @classmethod
    def absolute(cls, value: Path) -> Path:
        """Make a folder absolute, so that it does not depend on the working directory."""
        if any(ord(character) < 32 for character in str(value)):
            raise ValueError("a folder's name must not contain control characters")
        return value.expanduser().absolute()

    def port(self, port: Port) -> int:
        """The number of one of this stack's ports."""
        return self.port_base + list(Port).index(port)

    @classmethod
    def load(cls) -> Self:
        """Read the environment.

        Raises ConfigurationError naming the variable and what is wrong with it.
        """
        try:
            return cls()
        except ValidationError as error:
            first = error.errors()[0]
            variable = "PURSER_" + "_".join(str(part) for part in first["loc"]).upper()
            raise ConfigurationError(
                f"{variable}: {first['msg']} (got {first['input']!r}); correct it or unset it"
            ) from error
