"""Settings: one frozen object per process, read from the environment, with uniform errors.

The class in every `settings` module derives from `Settings`. A field is read from the environment
variable with its name in capitals after the class's prefix, by default `PURSER_`.
"""

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.errors import ConfigurationError

CHECKOUT = Path(__file__).resolve().parent.parent
PORT_HIGHEST = 65_535


def _named(value: object) -> object:
    """Refuse an empty name, which would be the current folder."""
    if value == "":
        raise ValueError("names no folder")
    return value


def _absolute(value: Path) -> Path:
    """Make a folder absolute, so that it means the same in every process."""
    if any(ord(character) < 32 for character in str(value)):
        raise ValueError("a folder's name must not contain control characters")
    return value.expanduser().absolute()


def _addresses(value: str) -> str:
    """Accept only `host:port` pairs, comma separated."""
    for number, address in enumerate(value.split(","), start=1):
        host, _, port = address.strip().rpartition(":")
        if not host or "/" in host or not port.isascii() or not port.isdecimal():
            raise ValueError(f"address number {number} is not host:port")
        if not 0 < int(port) <= PORT_HIGHEST:
            raise ValueError(f"address number {number} has no port between 1 and {PORT_HIGHEST}")
    return ",".join(address.strip() for address in value.split(","))


Count = Annotated[int, Field(gt=0, le=10_000_000)]
Bytes = Annotated[int, Field(gt=0, le=1024**3)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Share = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
PortNumber = Annotated[int, Field(gt=0, le=PORT_HIGHEST)]
Text = Annotated[str, Field(min_length=1)]
Secret = Annotated[SecretStr, Field(min_length=1)]
Folder = Annotated[Path, BeforeValidator(_named), AfterValidator(_absolute)]
Bootstrap = Annotated[str, AfterValidator(_addresses)]
"""Kafka's brokers, `host:port[,host:port …]`."""
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,200}$")]
TopicName = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]


class Settings(BaseSettings):
    """Base of all settings; instances are frozen, and their values are never printed."""

    model_config = SettingsConfigDict(
        env_prefix="PURSER_", frozen=True, hide_input_in_errors=True, validate_default=True
    )

    @classmethod
    def load(cls, **given: object) -> Self:
        """Read the environment; `given` values take precedence.

        Raises:
            ConfigurationError: names the variable that is missing or wrong, never its value.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            raise cls._refused(error) from None  # pydantic's own text would show the value

    @classmethod
    def variable(cls, field: str) -> str:
        """Return the environment variable of a field."""
        return f"{cls.model_config['env_prefix']}{field}".upper()

    @classmethod
    def _refused(cls, error: ValidationError) -> ConfigurationError:
        """Convert pydantic's first error to a message for the person who set the environment."""
        first = error.errors(include_input=False, include_url=False)[0]
        problem = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:  # a rule about several variables, which names them
            return ConfigurationError(f"{problem}; correct one of them or unset it")
        field = str(first["loc"][0])
        known = cls.model_fields.get(field)
        required = known is not None and known.is_required()
        if first["type"] == "missing":
            advice = "set it; `purser up` starts a local stack, whose addresses `purser env` prints"
        else:
            advice = "correct it" if required else "correct it or unset it"
        return ConfigurationError(f"{cls.variable(field)}: {problem}; {advice}")
