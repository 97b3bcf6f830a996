"""The stack's passwords and keys: generated once per home, in a file that only its owner reads."""

import secrets
from collections.abc import Callable
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_serializer
from pydantic.fields import Field

from schemas.errors import ConfigurationError
from stack.layout import Home, write_private

PASSWORD_BYTES = 24


def _generated() -> SecretStr:
    """A new password; hexadecimal, so that it needs no quoting in any URL or file."""
    return SecretStr(secrets.token_hex(PASSWORD_BYTES))


def _generated_key() -> SecretStr:
    """A new private key on P-256, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SecretStr(pem.decode())


def _generated_with(prefix: str) -> Callable[[], SecretStr]:
    """A new secret that begins as those of the company that it is for."""
    return lambda: SecretStr(prefix + secrets.token_hex(PASSWORD_BYTES))


class Credentials(BaseModel):
    """One password per login; `home_id` identifies this home in folders outside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home_id: str = Field(default_factory=lambda: secrets.token_hex(8), pattern="^[0-9a-f]{16}$")
    postgres_superuser: SecretStr = Field(default_factory=_generated, min_length=1)
    purser_owner: SecretStr = Field(default_factory=_generated, min_length=1)
    purser_writer: SecretStr = Field(default_factory=_generated, min_length=1)
    purser_cdc: SecretStr = Field(default_factory=_generated, min_length=1)
    purser_reader: SecretStr = Field(default_factory=_generated, min_length=1)
    clickhouse: SecretStr = Field(default_factory=_generated, min_length=1)
    clickhouse_reader: SecretStr = Field(default_factory=_generated, min_length=1)
    valkey: SecretStr = Field(default_factory=_generated, min_length=1)
    answers: SecretStr = Field(default_factory=_generated, min_length=1)
    """Signs the answers that the API keeps in Valkey."""
    token_key: SecretStr = Field(default_factory=_generated_key, min_length=1)
    """Signs what `purser token` prints."""

    stripe_api_key: SecretStr = Field(default_factory=_generated_with("sk_test_"), min_length=1)
    """The key that the simulator of Stripe accepts."""
    stripe_webhook_secret: SecretStr = Field(
        default_factory=_generated_with("whsec_"), min_length=1
    )
    """Signs the events that the simulator of Stripe sends."""

    @field_serializer(
        "postgres_superuser",
        "purser_owner",
        "purser_writer",
        "purser_cdc",
        "purser_reader",
        "clickhouse",
        "clickhouse_reader",
        "valkey",
        "answers",
        "token_key",
        "stripe_api_key",
        "stripe_webhook_secret",
        when_used="json",
    )
    def _revealed(self, value: SecretStr) -> str:
        return value.get_secret_value()

    @classmethod
    def read(cls, home: Home) -> Self:
        """Read a home's passwords.

        Raises ConfigurationError when the stack was never started there or the file is damaged.
        """
        try:
            text = home.secrets_file.read_text(encoding="utf-8")
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"{home.path} holds no stack yet; run `purser up` (PURSER_HOME chooses the folder)"
            ) from error
        except OSError as error:
            raise ConfigurationError(
                f"cannot read {home.secrets_file} ({error.strerror}); run as the owner of"
                f" {home.path} or set PURSER_HOME"
            ) from error
        try:
            credentials = cls.model_validate_json(text)
        except ValidationError as error:
            # Not `from error`: its text would hold what was in the file.
            field = ".".join(str(part) for part in error.errors()[0]["loc"]) or "the file"
            raise cls._damaged(home, field) from None
        if "home_id" not in credentials.model_fields_set:  # the only one that every home has had
            raise cls._damaged(home, "home_id")
        return credentials

    @classmethod
    def _damaged(cls, home: Home, field: str) -> ConfigurationError:
        return ConfigurationError(
            f"{home.secrets_file}: {field} is damaged; restore the file from a backup, or"
            f" remove {home.path} to start again (this deletes its data)"
        )

    @classmethod
    def read_or_create(cls, home: Home) -> Self:
        """Read a home's passwords, generating those that it lacks (call it under the lock)."""
        known = home.secrets_file.exists()
        credentials = cls.read(home) if known else cls()
        text = credentials.model_dump_json(indent=2) + "\n"
        if not known or home.secrets_file.read_text(encoding="utf-8") != text:
            write_private(home.secrets_file, text)
        return credentials
