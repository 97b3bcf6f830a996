"""The OpenAPI 3.1 document: FastAPI's, completed with what it cannot know.

Added are security, the headers, every problem that a route can answer with, and examples.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import shown
from service.answers import JSON
from service.gate import KeyedRoute, OptionalKeyRoute
from service.permissions import ALLOWED
from service.problems import MEDIA_TYPE, PROBLEMS, TYPE_PAGE
from service.routes import ROUTES, Route

VERSION = "1"
DESCRIPTION = """Payments of a marketplace: charge buyers, read what happened, what sellers earned.

- Amounts are integers in minor units, beside an ISO 4217 currency. Times are RFC 3339 in UTC.
- Every POST that changes something takes an `Idempotency-Key`. The same key with the same request
  gets the same answer again, for ever.
- Errors are `application/problem+json` (RFC 9457) with a `code` from a closed list.
- Unknown fields of a request are refused. New fields may appear in an answer at any time.
"""
EVERY = ("request_id_malformed", "token_missing", "token_invalid", "token_expired", "forbidden",
         "not_acceptable", "rate_limited", "internal_error", "unavailable", "field_unknown",
         "request_invalid")  # fmt: skip
WITH_BODY = ("invalid_json", "invalid_encoding", "duplicate_key", "request_timeout",
             "body_too_large", "unsupported_media_type", "field_missing", "field_invalid",
             "invalid_identifier")  # fmt: skip
WITH_QUERY = ("field_invalid",)
WITH_KEY = ("idempotency_key_missing", "idempotency_key_malformed", "request_in_flight",
            "idempotency_conflict")  # fmt: skip
_MODELS = {"payment_declined": shown.Declined, "idempotency_conflict": shown.Conflict}
_KEY_HEADER = {
    "name": "Idempotency-Key", "in": "header",
    "description": "New for each thing that you want; yours alone. Repeat it to repeat a request.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    "example": "checkout-81",
}  # fmt: skip
_REQUEST_ID_HEADER = {
    "name": "X-Request-Id", "in": "header", "required": False,
    "description": "Comes back with the answer and is in every log line; made if it is missing.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
}  # fmt: skip
_PREFER_HEADER = {
    "name": "Prefer", "in": "header", "required": False,
    "description": "`respond-async`: recorded durably, answered 202 with Location, done later.",
    "schema": {"type": "string"}, "example": "respond-async",
}  # fmt: skip
_PREFER_NOT_TO_WAIT = _PREFER_HEADER | {
    "description": "`respond-async`: the answer is the same, and does not wait for the processor."
}
_TEXT = {"schema": {"type": "string"}}
_ANSWER_HEADERS = {
    "X-Request-Id": _TEXT | {"description": "The request's id"},
    "RateLimit": _TEXT | {"description": "What is left of the quota (IETF draft)"},
    "RateLimit-Policy": _TEXT | {"description": "The quota (IETF draft)"},
}
_REPLAYED = {"Idempotent-Replayed": _TEXT | {"description": "true: an earlier request's answer"}}

_LOCATION = {"Location": _TEXT | {"description": "The payment"}}
_PREFERENCE_APPLIED = {
    "Preference-Applied": _TEXT | {"description": "respond-async, if that was asked for"}
}
_REPEATED_LATER = frozenset({"request_in_flight", "rate_limited", "unavailable"})
"""Problems that have `Retry-After`."""


def document(app: FastAPI) -> dict[str, Any]:
    """The whole document."""
    made = get_openapi(
        title="Purser", version=VERSION, description=DESCRIPTION, routes=app.routes,
        openapi_version="3.1.0", servers=[{"url": "/"}],
    )  # fmt: skip
    components = made.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for model in (shown.ProblemShown, shown.Declined, shown.Conflict):
        own = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(own.pop("$defs", {}))
        schemas[model.__name__] = own
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    for route in ROUTES:
        _complete(made["paths"][route.path][route.method.lower()], route)
    for path in made["paths"].values():
        for operation in path.values():
            _without_validation_error(operation)
    whole: dict[str, Any] = _with_whole_numbers(made)
    return whole


def _with_whole_numbers(value: Any) -> Any:
    """FastAPI makes floats of integer limits; a float never touches money."""
    if isinstance(value, dict):
        return {key: _with_whole_numbers(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_whole_numbers(each) for each in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def codes_of(route: Route) -> list[str]:
    """Every problem that a route can answer with."""
    codes = [*EVERY, *route.codes]
    if route.body_example is not None:
        codes += WITH_BODY
    if route.method == "GET":
        codes += WITH_QUERY
    if issubclass(route.kind, KeyedRoute | OptionalKeyRoute):
        codes += WITH_KEY
    if route.method == "POST":
        codes += ["unsupported_media_type", "body_too_large", "request_timeout"]
    return sorted(set(codes))


def _complete(operation: dict[str, Any], route: Route) -> None:
    operation["security"] = [{"token": []}]
    roles = ", ".join(f"{role} ({reach})" for role, reach in ALLOWED[route.operation].items())
    summary = (route.handler.__doc__ or "").strip().splitlines()[0]
    operation["summary"] = summary.rstrip(".")
    operation["description"] = f"{summary}\n\nRoles: {roles}."
    parameters = operation.setdefault("parameters", [])
    parameters.append(_REQUEST_ID_HEADER)
    if issubclass(route.kind, KeyedRoute | OptionalKeyRoute):
        parameters.append(_KEY_HEADER | {"required": issubclass(route.kind, KeyedRoute)})
    if route.asynchronous:
        parameters.append(_PREFER_HEADER if 202 in route.answers else _PREFER_NOT_TO_WAIT)
    if route.body_example is not None:
        operation["requestBody"]["content"][JSON]["example"] = route.body_example
    operation["responses"] = _successes(operation["responses"], route) | _problems(codes_of(route))


def _successes(made: Mapping[str, Any], route: Route) -> dict[str, Any]:
    found = {}
    for status, answer in route.answers.items():
        response = dict(made[str(status)])
        response["description"] = answer.description
        response["content"][JSON]["example"] = answer.example
        headers = dict(_ANSWER_HEADERS)
        if issubclass(route.kind, KeyedRoute | OptionalKeyRoute):
            headers |= _REPLAYED
        if route.names_payment or status == 202:
            headers |= _LOCATION
        if status == 202:
            headers |= _PREFERENCE_APPLIED
        response["headers"] = headers
        found[str(status)] = response
    return found


def _problems(codes: Iterable[str]) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {str(status): _problem(status, by_status[status]) for status in sorted(by_status)}


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    models = {_MODELS.get(code, shown.ProblemShown).__name__ for code in codes}
    references = [{"$ref": f"#/components/schemas/{name}"} for name in sorted(models)]
    headers = dict(_ANSWER_HEADERS)
    if waited_for := sorted(_REPEATED_LATER & set(codes)):
        names = " and ".join(f"`{code}`" for code in waited_for)
        headers["Retry-After"] = _TEXT | {"description": f"Seconds; with {names}"}
    if status == 401:
        headers["WWW-Authenticate"] = _TEXT | {"description": "RFC 6750"}
    return {
        "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
        "headers": headers,
        "content": {
            MEDIA_TYPE: {
                "schema": references[0] if len(references) == 1 else {"anyOf": references},
                "examples": {code: {"value": example_of(code)} for code in codes},
            }
        },
    }


def example_of(code: str) -> dict[str, Any]:
    """What a problem of this code looks like."""
    kind = PROBLEMS[code]
    example: dict[str, Any] = {
        "type": f"{TYPE_PAGE}#{code}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.remedy,
        "code": code,
        "request_id": "3f2c1c1e-6f0d-4a8e-9f63-1d1c1f0f7a11",
    }
    if code == "payment_declined":
        example |= {"failure": shown.FAILURE_EXAMPLE, "payment": shown.DECLINED_EXAMPLE}
    if code == "idempotency_conflict":
        example["differing_fields"] = ["/orders/0/amount_minor"]
    if code.startswith("field_"):
        example["field"] = "/orders/0/amount_minor"
    return example


def _without_validation_error(operation: dict[str, Any]) -> None:
    """FastAPI's own 422, which this API never gives."""
    answer = operation["responses"].get("422", {})
    if JSON in answer.get("content", {}):
        del operation["responses"]["422"]
