"""Reads a request's body as JSON, strictly: what two readers could read differently is refused.

Refused are keys that an object names twice, NaN and Infinity, numbers too long to be one, byte
order marks, and text that is not UTF-8. A lone surrogate is refused too: it cannot be stored.
"""

import json
from typing import Any

from starlette.requests import Request

from service.problems import Problem

DIGITS_MOST = 40
"""Of a number; the largest amount has 16."""


class StrictRequest(Request):
    """A request whose body is read strictly."""

    async def json(self) -> Any:
        """The body; raises Problem."""
        return parse(await self.body())


def parse(body: bytes) -> Any:
    """The value of a JSON text.

    Raises:
        Problem: says what is wrong with it, and where.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem("invalid_encoding", f"byte {error.start} is not UTF-8") from None
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise Problem("invalid_json", "the body is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise Problem(
            "invalid_json", f"{error.msg} (line {error.lineno}, column {error.colno})"
        ) from None
    if "\\u" in text:
        _refuse_surrogates(value)
    return value


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise Problem("invalid_encoding", "a string has half of a surrogate pair") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise Problem("duplicate_key", f"the key {key[:64]!r} is there twice in one object")
            seen.add(key)
    return found


def _number(text: str) -> int:
    if len(text) > DIGITS_MOST:
        raise Problem("invalid_json", f"a number has more than {DIGITS_MOST} digits")
    return int(text)


def _constant(name: str) -> Any:
    raise Problem("invalid_json", f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_number, parse_constant=_constant)
