"""The client against servers that behave badly: what is repeated, and what it means in the end."""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connectors.charges import ChargeStatus
from connectors.stripe.client import Declined, StripeClient
from connectors.stripe.settings import StripeSettings
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError, ProcessorRefused
from tests.stripe_objects import declined, intent
from tests.stripe_server import (
    Behaviour,
    Server,
    answer,
    close_at_once,
    close_in_the_body,
    error,
    hang,
    hang_in_the_body,
    talk_nonsense,
)

KEY = "purser-8b1ed3cf-1"
GOOD = answer(intent())
INTENTS = "/v1/payment_intents"


QUICK = {"connect_seconds": 0.2, "answer_seconds": 0.3, "call_seconds": 5.0}
"""Limits for what does not answer."""
PATIENT = {"connect_seconds": 10.0, "answer_seconds": 10.0, "call_seconds": 60.0}


def settings(url: str, **changed: Any) -> StripeSettings:
    return StripeSettings.load(
        api_base=url, api_key="sk_test_key", webhook_secret="whsec_1", **(PATIENT | changed)
    )


async def call(url: str, pauses: list[float] | None = None, **changed: Any) -> str:
    """Post once; return the id in the answer."""

    async def pause(seconds: float) -> None:
        if pauses is not None:
            pauses.append(seconds)

    client = StripeClient(settings(url, **changed), pause=pause)
    try:
        found = await client.post(INTENTS, {"amount": 2500}, KEY)
    finally:
        await client.close()
    return str(found["id"])


def against(*answers: Behaviour, **changed: Any) -> tuple[str | ProcessorError | Declined, Server]:
    """Return what one call gave against a server with these answers, and that server."""

    limits = QUICK if {hang, hang_in_the_body}.intersection(answers) else PATIENT

    async def main() -> tuple[str | ProcessorError | Declined, Server]:
        async with Server(*answers) as server:
            try:
                return await call(server.url, **(limits | changed)), server
            except (ProcessorError, Declined) as raised:
                return raised, server

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("bad", "kind", "code", "attempts"),
    [
        (close_at_once, OutcomeUnknown, "connection_lost", 3),
        (close_in_the_body, OutcomeUnknown, "answer_cut", 3),
        (hang, OutcomeUnknown, "answer_timeout", 3),
        (hang_in_the_body, OutcomeUnknown, "answer_timeout", 3),
        (talk_nonsense, OutcomeUnknown, "connection_lost", 3),
        (error(500, type="api_error"), OutcomeUnknown, "http_500", 3),
        (answer("<html>", 502), OutcomeUnknown, "http_502", 3),
        (answer("<html>", 503), OutcomeUnknown, "http_503", 3),
        (answer({"error": {}}, 500, Stripe_Should_Retry="false"), OutcomeUnknown, "http_500", 1),
        (answer({"error": "x"}, 500), OutcomeUnknown, "unreadable_answer", 1),
        (answer({"error": ["x"]}, 400), OutcomeUnknown, "unreadable_answer", 1),
        (answer({"errors": []}, 400), OutcomeUnknown, "unreadable_answer", 1),
        (answer({"message": "Forbidden"}, 403), OutcomeUnknown, "unreadable_answer", 1),
        (answer("<html>", 404), OutcomeUnknown, "unreadable_answer", 1),
        (answer("", 407), OutcomeUnknown, "unreadable_answer", 1),
        (error(429, "rate_limit"), NotSent, "rate_limit", 3),
        (error(409, "lock_timeout"), NotSent, "lock_timeout", 3),
        (error(409, "idempotency_key_in_use", type="idempotency_error"), OutcomeUnknown,
         "idempotency_key_in_use", 3),
        (error(400, type="idempotency_error"), OutcomeUnknown, "idempotency_error", 1),
        (answer("", 302, Location="http://127.0.0.1:1/"), OutcomeUnknown, "unreadable_answer", 1),
        (error(401), NotSent, "http_401", 1),
        (error(403), NotSent, "http_403", 1),
        (error(400, "parameter_missing", param="amount"), ProcessorRefused, "parameter_missing", 1),
        (error(404, "resource_missing"), ProcessorRefused, "resource_missing", 1),
        (error(402, "card_declined", type="card_error"), ProcessorRefused, "card_declined", 1),
        (answer("{", 200), OutcomeUnknown, "unreadable_answer", 1),
        (answer("[]", 200), OutcomeUnknown, "unreadable_answer", 1),
        (answer("\u00ff{", 200), OutcomeUnknown, "unreadable_answer", 1),
    ],
)  # fmt: skip
def test_a_bad_answer(bad: Behaviour, kind: type[ProcessorError], code: str, attempts: int) -> None:
    raised, server = against(bad)
    assert isinstance(raised, ProcessorError)
    assert (type(raised), raised.code) == (kind, code)
    assert [asked.headers["idempotency-key"] for asked in server.asked] == [KEY] * attempts


@pytest.mark.parametrize(
    "bad", [close_at_once, close_in_the_body, hang, error(500), error(429), error(409)]
)
def test_one_bad_answer_is_repeated_under_the_same_key(bad: Behaviour) -> None:
    found, server = against(bad, GOOD)
    assert found == "pi_3PqA"
    assert [asked.headers["idempotency-key"] for asked in server.asked] == [KEY, KEY]


def test_an_unknown_outcome_is_not_forgotten_for_a_later_one_that_is_known() -> None:
    """The first request may have arrived, whatever becomes of the second."""
    raised, _ = against(hang, error(429), error(429))
    assert isinstance(raised, OutcomeUnknown)


def test_a_refusal_of_the_same_request_ends_it() -> None:
    raised, _ = against(hang, error(400, "amount_too_large"))
    assert isinstance(raised, ProcessorRefused)


@pytest.mark.parametrize("status", [400, 403, 404, 405, 407])
def test_a_proxys_error_does_not_tell_what_came_of_an_earlier_attempt(status: int) -> None:
    raised, _ = against(close_in_the_body, answer("<html>", status))
    assert isinstance(raised, OutcomeUnknown)


def test_a_decline_is_an_answer() -> None:
    raised, server = against(answer(declined(), 402))
    assert isinstance(raised, Declined)
    assert raised.charge.status is ChargeStatus.FAILED
    assert raised.code == "insufficient_funds"
    assert len(server.asked) == 1


def test_a_decline_that_cannot_be_read_is_unknown() -> None:
    body = declined()
    body["error"]["payment_intent"]["status"] = "requires_review"
    raised, _ = against(answer(body, 402))
    assert isinstance(raised, OutcomeUnknown)
    assert raised.code == "unknown_status"


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_the_attempts_are_bounded(attempts: int) -> None:
    _, server = against(error(500), attempts=attempts)
    assert len(server.asked) == attempts


def test_the_pauses_grow_are_jittered_and_heed_stripes_wish() -> None:
    pauses: list[float] = []
    busy = answer({"error": {"type": "x"}}, 429, Retry_After="7")
    against(busy, error(500), error(500), error(500), GOOD, pauses=pauses, attempts=5)
    assert pauses[0] >= 7
    assert all(0 <= pause <= 4 for pause in pauses[1:])
    assert len(set(pauses)) == 4


def test_a_call_ends_in_time_whatever_happens() -> None:
    """Here the pauses are real and the attempts many."""

    async def main() -> tuple[OutcomeUnknown, float]:
        async with Server(hang) as server:
            limits = QUICK | {"attempts": 10, "call_seconds": 0.5}
            client = StripeClient(settings(server.url, **limits))
            started = asyncio.get_running_loop().time()
            with pytest.raises(OutcomeUnknown) as caught:
                await client.post(INTENTS, {}, KEY)
            await client.close()
            return caught.value, asyncio.get_running_loop().time() - started

    raised, seconds = asyncio.run(main())
    assert raised.code in ("answer_timeout", "call_timeout")
    assert seconds < 5


def test_time_that_runs_out_in_a_pause_leaves_what_was_known() -> None:
    async def main() -> str:
        async with Server(answer({"error": {}}, 429, Retry_After="7")) as server:
            client = StripeClient(settings(server.url, **(QUICK | {"call_seconds": 2.0})))
            with pytest.raises(NotSent) as caught:
                await client.post(INTENTS, {}, KEY)
            await client.close()
            return caught.value.code

    assert asyncio.run(main()) == "http_429"


def test_who_waits_for_a_call_can_give_up() -> None:
    async def main() -> None:
        async with Server(hang) as server:
            client = StripeClient(settings(server.url, **(QUICK | {"answer_seconds": 5.0})))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await client.post(INTENTS, {}, KEY)
            await client.close()

    asyncio.run(main())


def test_a_full_pool_is_a_request_that_was_not_sent() -> None:
    async def main() -> None:
        async with Server(hang) as server:
            limits = {"connections": 1, "attempts": 1, "connect_seconds": 0.5}
            client = StripeClient(settings(server.url, answer_seconds=1.5, **limits))
            calls = [client.post(INTENTS, {}, f"{KEY}-{number}") for number in range(2)]
            raised = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(each) for each in raised} == {OutcomeUnknown, NotSent}
            assert len(server.asked) == 1
            await client.close()

    asyncio.run(main())


def _refusing() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize(
    ("url", "code", "calls"),
    [
        (_refusing, "not_connected", 3),
        (lambda: "http://no-such-host.invalid", "not_connected", 3),
    ],
)
def test_without_a_connection_nothing_was_sent(
    url: Callable[[], str], code: str, calls: int
) -> None:
    pauses: list[float] = []
    with pytest.raises(NotSent) as caught:
        asyncio.run(call(url(), pauses, connect_seconds=0.3))
    assert (caught.value.code, len(pauses)) == (code, calls - 1)


def _self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate for this machine that nobody vouches for."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "server.pem"
    file.write_bytes(private + certificate.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


def test_a_certificate_that_is_not_trusted_ends_the_call_before_anything_is_sent(
    tmp_path: Path,
) -> None:
    encryption = _self_signed(tmp_path)

    async def main() -> Server:
        async with Server(GOOD, encryption=encryption) as server:
            pauses: list[float] = []
            with pytest.raises(NotSent) as caught:
                await call(server.url.replace("127.0.0.1", "localhost"), pauses)
            assert (caught.value.code, pauses) == ("tls", [])
            return server

    assert asyncio.run(main()).asked == []


def test_a_server_without_tls_is_a_request_that_was_not_sent() -> None:
    async def main() -> None:
        async with Server(GOOD) as server:
            await call(server.url.replace("http:", "https:"), None, **QUICK)

    with pytest.raises(NotSent):
        asyncio.run(main())


def test_every_request_names_the_version_and_nothing_of_this_machine() -> None:
    _, server = against(GOOD)
    (asked,) = server.asked
    assert asked.headers["stripe-version"] == "2026-10-28.endive"
    assert asked.headers["authorization"] == "bearer sk_test_key"
    about_us = asked.headers["x-stripe-client-user-agent"]
    assert "platform" not in about_us
    assert socket.gethostname() not in about_us
    assert "x-stripe-client-telemetry" not in asked.headers


@pytest.mark.parametrize(
    "bad", [error(400, "x"), answer("pm_secret {", 200), answer(declined(), 402)]
)
def test_no_body_token_or_key_is_logged_or_shown(
    bad: Behaviour, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    raised, _ = against(bad)
    assert isinstance(raised, Exception)
    shown = f"{raised!s} {raised!r} {raised.__cause__} {raised.__context__} {caplog.text}"
    assert "purser.stripe" in caplog.text or isinstance(raised, Declined)
    shown += "".join(capfd.readouterr())
    for secret in ("pm_secret", "sk_test", "client_secret", "4242"):
        assert secret not in shown


@pytest.mark.parametrize("bad", [hang, hang_in_the_body, close_in_the_body])
def test_a_failed_call_gives_its_connection_back(bad: Behaviour) -> None:
    """With one connection for all calls, one that leaks stops everything."""

    async def main() -> str:
        async with Server(bad, GOOD) as server:
            client = StripeClient(settings(server.url, connections=1, attempts=1))
            with pytest.raises(OutcomeUnknown) as caught:
                await client.post(INTENTS, {}, KEY)
            found = await client.post(INTENTS, {}, KEY)
            await client.close()
            assert caught.value
            return str(found["id"])

    assert asyncio.run(main()) == "pi_3PqA"


def test_a_connection_is_used_again() -> None:
    async def main() -> int:
        async with Server(GOOD) as server:
            client = StripeClient(settings(server.url))
            for number in range(5):
                await client.post(INTENTS, {}, f"{KEY}-{number}")
            await client.close()
            assert client.calls == 5
            return len(server._connections)

    assert asyncio.run(main()) == 1


@pytest.mark.parametrize(
    ("base", "warned"),
    [
        ("http://stripe.example", True),
        ("https://stripe.example", False),
        ("http://127.0.0.1:1", False),
    ],
)
def test_a_key_on_an_open_line_is_warned_of(
    base: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    StripeClient(settings(base, under_way_seconds=300))
    assert ("PURSER_STRIPE_API_BASE is http" in caplog.text) is warned
    assert "sk_test" not in caplog.text
