"""Turns what FastAPI and Starlette object to into problems. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.problems import FieldError, Problem, json_pointer

ERRORS_SHOWN = 20
_CODES: Mapping[str, str] = {"missing": "field_missing", "extra_forbidden": "field_unknown"}
_NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")
NAME_SHOWN_MOST = 100
"""Characters of a name that a client made up; the rest of it is cut."""
UNKNOWN = "is not a field of this request"
_STATUSES: Mapping[int, str] = {
    400: "invalid_json",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def of_validation(error: RequestValidationError) -> Problem:
    """The problem of fields that are missing, unknown or wrong; names each by a JSON pointer."""
    return of_fields([_field_error(each) for each in error.errors()[:ERRORS_SHOWN]])


def of_parameters(names: Sequence[str], code: str, problem: str) -> Problem:
    """The problem of query parameters that are all wrong in the same way."""
    shown = [_cut(name) for name in names[:ERRORS_SHOWN]]
    return of_fields(
        [FieldError(json_pointer([name]), code, f"{name}: {problem}", "query") for name in shown]
    )


def of_fields(found: Sequence[FieldError]) -> Problem:
    """The problem of one wrong field, or of several."""
    if len(found) == 1:
        [only] = found
        more = {} if only.where == "body" else {"in": only.where}
        return Problem(only.code, only.detail, field=only.field, more=more)
    names = ", ".join(each.field for each in found)
    return Problem("request_invalid", f"several fields are wrong: {names}", errors=found)


def of_http_exception(error: HTTPException) -> Problem:
    """The problem of what Starlette or FastAPI refused by itself."""
    code = _STATUSES.get(error.status_code, "not_found")
    detail = {
        "not_found": "no route has this path; /docs lists them",
        "method_not_allowed": "this path has other methods; `Allow` lists them",
    }.get(code, str(error.detail))
    return Problem(code, detail, headers=dict(error.headers or {}))


def _field_error(error: Mapping[str, Any]) -> FieldError:
    where, *names = error["loc"]
    path = [name if isinstance(name, int) else _cut(name) for name in names]
    code = _CODES.get(error["type"], "field_invalid")
    return FieldError(
        field=json_pointer(path),
        code=code,
        detail=f"{_named(path) or 'the body'}: {_said(error)}",
        where=str(where),
    )


def _named(path: Sequence[str | int]) -> str:
    """A field as every other message names it: `orders[0].amount_minor`."""
    parts = [f"[{each}]" if isinstance(each, int) else f".{each}" for each in path]
    return "".join(parts).removeprefix(".")


def _said(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return UNKNOWN
    if error["type"] == "missing":
        return "is missing"
    if error["type"] in _NO_OBJECT:
        return "is no JSON object"
    # Pydantic's words never contain the value.
    text = str(error["msg"]).removeprefix("Value error, ")
    return text[0].lower() + text[1:]


def _cut(name: str) -> str:
    return name if len(name) <= NAME_SHOWN_MOST else f"{name[:NAME_SHOWN_MOST]}…"
