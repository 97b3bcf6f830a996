"""Form-encoded parameters with brackets, as Stripe's SDKs write them, to nested values. Pure.

`a[b][c]=1` is a hash in a hash. Lists, `a[]=1` and `a[0]=1`, are hashes with the names 0, 1, 2 …;
whoever expects one calls `items`, because a name in `metadata` may be a number too.
"""

from typing import Any
from urllib.parse import parse_qsl

from simulators.stripe.errors import StripeError

NAMES_MOST = 1000
DEPTH_MOST = 8

Params = dict[str, Any]


def parse(text: str) -> Params:
    """Parameters of a body or a query.

    Raises:
        StripeError: not UTF-8, brackets that do not match, one name with two kinds of value.
    """
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=NAMES_MOST)
    except UnicodeDecodeError:
        raise StripeError("Invalid UTF-8 in the request.") from None
    except ValueError:
        raise StripeError(f"More than {NAMES_MOST} parameters in the request.") from None
    params: Params = {}
    for name, value in pairs:
        if "[" not in name:
            if isinstance(params.get(name), dict):
                raise _clash(name)
            params[name] = value
        else:
            _place(params, name, value)
    return params


def _place(params: Params, name: str, value: str) -> None:
    first, _, rest = name.partition("[")
    if not first or not rest.endswith("]"):
        raise StripeError(f"Invalid parameter name: {name}", param=name)
    path = [first, *rest[:-1].split("][")]
    if len(path) > DEPTH_MOST or any("[" in part or "]" in part for part in path):
        raise StripeError(f"Invalid parameter name: {name}", param=name)
    inner: Any = params
    for part in path[:-1]:
        inner = inner.setdefault(_key(inner, part), {})
        if not isinstance(inner, dict):
            raise _clash(first)
    last = _key(inner, path[-1])
    if isinstance(inner.get(last), dict):
        raise _clash(first)
    inner[last] = value


def _key(inner: Params, part: str) -> str:
    """`[]` is the next place of a list."""
    return part or str(len(inner))


def items(value: Any) -> list[Any] | None:
    """The values of a list in their order; None if it is none. A list is a hash of 0, 1, 2 …"""
    if not isinstance(value, dict) or not all(name.isascii() and name.isdigit() for name in value):
        return None
    return [value[name] for name in sorted(value, key=int)]


def _clash(name: str) -> StripeError:
    return StripeError(f"Invalid {name}: it is given as a value and as a hash", param=name)
