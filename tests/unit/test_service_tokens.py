"""Who is let in: every way in which a token can be wrong, and what is remembered."""

import asyncio
import base64
import json
import socket
import time
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from schemas.errors import ServiceUnavailable
from service.keys import DOCUMENT_BYTES_MOST, KeySet, fetch_from, parse_keys
from service.problems import Problem
from service.roles import Role
from service.tokens import Tokens
from tests.service_world import AUDIENCE, EC_KEY, ISSUER, RSA_KEY, claims, public_keys, token

STRANGER = ec.generate_private_key(ec.SECP256R1())
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
PUBLIC_PEM = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)


class Issuer:
    """A document that can change, and how often it was read."""

    def __init__(self) -> None:
        self.document: bytes | None = json.dumps(public_keys()).encode()
        self.readings = 0
        self.now = 1000.0

    async def fetch(self) -> bytes:
        self.readings += 1
        if self.document is None:
            raise ServiceUnavailable("down")
        return self.document

    def keys(self) -> KeySet:
        return KeySet(self.fetch, refresh_seconds=300, pause_seconds=10, clock=lambda: self.now)

    def tokens(self, **changes: Any) -> Tokens:
        defaults: dict[str, Any] = {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "leeway_seconds": 120,
            "remembered_most": 3,
            "remembered_seconds": 300,
        }
        return Tokens(self.keys(), **defaults | changes)


def ask(tokens: Tokens, text: str | None) -> Any:
    return asyncio.run(tokens.caller(text))


def signed(key: Any, algorithm: str, kid: str | None, **changes: Any) -> str:
    headers = {"kid": kid} if kid is not None else None
    return jwt.encode(claims(**changes), key, algorithm, headers=headers)


def forged(header: dict[str, Any], signature: str = "") -> str:
    """A token that no library would make."""
    parts = [json.dumps(each).encode() for each in (header, claims())]
    texts = [base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts]
    return ".".join([*texts, signature])


def hmac_with_public_key() -> str:
    """The confusion of algorithms: signed with what everybody can read."""
    import hmac
    from hashlib import sha256

    unsigned = forged({"alg": "HS256", "kid": "rsa", "typ": "JWT"}).rpartition(".")[0]
    mac = hmac.digest(PUBLIC_PEM, unsigned.encode(), sha256)
    return f"{unsigned}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


def good_tokens() -> dict[str, str]:
    """Made when a test runs: tokens expire."""
    now = int(time.time())
    return {
        "ES256": token(),
        "RS256": signed(RSA_KEY, "RS256", "rsa"),
        "several audiences": signed(EC_KEY, "ES256", "ec", aud=["other", AUDIENCE]),
        "expired within the leeway": signed(EC_KEY, "ES256", "ec", exp=now - 2),
        "not yet valid within the leeway": signed(EC_KEY, "ES256", "ec", nbf=now + 3),
        "without nbf": signed(EC_KEY, "ES256", "ec", nbf=None),
    }


@pytest.mark.parametrize("name", list(good_tokens()))
def test_a_good_token_names_its_caller(name: str) -> None:
    caller = ask(Issuer().tokens(), f"Bearer {good_tokens()[name]}")
    assert (caller.subject, caller.roles) == ("shop", {Role.SERVICE})


def bad_tokens() -> dict[str, tuple[str | None, str]]:
    """Header -> the problem's code; made when a test runs."""
    now = int(time.time())
    return {
        "no header": (None, "token_missing"),
        "empty": ("", "token_missing"),
        "another scheme": ("Basic c2hvcDpzaG9w", "token_invalid"),
        "no token": ("Bearer ", "token_invalid"),
        "not three parts": ("Bearer abc", "token_invalid"),
        "not ASCII": ("Bearer ä.ö.ü", "token_invalid"),
        "too long": (f"Bearer {'a' * 9000}", "token_invalid"),
        "alg none": (f"Bearer {forged({'alg': 'none', 'kid': 'ec'})}", "token_invalid"),
        "alg NONE": (f"Bearer {forged({'alg': 'NONE', 'kid': 'ec'})}", "token_invalid"),
        "without alg": (f"Bearer {forged({'kid': 'ec'})}", "token_invalid"),
        "kid is a list": (f"Bearer {forged({'alg': 'ES256', 'kid': ['ec']})}", "token_invalid"),
        "HS256 with the public key": (f"Bearer {hmac_with_public_key()}", "token_invalid"),
        "another's key": (f"Bearer {signed(STRANGER, 'ES256', 'ec')}", "token_invalid"),
        "RS256 under the kid of ES256": (
            f"Bearer {signed(RSA_KEY, 'RS256', 'ec')}",
            "token_invalid",
        ),
        "PS256": (f"Bearer {signed(RSA_KEY, 'PS256', 'rsa')}", "token_invalid"),
        "RS512": (f"Bearer {signed(RSA_KEY, 'RS512', 'rsa')}", "token_invalid"),
        "unknown kid": (f"Bearer {signed(EC_KEY, 'ES256', 'nobody')}", "token_invalid"),
        "without kid": (f"Bearer {signed(EC_KEY, 'ES256', None)}", "token_invalid"),
        "expired": (f"Bearer {token(exp=now - 600)}", "token_expired"),
        "not valid yet": (f"Bearer {token(nbf=now + 600)}", "token_invalid"),
        "issued in the future": (f"Bearer {token(iat=now + 600)}", "token_invalid"),
        "another audience": (f"Bearer {token(aud='shop')}", "token_invalid"),
        "another issuer": (f"Bearer {token(iss='https://evil.example')}", "token_invalid"),
        "without exp": (f"Bearer {token(exp=None)}", "token_invalid"),
        "without aud": (f"Bearer {token(aud=None)}", "token_invalid"),
        "without iss": (f"Bearer {token(iss=None)}", "token_invalid"),
        "without sub": (f"Bearer {signed(EC_KEY, 'ES256', 'ec', sub=None)}", "token_invalid"),
        "empty sub": (f"Bearer {token(subject='')}", "token_invalid"),
        "sub with a space": (f"Bearer {token(subject='a b')}", "token_invalid"),
        "exp is no number": (f"Bearer {token(exp='soon')}", "token_invalid"),
    }


@pytest.mark.parametrize("name", list(bad_tokens()))
def test_a_bad_token_is_refused_with_a_challenge(name: str) -> None:
    text, code = bad_tokens()[name]
    with pytest.raises(Problem) as refused:
        ask(Issuer().tokens(), text)
    assert (refused.value.code, refused.value.status_code) == (code, 401)
    challenge = (refused.value.headers or {})["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="purser"')
    assert (code == "token_missing") == ("error=" not in challenge)


@pytest.mark.parametrize("subject", ["a" * 129, "a b", "", 7])
def test_a_subject_that_is_no_id_is_named(subject: Any) -> None:
    with pytest.raises(Problem, match="subject") as caught:
        ask(Issuer().tokens(), f"Bearer {signed(EC_KEY, 'ES256', 'ec', sub=subject)}")
    assert caught.value.detail == (
        "the token's subject (sub) is not 1 to 128 printable ASCII characters; get a new one"
    )


@pytest.mark.parametrize(
    ("scope", "roles"),
    [
        ("buyer seller", {Role.BUYER, Role.SELLER}),
        ("openid admin", {Role.ADMIN}),
        ("Admin", set()),
        ("administrator", set()),
        (["admin"], set()),
        (None, set()),
    ],
)
def test_roles_are_whole_words_of_the_scope(scope: Any, roles: set[Role]) -> None:
    assert (
        ask(Issuer().tokens(), f"Bearer {signed(EC_KEY, 'ES256', 'ec', scope=scope)}").roles
        == roles
    )


def test_a_verified_token_is_remembered_until_it_expires() -> None:
    start = int(time.time())
    issuer, now = Issuer(), [float(start)]
    tokens = issuer.tokens(clock=lambda: now[0])
    text = f"Bearer {token(exp=start + 100)}"
    first = ask(tokens, text)
    assert ask(tokens, text) is first
    now[0] = start + 101.0
    assert ask(tokens, text) is not first  # verified again; PyJWT's own clock finds it good


def test_few_tokens_are_remembered() -> None:
    tokens = Issuer().tokens()
    texts = [f"Bearer {token(subject=f's-{number}')}" for number in range(4)]
    callers = [ask(tokens, text) for text in texts]
    assert ask(tokens, texts[3]) is callers[3]
    assert ask(tokens, texts[0]) is not callers[0]


def test_a_withdrawn_key_ends_its_tokens() -> None:
    issuer, now = Issuer(), [time.time()]
    tokens = issuer.tokens(clock=lambda: now[0])
    text = f"Bearer {token()}"
    ask(tokens, text)
    issuer.document = json.dumps({"keys": public_keys()["keys"][1:]}).encode()
    ask(tokens, text)  # remembered
    now[0] += 301
    issuer.now += 301
    with pytest.raises(Problem, match="no key of this id"):
        ask(tokens, text)


# -- the issuer's document


def test_unknown_ids_read_the_document_again_but_not_often() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    for number in range(50):
        with pytest.raises(Problem):
            ask(tokens, f"Bearer {signed(EC_KEY, 'ES256', f'made-up-{number}')}")
    assert issuer.readings == 1
    issuer.now += 11
    with pytest.raises(Problem):
        ask(tokens, f"Bearer {signed(EC_KEY, 'ES256', 'made-up')}")
    assert issuer.readings == 2


def test_a_new_key_is_found() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    ask(tokens, f"Bearer {token()}")
    new = ECAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)
    issuer.document = json.dumps({"keys": [{**new, "kid": "new"}]}).encode()
    issuer.now += 11
    assert ask(tokens, f"Bearer {signed(STRANGER, 'ES256', 'new')}").subject == "shop"


def test_known_keys_outlast_an_issuer_that_is_down() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()
    ask(tokens, f"Bearer {token()}")
    issuer.document = None
    issuer.now += 1000
    assert ask(tokens, f"Bearer {token(subject='other')}").subject == "other"


def test_without_any_document_nobody_can_be_judged() -> None:
    issuer = Issuer()
    issuer.document = None
    with pytest.raises(ServiceUnavailable):
        ask(issuer.tokens(), f"Bearer {token()}")


def test_requests_at_once_share_one_reading() -> None:
    issuer = Issuer()
    tokens = issuer.tokens()

    async def many() -> None:
        await asyncio.gather(
            *(tokens.caller(f"Bearer {token(subject=f's-{n}')}") for n in range(20))
        )

    asyncio.run(many())
    assert issuer.readings == 1


def test_known_keys_do_not_wait_for_a_slow_issuer() -> None:
    issuer = Issuer()
    keys = issuer.keys()
    fetch, go_on = issuer.fetch, asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return await fetch()

    async def work() -> None:
        await keys.ready()
        keys._fetch = slow
        for age in (151, 299):  # it is read ahead of time, while it is still in use
            issuer.now = 1000.0 + age
            async with asyncio.timeout(0.05):
                assert await keys.key("ec") is not None
        issuer.now = 2000.0  # older than it may be: a new one is waited for, but not for long
        async with asyncio.timeout(1):
            assert await keys.key("ec") is not None
        go_on.set()
        await asyncio.sleep(0.01)
        async with asyncio.timeout(0.05):
            assert await keys.key("ec") is not None
        assert issuer.readings == 2

    asyncio.run(work())


def test_an_issuer_that_failed_is_not_waited_for() -> None:
    issuer = Issuer()
    keys = issuer.keys()
    never = asyncio.Event()

    async def hangs() -> bytes:
        await never.wait()
        return b""

    async def work() -> None:
        await keys.ready()
        issuer.document = None
        issuer.now = 2000.0
        await keys.key("ec")
        keys._fetch = hangs
        issuer.now = 2011.0
        async with asyncio.timeout(0.05):
            assert await keys.key("ec") is not None

    asyncio.run(work())


def test_whoever_leaves_does_not_end_the_reading_of_the_others() -> None:
    issuer = Issuer()
    keys = issuer.keys()
    fetch, go_on = issuer.fetch, asyncio.Event()

    async def slow() -> bytes:
        await go_on.wait()
        return await fetch()

    keys._fetch = slow

    async def work() -> None:
        first, second = (asyncio.create_task(keys.key("ec")) for _ in range(2))
        await asyncio.sleep(0.01)
        first.cancel()
        go_on.set()
        assert await second is not None

    asyncio.run(work())
    assert issuer.readings == 1


def read_over_http(*parts: bytes) -> bytes:
    """What is read from a server that sends its document in these parts."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for part in parts:
            await response.write(part)
            await asyncio.sleep(0.05)
        return response

    async def work() -> bytes:
        app = web.Application()
        app.add_routes([web.get("/jwks.json", answer)])
        runner = web.AppRunner(app)
        await runner.setup()
        listener = socket.create_server(("127.0.0.1", 0))
        await web.SockSite(runner, listener).start()
        try:
            return await fetch_from(f"http://127.0.0.1:{listener.getsockname()[1]}/jwks.json")()
        finally:
            await runner.cleanup()

    return asyncio.run(work())


def test_a_document_that_comes_in_parts_is_read_to_its_end() -> None:
    document = json.dumps(public_keys()).encode()
    assert read_over_http(document[:400], document[400:]) == document
    assert set(parse_keys(read_over_http(document))) == {"ec", "rsa"}


def test_a_document_that_is_too_large_is_refused() -> None:
    half = b" " * (DOCUMENT_BYTES_MOST // 2)
    assert len(read_over_http(half, half)) == DOCUMENT_BYTES_MOST
    with pytest.raises(ServiceUnavailable, match="bytes; check PURSER_JWKS_URL"):
        read_over_http(half, half, b"x")


SMALL = {**RSAAlgorithm.to_jwk(SMALL_RSA.public_key(), as_dict=True), "kid": "k"}
ELLIPTIC = {**ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True), "kid": "k"}
P384 = ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True)


@pytest.mark.parametrize(
    ("key", "is_used"),
    [
        (ELLIPTIC, True),
        (ELLIPTIC | {"use": "enc"}, False),
        (ELLIPTIC | {"alg": "HS256"}, False),
        (ELLIPTIC | {"x": "AAAA"}, False),
        (P384 | {"kid": "k"}, False),
        (SMALL, False),
        ({"kty": "oct", "k": "c2VjcmV0", "kid": "k", "alg": "HS256"}, False),
        ({"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "k"}, False),
        ("text", False),
    ],
)
def test_only_keys_that_can_sign_are_taken(key: Any, is_used: bool) -> None:
    assert bool(parse_keys(json.dumps({"keys": [key]}).encode())) == is_used


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 3}', b"<html>"])
def test_what_is_no_jwks_is_no_answer(document: bytes) -> None:
    with pytest.raises(ServiceUnavailable, match="PURSER_JWKS_URL"):
        parse_keys(document)
