"""Calls Stripe: the only module that imports the SDK, and the only one that touches the network.

A call makes a few attempts under one idempotency key. Which failures are worth another attempt,
and what they mean, is decided in `failures`; nothing of a body, a token or a key is ever logged.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
import stripe
from stripe import _api_requestor

from connectors.charges import Charge
from connectors.stripe import translate
from connectors.stripe.failures import (
    RETRY_AFTER_SECONDS_MOST,
    Answer,
    Verdict,
    after,
    judge,
    no_answer,
    no_object,
    not_connected,
)
from connectors.stripe.objects import Object
from connectors.stripe.requests import Params
from connectors.stripe.settings import StripeSettings
from schemas.errors import NotSent, OutcomeUnknown, ProcessorError

PAUSE_SECONDS = 0.25
PAUSE_SECONDS_MOST = 4.0
IDLE_SECONDS = 30.0
"""Connections that are idle longer are closed before Stripe does so while we are sending."""

_log = logging.getLogger("purser.stripe")
# The SDK logs bodies at DEBUG, prints them if STRIPE_LOG says so, and reports the platform.
logging.getLogger("stripe").setLevel(logging.WARNING)
stripe.log = None
stripe.enable_telemetry = False


def _say_nothing(_message: str, **_parameters: object) -> None:
    """Stands for the SDK's log functions, which format whole bodies even if nobody listens."""


for _name in ("log_debug", "log_info"):
    assert hasattr(_api_requestor, _name), "the SDK logs otherwise now; silence that"
    setattr(_api_requestor, _name, _say_nothing)


class Declined(Exception):  # noqa: N818 - an answer, not an error
    """A card error: the bank's answer, with the charge that it is about."""

    def __init__(self, charge: Charge, code: str) -> None:
        super().__init__(code)
        self.charge = charge
        self.code = code


class Failed(Exception):  # noqa: N818
    """One attempt that failed. Never leaves this file."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.error.code)
        self.verdict = verdict


class Pool(stripe.AIOHTTPClient):
    """The SDK's client on aiohttp, which gives back its connection whatever happens.

    The SDK's own leaves a connection behind when the body does not come, until the garbage
    collector finds it, and follows redirects with the request and its key.
    """

    def __init__(self, session: aiohttp.ClientSession, timeout: aiohttp.ClientTimeout) -> None:
        super().__init__(session=session, timeout=timeout)
        self._pool = session
        self._limits = timeout

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: str | None = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send one request and read its answer.

        Raises:
            stripe.APIConnectionError: from aiohttp's error, or `TimeoutError`.
        """
        try:
            async with self._pool.request(
                method,
                url,
                headers=headers,
                data=post_data,
                timeout=self._limits,
                allow_redirects=False,
            ) as response:
                return await response.read(), response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            name = type(error).__name__
            raise stripe.APIConnectionError(name) from error  # type: ignore[no-untyped-call]


class StripeClient:
    """One connection pool to Stripe, made with the first call; `close` it.

    `pause` replaces the waiting between attempts in tests.
    """

    def __init__(
        self,
        settings: StripeSettings,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        if settings.sends_key_in_clear_text:
            _log.warning(
                "PURSER_STRIPE_API_BASE is http: whoever is on the way to %s can read the test key",
                settings.api_base,
            )
        self.calls = 0
        """Attempts made so far, for metrics."""
        self._pause = pause
        self._session: aiohttp.ClientSession | None = None
        self._sdk: stripe.StripeClient | None = None

    async def post(self, path: str, params: Params, key: str) -> Object:
        """Change something under an idempotency key, and return the object as it then is.

        Raises:
            Declined: the bank declined; holds the charge.
            ProcessorError: one of `NotSent`, `OutcomeUnknown`, `ProcessorRefused`.
        """
        return await self._call("post", path, params | {"idempotency_key": key})

    async def get(self, path: str, params: Params | None = None) -> Object:
        """Read an object or a list.

        Raises:
            ProcessorError: as `post`.
        """
        return await self._call("get", path, params or {})

    async def close(self) -> None:
        """Close all connections."""
        session, self._session, self._sdk = self._session, None, None
        if session is not None:
            await session.close()

    async def _call(self, method: str, path: str, params: Params) -> Object:
        """Make attempts until one succeeds, is not worth repeating, or time is up."""
        error: ProcessorError | None = None
        verdict: Verdict | None = None
        under_way = False
        try:
            async with asyncio.timeout(self.settings.call_seconds):
                # Not by tenacity: what it makes for each call are cycles, and to collect those
                # stopped the service for a tenth of a second now and then.
                for number in range(1, self.settings.attempts + 1):
                    if verdict is not None:
                        await self._pause(_pause_seconds(number - 1, verdict.error))
                    under_way = True
                    try:
                        return await self._attempt(method, path, params)
                    except Failed as failed:
                        under_way = False
                        verdict = failed.verdict
                    error = after(error, verdict.error)
                    _log.info("attempt %d: %s %s: %s", number, method, path, error)
                    if not verdict.repeat:
                        break
        except TimeoutError:
            if under_way:  # else in a pause, and the last attempt's error stands
                error = after(error, no_answer("call_timeout").error)
        assert error is not None
        raise error

    async def _attempt(self, method: str, path: str, params: Params) -> Object:
        """Make one attempt. The SDK's exceptions hold bodies, so none of them goes on."""
        self.calls += 1
        try:
            response = await self._connected().raw_request_async(method, path, **params)
        except stripe.CardError as error:
            failure: Exception = _declined(error)
        except stripe.APIConnectionError as error:
            failure = Failed(_lost(error.__cause__))
        except stripe.StripeError as error:
            failure = Failed(judge(_answer(error)))
        except (AttributeError, LookupError, TypeError, ValueError):
            # The SDK trips over an error that is not of Stripe's form, such as a proxy's.
            failure = Failed(Verdict(error=no_object("no form that is Stripe's"), repeat=False))
        else:
            if isinstance(response.data, Mapping):
                return response.data
            failure = Failed(Verdict(error=no_object("no JSON object"), repeat=False))
        raise failure

    def _connected(self) -> stripe.StripeClient:
        """Make the pool, which needs the running event loop."""
        if self._sdk is None:
            settings = self.settings
            encryption = ssl.create_default_context(cafile=stripe.ca_bundle_path)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=settings.connections, keepalive_timeout=IDLE_SECONDS, ssl=encryption
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
            timeout = aiohttp.ClientTimeout(
                total=settings.answer_seconds, connect=settings.connect_seconds
            )
            self._sdk = stripe.StripeClient(
                settings.api_key.get_secret_value(),
                stripe_version=translate.API_VERSION,
                base_addresses={"api": settings.api_base},
                max_network_retries=0,
                http_client=Pool(self._session, timeout),
            )
        return self._sdk


def _pause_seconds(attempts: int, error: ProcessorError) -> float:
    """Wait as long as Stripe asks, if it does, and a random time that grows with the attempts."""
    asked = error.retry_after_seconds if isinstance(error, NotSent) else None
    longest = min(PAUSE_SECONDS_MOST, PAUSE_SECONDS * 2 ** (attempts - 1))
    return max(asked or 0.0, random.uniform(0, longest))


def _declined(error: stripe.CardError) -> Exception:
    """Turn a card error into the charge that was declined; without one it is a refusal."""
    body = error.json_body.get("error") if isinstance(error.json_body, Mapping) else None
    if isinstance(body, Mapping):
        try:
            charge = translate.declined(body)
        except OutcomeUnknown as unknown:
            return Failed(Verdict(error=unknown, repeat=False))
        if charge is not None:
            return Declined(charge, _answer(error).code or "card_declined")
    return Failed(judge(_answer(error)))


def _answer(error: stripe.StripeError) -> Answer:
    """Take from an error what `failures` judges by; the rest may hold what must not be logged."""
    body = error.json_body.get("error") if isinstance(error.json_body, Mapping) else None
    fields: Mapping[str, object] = body if isinstance(body, Mapping) else {}
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return Answer(
        status=error.http_status or 0,
        error_type=_short(fields.get("type")),
        code=_short(fields.get("decline_code")) or _short(fields.get("code")),
        parameter=_short(fields.get("param")),
        should_retry={"true": True, "false": False}.get(headers.get("stripe-should-retry", "")),
        retry_after_seconds=_seconds(headers.get("retry-after")),
        request_id=_short(headers.get("request-id")),
    )


def _short(value: object) -> str | None:
    """Return a short printable text or None: names go into messages, nothing else does."""
    if isinstance(value, str) and 0 < len(value) <= 100 and value.isascii() and value.isprintable():
        return value
    return None


def _seconds(value: str | None) -> float | None:
    if value is None or not value.isascii() or not value.isdecimal():
        return None
    return min(float(value[:6]), RETRY_AFTER_SECONDS_MOST)


NOT_CONNECTED: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorCertificateError, "tls"),
    (aiohttp.ServerFingerprintMismatch, "tls"),
    (aiohttp.ConnectionTimeoutError, "connect_timeout"),
    (aiohttp.ClientConnectorError, "not_connected"),
    (aiohttp.InvalidURL, "not_connected"),
)
"""Exceptions that come before the request is written, most special first -> code."""

LOST: tuple[tuple[type[BaseException], str], ...] = (
    (TimeoutError, "answer_timeout"),
    (aiohttp.ClientPayloadError, "answer_cut"),
)


def _lost(cause: BaseException | None) -> Verdict:
    """Judge a failure of the connection by when it happened."""
    for kind, code in NOT_CONNECTED:
        if isinstance(cause, kind):
            return not_connected(code)
    for kind, code in LOST:
        if isinstance(cause, kind):
            return no_answer(code)
    return no_answer("connection_lost")
