"""The token issuer's public keys (JWKS, RFC 7517): read, kept, and read again with a limit.

Only keys that can sign (`kty` EC on P-256, or RSA of 2,048 bits and more) are taken. A symmetric
key in the document is left out: with it, everybody who can read the document could sign.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import aiohttp
from jwt import PyJWK
from jwt.exceptions import PyJWTError

from schemas.errors import ConfigurationError, ServiceUnavailable

FETCH_SECONDS = 5.0
DOCUMENT_BYTES_MOST = 256 * 1024
PATIENCE_SECONDS = 0.25
"""How long a caller whose key is known waits for a newer document than one that is too old."""
KEYS_MOST = 100
RSA_BITS_LEAST = 2048
ALGORITHMS: Mapping[str, str] = {"EC": "ES256", "RSA": "RS256"}
"""Type of key -> the algorithm that it signs with; the token's header does not choose."""

_log = logging.getLogger("purser.api")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key and the one algorithm that is accepted with it."""

    algorithm: str
    key: Any


Fetch = Callable[[], Awaitable[bytes]]


def parse_keys(document: bytes) -> dict[str, SigningKey]:
    """Key id -> key, of every usable key in a JWKS document.

    Raises:
        ServiceUnavailable: not a JWKS document.
    """
    try:
        listed = json.loads(document)["keys"]
        assert isinstance(listed, list)
    except (ValueError, KeyError, TypeError, AssertionError):
        raise ServiceUnavailable(
            "the token issuer's document is no JWKS; check PURSER_JWKS_URL"
        ) from None
    found = {}
    for each in listed[:KEYS_MOST]:
        if isinstance(each, dict) and (key := _signing_key(each)) is not None:
            found[str(each.get("kid", ""))] = key
    return found


def _signing_key(jwk: Mapping[str, Any]) -> SigningKey | None:
    algorithm = ALGORITHMS.get(str(jwk.get("kty")))
    if algorithm is None or jwk.get("use", "sig") != "sig":
        return None
    if jwk.get("alg", algorithm) != algorithm or (
        algorithm == "ES256" and jwk.get("crv") != "P-256"
    ):
        return None
    try:
        key = PyJWK(dict(jwk), algorithm=algorithm).key
    except (PyJWTError, ValueError, TypeError):
        return None
    if algorithm == "RS256" and key.key_size < RSA_BITS_LEAST:
        return None
    return SigningKey(algorithm, key)


def fetch_from(url: str) -> Fetch:
    """How to read the document at an http, https or file URL."""
    parts = urlsplit(url)
    if parts.scheme == "file":
        return lambda: read_file(Path(unquote(parts.path)))

    async def over_http() -> bytes:
        timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout) as session,
                session.get(url, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise ServiceUnavailable(f"the token issuer's keys: status {answer.status}")
                return await _whole(answer.content)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServiceUnavailable(
                f"the token issuer's keys cannot be read: {error!r}; check PURSER_JWKS_URL"
            ) from error

    return over_http


async def _whole(content: aiohttp.StreamReader) -> bytes:
    """The body to its end: one read of a stream gives only what has arrived."""
    document = bytearray()
    async for part in content.iter_any():
        document += part
        if len(document) > DOCUMENT_BYTES_MOST:
            raise ServiceUnavailable(
                f"the token issuer's document has more than {DOCUMENT_BYTES_MOST} bytes; check"
                " PURSER_JWKS_URL"
            )
    return bytes(document)


async def read_file(path: Path) -> bytes:
    """The document in a file; raises ServiceUnavailable if it cannot be read."""
    try:
        return await asyncio.to_thread(path.read_bytes)
    except OSError as error:
        raise ServiceUnavailable(
            f"the token issuer's keys cannot be read: {error.strerror}; check PURSER_JWKS_URL"
        ) from error


def check_keys_file(path: Path) -> bytes:
    """The document that this service publishes; raises ConfigurationError if it is none."""
    try:
        document = path.read_bytes()
        keys = parse_keys(document)
    except OSError as error:
        raise ConfigurationError(
            f"PURSER_JWKS_FILE: cannot be read ({error.strerror}); correct it or unset it"
        ) from error
    except ServiceUnavailable:
        keys = {}
    if not keys:
        raise ConfigurationError("PURSER_JWKS_FILE: holds no usable key; correct it or unset it")
    return document


class KeySet:
    """The issuer's keys as last read.

    A document is used for `refresh_seconds`. Once half of that is over, the next one is read while
    the old one is in use, so that nobody waits for it. An unknown key id reads it at once. It is
    never read sooner than `pause_seconds` after the last attempt, so that made-up ids cost the
    issuer nothing. While the issuer does not answer, the keys of the last good document stay in
    use.
    """

    def __init__(
        self,
        fetch: Fetch,
        *,
        refresh_seconds: float,
        pause_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetch = fetch
        self._refresh_seconds = refresh_seconds
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._keys: dict[str, SigningKey] | None = None
        self._read_at = float("-inf")
        self._tried_at = float("-inf")
        self._failed = False
        self._reading: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Read the document if none was read yet; raises ServiceUnavailable if that fails."""
        if self._keys is None:
            await self._refreshed(None)
        if self._keys is None:
            raise ServiceUnavailable("the token issuer's keys cannot be read")

    async def key(self, key_id: str) -> SigningKey | None:
        """The key of that id; None if the issuer has none.

        Raises:
            ServiceUnavailable: no document could be read yet.
        """
        is_known = self._keys is not None and key_id in self._keys
        age = self._clock() - self._read_at
        if not is_known:
            await self._refreshed(None)
        elif age >= self._refresh_seconds:
            # Nobody has asked for a while. The key may be withdrawn, so a new document is worth a
            # short wait, but not if the issuer did not answer the last time.
            await self._refreshed(0.0 if self._failed else PATIENCE_SECONDS)
        elif age >= self._refresh_seconds / 2:
            self._begin()
        if self._keys is None:
            raise ServiceUnavailable("the token issuer's keys cannot be read; try again")
        return self._keys.get(key_id)

    async def _refreshed(self, wait_seconds: float | None) -> None:
        """Wait for a reading, unless there was one just now; whoever waits shares it."""
        if (reading := self._begin()) is not None:
            await asyncio.wait({reading}, timeout=wait_seconds)

    def _begin(self) -> "asyncio.Task[None] | None":
        """The reading that is under way or begins now; None if there was one just now."""
        if self._reading is None or self._reading.done():
            if self._clock() - self._tried_at < self._pause_seconds:
                return None
            self._tried_at = self._clock()
            # A task of its own: a caller that leaves does not end it.
            self._reading = asyncio.create_task(self._read())
        return self._reading

    async def _read(self) -> None:
        try:
            self._keys = parse_keys(await self._fetch())
        except ServiceUnavailable as error:
            self._failed = True
            _log.warning("%s", error)
        else:
            self._failed = False
            self._read_at = self._clock()
