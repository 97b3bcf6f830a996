"""Authentication: name and password by basic auth, by headers or in the query string."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from stack.clickhouse_http.errors import ClickHouseError, Code, refusal
from stack.clickhouse_http.settings import ServerSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody who proved a password; a read-only user is an analyst: see `statement_gate`."""

    name: str
    read_only: bool


class Authenticator:
    """Checks passwords in constant time against the one or two configured users."""

    def __init__(self, settings: ServerSettings) -> None:
        self._passwords = {settings.user: _digest(settings.password.get_secret_value())}
        self._read_only = frozenset({settings.reader_user}) - {settings.user}
        if settings.reader_password is not None:
            secret = settings.reader_password.get_secret_value()
            self._passwords.setdefault(settings.reader_user, _digest(secret))
        self._nobody = _digest("")

    def check(self, headers: Mapping[str, str], query: Mapping[str, str]) -> User:
        """Return the user of one request.

        Raises `ClickHouseError` 516 for a wrong name or password (the two look alike), or for two
        ways of authentication in one request.
        """
        name, password = _credentials(headers, query)
        known = self._passwords.get(name)
        correct = hmac.compare_digest(_digest(password), known or self._nobody)
        if known is None or not correct:
            raise _failed(name)
        return User(name=name, read_only=name in self._read_only)


def _digest(password: str) -> bytes:
    return hashlib.sha256(password.encode("utf-8", "surrogatepass")).digest()


def _credentials(headers: Mapping[str, str], query: Mapping[str, str]) -> tuple[str, str]:
    by_header = "x-clickhouse-user" in headers or "x-clickhouse-key" in headers
    authorization = headers.get("authorization", "")
    by_query = "user" in query or "password" in query
    if by_header + bool(authorization) + by_query > 1:
        raise refusal(
            Code.AUTHENTICATION_FAILED,
            "Invalid authentication: it is not allowed to use two of HTTP basic auth,"
            " X-ClickHouse headers and query parameters at once.",
        )
    if by_header:
        return headers.get("x-clickhouse-user", "default"), headers.get("x-clickhouse-key", "")
    if authorization:
        return _basic(authorization)
    return query.get("user", "default"), query.get("password", "")


def _basic(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        raise refusal(
            Code.AUTHENTICATION_FAILED,
            f"Invalid authentication: '{scheme}' HTTP Authorization scheme is not supported.",
        )
    try:
        plain = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        raise refusal(
            Code.AUTHENTICATION_FAILED, "Invalid authentication: malformed basic credentials."
        ) from None
    name, _, password = plain.partition(":")
    return name or "default", password


def _failed(name: str) -> ClickHouseError:
    return refusal(
        Code.AUTHENTICATION_FAILED,
        f"{name}: Authentication failed: password is incorrect,"
        " or there is no user with such name.",
    )
