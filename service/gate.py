"""What every operation goes through before its handler: who calls, may they, how often, what key.

In this order: an acceptable answer exists; the token; the quota; the role; the parameters; the
body's media type; the Idempotency-Key; an answer that is known already. So nobody learns anything
about a request's contents, or costs more than a look at a token, before it is known who asks.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from schemas.ids import MAX_IDEMPOTENCY_KEY_LENGTH, IdempotencyKey, caller_key
from service.answer_cache import AnswerCache, StoredAnswer
from service.facts import SCOPE, RequestFacts
from service.json_body import StrictRequest
from service.metrics import ApiMetrics
from service.permissions import Operation, reach
from service.problems import Problem, in_flight
from service.rate_limits import RateLimits, too_many
from service.tokens import Tokens
from service.validation import UNKNOWN, of_parameters

_KEY = re.compile(rf"[ -~]{{1,{MAX_IDEMPOTENCY_KEY_LENGTH}}}")
_JSON = re.compile(r'application/json(?:\s*;\s*charset="?utf-8"?)?\s*;?', re.IGNORECASE)
REPLAYED = (b"idempotent-replayed", b"true")
CREATES_PAYMENT = frozenset({Operation.CREATE_PAYMENT, Operation.INIT_PAYMENT})
"""One kind of request under two names, so a key of the one is used for the other too."""


class KeyRule(StrEnum):
    """Whether an operation takes an Idempotency-Key."""

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What the operations of one process share."""

    tokens: Tokens
    quotas: RateLimits
    unknown_quotas: RateLimits
    answers: AnswerCache
    metrics: ApiMetrics
    in_flight: dict[str, bytes]
    """Internal key -> digest of the request that this process is working on."""


Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class KeyedResponse(Response):
    """An answer to a request under a key. `is_final`: whoever repeats the request gets it again."""

    is_final: bool = False
    replayed: bool = False
    request_id: str = ""
    """The id that its body has, if it has one: that of the request as such."""


class GatedRoute(APIRoute):
    """A route of an operation; its operation_id is the operation's name."""

    key_rule = KeyRule.NONE

    def get_route_handler(self) -> Handler:
        """FastAPI's handler behind the gate."""
        handler = super().get_route_handler()
        operation = Operation(str(self.operation_id))
        rule = self.key_rule
        takes_parameters = bool(self.dependant.query_params)

        async def gated(request: Request) -> Response:
            gate: Gate = request.app.state.gate
            facts: RequestFacts = request.scope[SCOPE]
            facts.route = operation.value
            strict = StrictRequest(request.scope, request.receive)
            check_accept(request.headers.get("accept"))
            await admit(gate, facts, operation, strict)
            if request.scope["query_string"]:
                check_parameters(request, takes_parameters)
            if request.method != "POST":
                return await handler(strict)
            body = await strict.body()
            if body:
                check_media_type(request.headers)
            key = idempotency_key(request.headers.getlist("idempotency-key"), rule)
            if key is None:
                return marked(gate, facts, await handler(strict))
            facts.idempotency_key = key
            return await once(gate, facts, operation, handler, strict, body)

        return gated


class KeyedRoute(GatedRoute):
    """A route that changes something: its key is required."""

    key_rule = KeyRule.REQUIRED


class OptionalKeyRoute(GatedRoute):
    """A route of the older names: its key is optional."""

    key_rule = KeyRule.OPTIONAL


async def admit(gate: Gate, facts: RequestFacts, operation: Operation, request: Request) -> None:
    """Find out who calls, count it, and check the role.

    Raises:
        Problem: 401, 403 or 429.
    """
    try:
        caller = await gate.tokens.caller(request.headers.get("authorization"))
    except Problem as problem:
        if problem.status_code == 401:
            host = request.client.host if request.client is not None else "nobody"
            await _count(gate, gate.unknown_quotas, facts, f"address:{host}")
        raise
    facts.caller = caller
    await _count(gate, gate.quotas, facts, f"subject:{caller.subject}")
    reach(operation, caller)


async def _count(gate: Gate, quotas: RateLimits, facts: RequestFacts, who: str) -> None:
    verdict = await quotas.hit(who)
    facts.headers.extend(verdict.headers)
    if not verdict.allowed:
        gate.metrics.limited.inc()
        raise too_many(verdict)


async def once(
    gate: Gate,
    facts: RequestFacts,
    operation: Operation,
    handler: Handler,
    request: StrictRequest,
    body: bytes,
) -> Response:
    """Answer a request under a key: from Redis if it is known there, else by its handler."""
    assert facts.caller is not None
    assert facts.idempotency_key is not None
    scope = request.scope
    # Everything on which an answer depends, beside the key: also how far the caller's role reaches.
    prefer = ",".join(request.headers.getlist("prefer")).encode()
    asked = (operation.encode(), reach(operation, facts.caller).encode(), scope["raw_path"])
    digest = hashlib.sha256(b"\n".join((*asked, scope["query_string"], prefer, body))).digest()
    key = internal_key(facts.caller.subject, facts.idempotency_key, operation, request.path_params)
    facts.internal_key = key
    if (known := await gate.answers.get(key, digest)) is not None:
        gate.metrics.replays.labels("redis").inc()
        facts.replayed = True
        facts.adopt(known.request_id)
        return _replay(known)
    if gate.in_flight.get(key) == digest:
        raise in_flight()
    owns = key not in gate.in_flight
    if owns:
        gate.in_flight[key] = digest
    try:
        response = await handler(request)
    finally:
        if owns:
            del gate.in_flight[key]
    if isinstance(response, KeyedResponse) and response.is_final:
        headers = list(response.raw_headers)
        stored = StoredAnswer(
            response.status_code, headers, bytes(response.body), response.request_id
        )
        gate.answers.put(key, digest, stored)
    return marked(gate, facts, response)


def marked(gate: Gate, facts: RequestFacts, response: Response) -> Response:
    """Say so with an answer that an earlier request got first."""
    if not isinstance(response, KeyedResponse):
        return response
    facts.adopt(response.request_id)
    if response.replayed:
        gate.metrics.replays.labels("postgres").inc()
        facts.replayed = True
        response.raw_headers.append(REPLAYED)
    return response


def internal_key(
    subject: str, key: str, operation: Operation, path: Mapping[str, object]
) -> IdempotencyKey:
    """The key under which a request is kept: nobody else's, and of no other operation."""
    if operation in CREATES_PAYMENT:
        return caller_key(subject, key)
    return caller_key(subject, key, operation, *map(str, path.values()))


def _replay(known: StoredAnswer) -> Response:
    response = Response(known.body, known.status)
    response.raw_headers = [*known.headers, REPLAYED]
    return response


def idempotency_key(given: list[str], rule: KeyRule) -> str | None:
    """The key of the request, if it has or needs one.

    Raises:
        Problem: missing or malformed.
    """
    if rule is KeyRule.NONE:
        return None
    if not given:
        if rule is KeyRule.OPTIONAL:
            return None
        raise Problem(
            "idempotency_key_missing", "send Idempotency-Key: a text that is new for each request"
        )
    if len(given) > 1 or _KEY.fullmatch(given[0]) is None or not given[0].strip():
        raise Problem(
            "idempotency_key_malformed",
            f"the key has to be 1 to {MAX_IDEMPOTENCY_KEY_LENGTH} printable ASCII characters",
        )
    return given[0]


def check_parameters(request: Request, takes_parameters: bool) -> None:
    """Refuse query parameters that an operation does not have, or that are there twice.

    Which one of two counts differs from reader to reader. Raises Problem.
    """
    names = [name for name, _ in request.query_params.multi_items()]
    if names and not takes_parameters:
        raise of_parameters(list(dict.fromkeys(names)), "field_unknown", UNKNOWN)
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise of_parameters(twice, "field_invalid", "is there twice; give it once")


def check_media_type(headers: Any) -> None:
    """Refuse a body that does not say that it is JSON in UTF-8; raises Problem."""
    given = headers.get("content-type", "")
    if _JSON.fullmatch(given.strip()) is None:
        raise Problem("unsupported_media_type", "the body has to be application/json, in UTF-8")
    if headers.get("content-encoding", "identity").lower() != "identity":
        raise Problem("unsupported_media_type", "the body must not be compressed")


def check_accept(accept: str | None) -> None:
    """Refuse a request that accepts no JSON (RFC 9110, 12.5.1); raises Problem."""
    if not accept or accept in ("*/*", "application/json"):
        return
    wanted = dict(map(_quality, accept.split(",")))
    # The most specific range counts. Whoever takes problems only is given what there is.
    ranges = ("application/json", "application/*", "*/*")
    quality = next((wanted[each] for each in ranges if each in wanted), 0.0)
    if max(quality, wanted.get("application/problem+json", 0.0)) == 0:
        raise Problem("not_acceptable", "answers are application/json; accept it")


def _quality(media_range: str) -> tuple[str, float]:
    """A part of `Accept`: its range, and how much it is wanted; 1 where that cannot be read."""
    wanted, *parameters = (each.strip().lower() for each in media_range.split(";"))
    weights = [each[2:] for each in parameters if each.startswith("q=")]
    try:
        return wanted, float(weights[0]) if weights else 1.0
    except ValueError:
        return wanted, 1.0
