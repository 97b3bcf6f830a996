"""Stripe's API over HTTP: key, idempotency, faults, routing; the only place that awaits.

A call is worked on without a pause, in one transaction, on the program's only thread: that makes it
atomic, and no two calls can act on the same state. Delays are before the work, so that a call that
is slow is in flight, as it would be at Stripe.
"""

import asyncio
import binascii
import logging
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from simulators import faults, server
from simulators.faults import Chosen, RequestFault
from simulators.stripe import errors, expand, forms, ids, routes
from simulators.stripe.account import API_VERSION, Account
from simulators.stripe.calls import Call, Declined
from simulators.stripe.errors import StripeError
from simulators.stripe.event_log import Cause
from simulators.stripe.idempotency import Answers, Kept, check_key, digest_of
from simulators.stripe.render import expansion
from simulators.stripe.store import encode
from simulators.stripe.versions import check_version

BODY_BYTES_MOST = 1024**2
KEY_PREFIX = "sk_test_"

_log = logging.getLogger("purser.simulator.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    form: str
    request_id: str

    def header(self, name: bytes) -> str | None:
        """A header's text."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")


@dataclass(slots=True, kw_only=True)
class Answer:
    """What is sent back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Api:
    """The ASGI application under `/v1`."""

    def __init__(
        self, account: Account, answers: Answers, *, key: str | None, latency_seconds: float
    ) -> None:
        self._account = account
        self._answers = answers
        self._key = key
        self._latency_seconds = latency_seconds
        self._in_flight: set[str] = set()
        self._expansion = expansion(account)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        request_id = f"req_{ids.random_text(ids.REQUEST_LENGTH)}"
        headers = dict(scope["headers"])
        try:
            body = await server.body_of(receive, BODY_BYTES_MOST)
        except server.ClientLeft:
            return  # a part of a request is none, as at Stripe
        chosen = faults.NOTHING
        if body is None:
            answer = _failed(StripeError("The request is too large.", status=413))
        else:
            try:
                request = Request(
                    method=scope["method"],
                    path=scope["path"],
                    query=scope["query_string"].decode("latin-1"),
                    headers=headers,
                    form=body.decode("utf-8", "replace"),
                    request_id=request_id,
                )
                answer, chosen = await self._answer(request)
            except StripeError as error:
                answer = _failed(error)
            except Exception:  # noqa: BLE001 - the log has it, the caller gets Stripe's own words
                _log.exception("%s %s failed", scope["method"], scope["path"])
                answer = _failed(errors.internal())
        if chosen.fault is RequestFault.TIMEOUT_AFTER_COMMIT:
            await server.drop(scope, receive, chosen.hang_seconds)
            return
        answer.headers.setdefault("Request-Id", request_id)
        answer.headers["Stripe-Version"] = API_VERSION
        if (given := headers.get(b"idempotency-key")) is not None:
            answer.headers["Idempotency-Key"] = given.decode("latin-1")
        await server.send_json(send, answer.status, answer.body, answer.headers)

    async def _answer(self, request: Request) -> tuple[Answer, Chosen]:
        self._authenticate(request)
        check_version(request.header(b"stripe-version"))
        route = routes.find(request.method, request.path)
        text = request.query if request.method in ("GET", "DELETE") else _form(request)
        changes = request.method != "GET"
        key = request.header(b"idempotency-key") if changes else None
        if key is not None:
            check_key(key)
            if key in self._in_flight:
                raise errors.key_in_use(key)
        identity = faults.identity_of(request.method, route.path, key)
        chosen = self._account.faults.of_request(identity, changes=changes)
        if key is not None:
            self._in_flight.add(key)
        try:
            if delay := self._latency_seconds + chosen.delay_seconds:
                await asyncio.sleep(delay)
            _before_work(chosen.fault, key or identity)
            cause = Cause(identity=identity, request_id=request.request_id, key=key)
            return self._work(route, text, cause, request.path, chosen), chosen
        finally:
            self._in_flight.discard(key or "")

    def _work(
        self, route: routes.Route, text: str, cause: Cause, path: str, chosen: Chosen
    ) -> Answer:
        """Do what is asked, once for each key; no pause within."""
        account, key = self._account, cause.key
        now = account.clock.now()
        digest = b""
        if key is not None:
            digest = digest_of(text)
            kept = self._answers.find(key, path, digest, now)
            if kept is not None:
                told = {"Idempotent-Replayed": "true", "Original-Request": kept.request_id}
                return Answer(status=kept.status, body=kept.body, headers=told)
        account.cause = cause
        try:
            with account.database.transaction():
                answer = self._handle(route, text)
                if chosen.fault is RequestFault.HTTP_500_AFTER_COMMIT:
                    answer = _failed(errors.internal())
                if key is not None:
                    self._keep(key, path, digest, now, cause, answer)
        except StripeError as error:
            answer = _failed(error)
            if key is not None and error.executed:
                with account.database.transaction():
                    self._keep(key, path, digest, now, cause, answer)
        return answer

    def _handle(self, route: routes.Route, text: str) -> Answer:
        params = forms.parse(text)
        paths = expand.paths_of(params.get("expand"))
        result = route.handler(self._account, Call(params=params, identity=route.identity))
        if isinstance(result, Declined):
            return _failed(result.error)
        if paths:
            result = self._expansion.apply(result, paths)
        return Answer(status=HTTPStatus.OK, body=encode(result))

    def _keep(
        self, key: str, path: str, digest: bytes, now: float, cause: Cause, answer: Answer
    ) -> None:
        kept = Kept(status=answer.status, request_id=cause.request_id or "", body=answer.body)
        self._answers.keep(key, path, digest, now, kept)

    def _authenticate(self, request: Request) -> None:
        """Raise StripeError unless the caller has the account's key."""
        scheme, _, given = (request.header(b"authorization") or "").partition(" ")
        given = given.strip()
        if scheme.lower() == "basic":
            try:
                given = b64decode(given, validate=True).decode().partition(":")[0]
            except (binascii.Error, UnicodeDecodeError):
                given = ""
        elif scheme.lower() != "bearer":
            given = ""
        if not given:
            raise errors.unauthorized(errors.NO_KEY)
        known = given == self._key if self._key else given.startswith(KEY_PREFIX)
        if not known:
            raise errors.wrong_key(given)


def _form(request: Request) -> str:
    """The form of a request that changes something; the query may hold a part of it."""
    kind = (request.header(b"content-type") or "").partition(";")[0].strip().lower()
    if request.form and kind != "application/x-www-form-urlencoded":
        raise StripeError(
            "Invalid request (check that your POST content type is"
            " application/x-www-form-urlencoded). If you have questions, see"
            " https://docs.stripe.com/api."
        )
    return "&".join(part for part in (request.query, request.form) if part)


def _before_work(fault: RequestFault | None, key: str) -> None:
    """Raise the faults that come instead of the work."""
    match fault:
        case RequestFault.HTTP_500:
            raise errors.internal()
        case RequestFault.HTTP_429:
            raise errors.rate_limited()
        case RequestFault.HTTP_409:
            raise errors.key_in_use(key)
        case _:
            return


def _failed(error: StripeError) -> Answer:
    headers = {"WWW-Authenticate": 'Bearer realm="Stripe"'} if error.status == 401 else {}
    return Answer(status=error.status, body=encode(error.body()), headers=headers)
