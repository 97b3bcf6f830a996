"""Tokens of the local stack: it is an issuer of its own, for those who have no other.

The private key is one of the stack's credentials. The public one is in a file, which the API
publishes. Nothing of this is used once PURSER_JWKS_URL names another issuer.
"""

import base64
import hashlib
import json
import time
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from schemas.errors import ConfigurationError
from stack.credentials import Credentials
from stack.layout import Home, write_private

ALGORITHM = "ES256"
_COORDINATE_BYTES = 32


def write_keys(home: Home, credentials: Credentials) -> None:
    """Write the public key to the file that the API publishes."""
    write_private(home.keys_file, json.dumps({"keys": [_public_jwk(_key(credentials))]}))


def make_token(
    credentials: Credentials, *, issuer: str, audience: str, subject: str, scope: str, minutes: int
) -> str:
    """A signed token that says: `subject` may act in the roles of `scope` for these minutes."""
    key = _key(credentials)
    now = int(time.time())
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "scope": scope,
        "iat": now,
        "nbf": now,
        "exp": now + 60 * minutes,
        "jti": str(uuid4()),
    }
    key_id = _public_jwk(key)["kid"]
    return jwt.encode(claims, key, algorithm=ALGORITHM, headers={"kid": key_id})


def _key(credentials: Credentials) -> EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(credentials.token_key.get_secret_value().encode(), None)
        assert isinstance(key, EllipticCurvePrivateKey)
    except (ValueError, AssertionError):
        raise ConfigurationError(
            "token_key in the stack's secrets.json is damaged; remove the field and run `purser up`"
        ) from None
    return key


def _public_jwk(key: EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": _text(numbers.x), "y": _text(numbers.y)}
    # RFC 7638: the members that make the key, sorted, without spaces.
    thumbprint = hashlib.sha256(
        json.dumps(jwk, sort_keys=True, separators=(",", ":")).encode()
    ).digest()
    key_id = base64.urlsafe_b64encode(thumbprint).rstrip(b"=").decode()
    return {**jwk, "kid": key_id, "alg": ALGORITHM, "use": "sig"}


def _text(coordinate: int) -> str:
    raw = coordinate.to_bytes(_COORDINATE_BYTES, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
